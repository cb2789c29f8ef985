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

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/operate"
)

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Looks at the gateway itself, and explains what is wrong",
		Long: `
Looks at a running gateway: its listeners and their certificates, storage and
disk, other gateways on it, clock, client secrets that end, consents that were lost, accounts that
are refused, names and ports of the upstreams. What is wrong comes first, with
cause and remedy. It sends no message and changes nothing.

It fails if something is wrong; a warning is no failure.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var report operate.DoctorReport
			if err := c.call(http.MethodGet, "/smtp/doctor", nil, nil, &report); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd, report)
			} else {
				err = printReport(cmd, report)
			}
			if err == nil && !report.OK {
				err = fmt.Errorf("%d of %d checks found something wrong", count(report, checkup.Wrong), len(report.Findings))
			}
			return err
		},
	}
}

func count(r operate.DoctorReport, state checkup.State) (n int) {
	for _, f := range r.Findings {
		if f.State == state {
			n++
		}
	}
	return n
}

func printReport(cmd *cobra.Command, r operate.DoctorReport) error {
	words := map[checkup.State]string{checkup.Wrong: "WRONG", checkup.Warning: "WARNING"}
	rows := make([][]string, 0, len(r.Findings))
	var advice []string
	for _, f := range r.Findings {
		what := strings.TrimSpace(f.Subject + " " + f.Account)
		state := words[f.State]
		if state == "" {
			state = string(f.State)
		}
		rows = append(rows, []string{state, f.Check, what, strings.Join(strings.Fields(f.Said), " ")})
		if f.Cause != "" {
			advice = append(advice, fmt.Sprintf("%s %s %s\n  Cause:      %s\n  What to do: %s\n", state, f.Check, what, f.Cause, f.Remedy))
		}
	}
	if err := table(cmd, rows); err != nil {
		return err
	}
	for _, text := range advice {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%s", text); err != nil {
			return err
		}
	}
	return nil
}
