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
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/operate"
)

func testCommand() *cobra.Command {
	var req admin.VerifyRequest
	cmd := &cobra.Command{
		Use:   "test ACCOUNT",
		Short: "Tries the way of an account's message, and explains what fails",
		Long: `
Tries the way of a message of the account, step by step, up to the login at the
provider: name, connection, TLS, token, authentication. With --from it goes on
to MAIL FROM and takes it back. It sends no message.

For what fails it says the cause, what to do about it, and whether it may go
away by itself.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.From != "" && req.From != "<>" {
				req.From = strings.TrimSuffix(strings.TrimPrefix(req.From, "<"), ">")
				if err := form.Mailbox.Check(req.From); err != nil {
					return fmt.Errorf("--from: %w", err)
				}
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var result operate.VerifyResult
			if err := c.call(http.MethodPost, admin.AccountPath(args[0], "verify"), nil, req, &result); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd, result)
			} else {
				err = printVerify(cmd, result)
			}
			if err == nil && !result.OK {
				err = fmt.Errorf("%s cannot send through %s", result.Account, result.Upstream)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&req.From, "from", "", "MAIL FROM to try; <> is the null sender")
	return cmd
}

func printVerify(cmd *cobra.Command, result operate.VerifyResult) error {
	rows := make([][]string, 0, len(result.Steps))
	for _, s := range result.Steps {
		outcome, said := "ok", s.Said
		if s.Error != "" {
			outcome, said = "FAILED", s.Error
		}
		said = strings.Join(strings.FieldsFunc(said, func(r rune) bool { return r == '\r' || r == '\n' }), ", ")
		rows = append(rows, []string{s.Name, s.Took.Round(100 * time.Microsecond).String(), outcome, said})
	}
	if err := table(cmd, rows); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if result.OK {
		through := result.Upstream
		if result.Way != "" {
			through += ": its messages leave through " + result.Way
		}
		_, err := fmt.Fprintf(out, "\n%s can send through %s.\n", result.Account, through)
		return err
	}
	if n := len(result.Steps); n > 0 && result.Steps[n-1].Challenge != "" {
		if _, err := fmt.Fprintf(out, "\nThe provider's challenge: %s\n", result.Steps[n-1].Challenge); err != nil {
			return err
		}
	}
	e := result.Explanation
	if e == nil {
		_, err := fmt.Fprintf(out, "\nFailed: %s\nNothing more is known of this failure.\n", result.Error)
		return err
	}
	retry := "no"
	if e.RetryHelps {
		retry = "yes, later"
	}
	_, err := fmt.Fprintf(out, "\nFailed:        %s\nCause:         %s\nWhat to do:    %s\nRetry helps:   %s\n", result.Error, e.Cause, e.Remedy, retry)
	return err
}
