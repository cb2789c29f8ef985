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

package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/accounts"
)

// importFormats turn a file into accounts.
var importFormats = map[string]func(r io.Reader, opts importOptions) (io.Reader, []string, error){
	"jsonl": func(r io.Reader, _ importOptions) (io.Reader, []string, error) { return r, nil, nil },
}

// importOptions are what a format may want to know besides the file.
type importOptions struct{}

func formatNames() []string {
	names := make([]string, 0, len(importFormats))
	for name := range importFormats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func accountImportCommand() *cobra.Command {
	var format string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Imports accounts from a file or from standard input",
		Long: `
Imports accounts. An account that exists is changed to what the file says, and
keeps the secrets that the file does not name; an import that is repeated
changes nothing. One bad account stops none of the others.

Formats:

  jsonl    one account per line, as a JSON object of the admin API

What a format holds that the gateway has no place for is reported.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			convert, ok := importFormats[format]
			if !ok {
				return fmt.Errorf("flag --format: unknown format %q: want one of %s", format, strings.Join(formatNames(), ", "))
			}
			in := cmd.InOrStdin()
			if len(args) > 0 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			lines, notes, err := convert(in, importOptions{})
			if err != nil {
				return err
			}
			for _, note := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
			}
			if dryRun {
				return printDryRun(cmd, lines)
			}
			return runImport(cmd, lines)
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonl", "Format of the file: "+strings.Join(formatNames(), ", "))
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Show the accounts, without their secrets, and import nothing")
	return cmd
}

// printDryRun shows what would be imported.
func printDryRun(cmd *cobra.Command, lines io.Reader) error {
	dec := json.NewDecoder(lines)
	for {
		var rec accounts.Record
		err := dec.Decode(&rec)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading accounts: malformed JSON at octet %d", dec.InputOffset())
		}
		line, err := json.Marshal(rec.Redacted())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line); err != nil {
			return err
		}
	}
}

// runImport sends the lines and tells what came of them.
func runImport(cmd *cobra.Command, lines io.Reader) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	resp, err := c.request(http.MethodPost, "/smtp/accounts/import", header, lines)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	counts := make(map[string]int)
	total, shown := 0, time.Now()
	dec := json.NewDecoder(resp.Body)
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d accounts: %w", total, err)
		}
		var result accounts.ImportResult
		if err := json.Unmarshal(raw, &result); err != nil {
			return err
		}
		counts[result.Result]++
		total++
		if wantsJSON(cmd) {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", bytes.TrimSpace(raw)); err != nil {
				return err
			}
			continue
		}
		if result.Result == "error" {
			field := ""
			if result.Field != "" {
				field = "field '" + result.Field + "': "
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "line %d: %s: %s%s\n", result.Line, result.Name, field, result.Error)
		}
		if time.Since(shown) > time.Second {
			shown = time.Now()
			fmt.Fprintf(cmd.ErrOrStderr(), "%d accounts so far\n", total)
		}
	}
	if !wantsJSON(cmd) {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d created, %d updated, %d unchanged, %d failed\n",
			counts["created"], counts["updated"], counts["unchanged"], counts["error"]); err != nil {
			return err
		}
	}
	if counts["error"] > 0 {
		return fmt.Errorf("%d of %d accounts were not imported", counts["error"], total)
	}
	return nil
}
