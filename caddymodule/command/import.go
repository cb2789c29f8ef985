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
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/operate/migrate"
)

// importFormats read other programs' files. `jsonl` is our own.
var importFormats = map[string]func(io.Reader) (*migrate.Foreign, error){
	"predecessor":        migrate.Predecessor,
	"csv":                migrate.CSV,
	"email-oauth2-proxy": migrate.EmailProxy,
	"postfix":            migrate.Postfix,
	"powermta":           migrate.PowerMTA,
}

func formatNames() []string {
	names := []string{"jsonl"}
	for name := range importFormats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func accountImportCommand() *cobra.Command {
	var format string
	var dryRun bool
	var pw passwordFlags
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Imports accounts from a file or from standard input",
		Long: `
Imports accounts. An account that exists is changed to what the file says, and
keeps the secrets that the file does not name; an import that is repeated
changes nothing. One bad account stops none of the others.

Files are UTF-8 or UTF-16 with a byte order mark; lines end with LF, CRLF or CR.

Formats:

  jsonl               one account per line, as a JSON object of the admin API
  predecessor         the Python proxy's accounts.json
  csv                 its lines email,account_id,refresh_token,client_id
  email-oauth2-proxy  the configuration file of email-oauth2-proxy
  postfix             the text of Postfix's sasl_passwd
  powermta            PowerMTA's configuration

What a file holds that the gateway has no place for is reported, and so are the
providers and upstreams that its accounts need in the configuration. No format
but jsonl holds passwords that the gateway could check: a new one is made up for
each account that does not exist yet, and printed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			convert, ok := importFormats[format]
			if !ok && format != "jsonl" {
				return fmt.Errorf("flag --format: unknown format %q: want one of %s", format, strings.Join(formatNames(), ", "))
			}
			in := cmd.InOrStdin()
			im := &importRun{cmd: cmd, password: pw}
			if len(args) > 0 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
				if convert == nil {
					if im.total, err = migrate.CountLines(file); err != nil {
						return err
					}
				}
			}
			whole := bufio.NewReaderSize(in, migrate.HeadSize)
			head, err := whole.Peek(migrate.HeadSize)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if err := migrate.CheckFormat(format, head); err != nil {
				return err
			}
			in = whole
			if convert != nil {
				foreign, err := convert(in)
				if err != nil {
					return err
				}
				if in, err = im.fromForeign(foreign, dryRun); err != nil {
					return err
				}
			}
			if dryRun {
				err = im.dryRun(in)
			} else {
				err = im.run(in)
			}
			if im.unusable > 0 {
				err = errors.Join(err, fmt.Errorf("%s of the file cannot be used", english.Plural(im.unusable, "account", "")))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonl", "Format of the file: "+strings.Join(formatNames(), ", "))
	pw.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Show the accounts, without their secrets, and what the gateway would refuse; import nothing")
	return cmd
}

// check asks the gateway what it would say to the lines, by line.
func (im *importRun) check(lines []byte) (map[int]accounts.ImportResult, error) {
	c, err := newAdminClient(im.cmd)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	resp, err := c.request(http.MethodPost, "/smtp/accounts/import/check", header, bytes.NewReader(lines))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	said := make(map[int]accounts.ImportResult)
	for res, err := range accounts.ImportResults(resp.Body) {
		if err != nil {
			return said, err
		}
		said[res.Line] = res
	}
	return said, nil
}

// dryRun shows what would be imported, and what is wrong with the rest: by the
// word of the gateway, and where none runs by what the file alone tells.
func (im *importRun) dryRun(lines io.Reader) error {
	text, err := io.ReadAll(lines)
	if err != nil {
		return err
	}
	said, err := im.check(text)
	if err != nil {
		fmt.Fprintf(im.cmd.ErrOrStderr(), "note: not checked: whether the upstreams exist, and which accounts cannot be changed; only the gateway knows (%v)\n", err)
	}
	total, bad := 0, 0
	for rec, res := range accounts.DryRun(bytes.NewReader(text)) {
		total++
		if s, ok := said[res.Line]; ok {
			res = s
		}
		if i := res.Line - 1; i >= 0 && i < len(im.origins) {
			res.Line = im.origins[i]
		}
		if res.Err != nil {
			bad++
			if err := im.print(importedLine{ImportResult: res}); err != nil {
				return err
			}
			continue
		}
		line, err := json.Marshal(rec.Redacted())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(im.cmd.OutOrStdout(), "%s\n", line); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d accounts would not be imported", bad, total)
	}
	return nil
}
