// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/operate/migrate"
)

// importRun is an import under way.
type importRun struct {
	cmd *cobra.Command
	// password is how passwords are made up.
	password passwordFlags
	// passwords are those that were made up, by account.
	passwords map[string]string
	// origins are the lines of the foreign file, by our line.
	origins []int
	// unusable is the number of accounts that the file's format spoils.
	unusable int
	// total is the number of lines, 0 where it is not known before they end.
	total int
}

// sameNotes is for how many lines the same note is told one by one.
const sameNotes = 5

// fromForeign makes lines of another program's accounts, and reports what was
// not carried over. Accounts that are new get a password.
func (im *importRun) fromForeign(f *migrate.Foreign, dryRun bool) (io.Reader, error) {
	report := func(format string, args ...any) {
		fmt.Fprintf(im.cmd.ErrOrStderr(), format+"\n", args...)
	}
	var c *adminClient
	if !dryRun {
		var err error
		if c, err = newAdminClient(im.cmd); err != nil {
			return nil, err
		}
	}
	im.passwords = make(map[string]string)
	said := make(map[string]int)
	lines := new(bytes.Buffer)
	enc := json.NewEncoder(lines)
	for _, a := range f.Accounts {
		if a.Err != nil {
			report("line %d: %v", a.Line, a.Err)
			im.unusable++
			continue
		}
		for _, note := range a.Notes {
			if said[note]++; said[note] <= sameNotes {
				report("line %d: %s: %s", a.Line, a.Record.Name, note)
			}
		}
		if len(a.Record.PasswordHashes) == 0 && c != nil {
			exists, err := c.exists(a.Record.Name)
			if err != nil {
				return nil, err
			}
			if !exists && im.passwords[a.Record.Name] == "" {
				password, hash, err := im.password.generate()
				if err != nil {
					return nil, err
				}
				im.passwords[a.Record.Name] = password
				a.Record.PasswordHashes = []string{hash}
			}
		}
		if err := enc.Encode(a.Record); err != nil {
			return nil, err
		}
		im.origins = append(im.origins, a.Line)
	}
	im.total = len(im.origins)
	for _, note := range slices.Sorted(maps.Keys(said)) {
		if more := said[note] - sameNotes; more > 0 {
			report("%d more lines: %s", more, note)
		}
	}
	for _, note := range f.Notes {
		report("note: %s", note)
	}
	for i := range f.Providers {
		report("\n%s", f.Providers[i].Advice())
	}
	return lines, nil
}

// exists reports whether there is an account.
func (c *adminClient) exists(name string) (bool, error) {
	err := c.call(http.MethodGet, admin.AccountPath(name), nil, nil, nil)
	if re, ok := errors.AsType[*remoteError](err); ok && re.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// importedLine is one line's result, with the password that was made up.
type importedLine struct {
	accounts.ImportResult
	Password string `json:"password,omitempty"`
}

// run sends the lines and tells what came of them.
func (im *importRun) run(lines io.Reader) error {
	c, err := newAdminClient(im.cmd)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	ctx, stop := signal.NotifyContext(im.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	body := migrate.NewInterruptible(ctx, lines)
	resp, err := c.request(http.MethodPost, "/smtp/accounts/import", header, body)
	if err != nil {
		if _, refused := errors.AsType[*remoteError](err); !refused && body.Begun() {
			err = im.ended(err)
		}
		return err
	}
	defer resp.Body.Close()
	defer context.AfterFunc(ctx, func() { _ = resp.Body.Close() })()

	counts := make(map[string]int)
	total, began := 0, time.Now()
	shown := began
	for res, err := range accounts.ImportResults(resp.Body) {
		if err != nil {
			return im.ended(fmt.Errorf("after %d accounts: %w", total, err))
		}
		line := importedLine{ImportResult: res}
		if i := line.Line - 1; i >= 0 && i < len(im.origins) {
			line.Line = im.origins[i]
		}
		counts[line.Result]++
		total++
		if line.Result != "error" {
			line.Password = im.passwords[line.Name]
			delete(im.passwords, line.Name)
		}
		if err := im.print(line); err != nil {
			return err
		}
		if time.Since(shown) > time.Second {
			shown = time.Now()
			fmt.Fprintln(im.cmd.ErrOrStderr(), migrate.Progress(total, im.total, shown.Sub(began)))
		}
	}
	if !wantsJSON(im.cmd) {
		if _, err := fmt.Fprintf(im.cmd.OutOrStdout(), "%d created, %d updated, %d unchanged, %d failed\n",
			counts["created"], counts["updated"], counts["unchanged"], counts["error"]); err != nil {
			return err
		}
	}
	if counts["error"] > 0 {
		return fmt.Errorf("%d of %d accounts were not imported", counts["error"], total)
	}
	return nil
}

// ended tells the passwords of accounts whose answer did not come: some of them were
// made, and nobody would know their passwords, which another run does not change.
func (im *importRun) ended(err error) error {
	for _, name := range slices.Sorted(maps.Keys(im.passwords)) {
		line := importedLine{ImportResult: accounts.ImportResult{Name: name, Result: "unknown"}, Password: im.passwords[name]}
		if perr := im.print(line); perr != nil {
			return errors.Join(err, perr)
		}
	}
	if n := len(im.passwords); n > 0 {
		return fmt.Errorf("%w\nThe last %d passwords hold for those of their accounts that were made nevertheless. Run the import again: it makes others for the rest alone", err, n)
	}
	return fmt.Errorf("%w\nRun the import again: it goes on with the rest", err)
}

func (im *importRun) print(line importedLine) error {
	out := im.cmd.OutOrStdout()
	if wantsJSON(im.cmd) {
		encoded, err := json.Marshal(line)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s\n", encoded)
		return err
	}
	if line.Password != "" {
		if _, err := fmt.Fprintf(out, "%s password: %s\n", line.Name, line.Password); err != nil {
			return err
		}
	}
	if line.Result != "error" {
		return nil
	}
	field := ""
	if line.Field != "" {
		field = "field '" + line.Field + "': "
	}
	if line.Name != "" {
		field = line.Name + ": " + field
	}
	_, err := fmt.Fprintf(im.cmd.ErrOrStderr(), "line %d: %s%s\n", line.Line, field, line.Error)
	return err
}
