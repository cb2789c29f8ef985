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
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/operate/snippet"
)

func snippetCommand() *cobra.Command {
	names := snippet.Names()
	var lf listFlags
	var gateway, tlsMode string
	cmd := &cobra.Command{
		Use:   "snippet " + strings.Join(names, "|") + " [ACCOUNT...]",
		Short: "Prints what an MTA needs to send through the gateway",
		Long: `
Prints the configuration of an MTA that sends through the gateway with the
accounts named, or chosen by the flags, or all. The gateway knows no passwords:
put them in place of PASSWORD.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(names, args[0]) {
				return fmt.Errorf("unknown MTA %q: want one of %s%s", args[0], strings.Join(names, ", "), nearest.Hint(args[0], names))
			}
			data, err := snippet.New(gateway, tlsMode)
			if err != nil {
				return err
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				if lf != (listFlags{}) {
					return errors.New("give accounts, or flags that choose them")
				}
				for _, name := range args[1:] {
					var v admin.AccountView
					if err := c.call("GET", admin.AccountPath(name), nil, nil, &v); err != nil {
						return fmt.Errorf("account %q: %w", name, err)
					}
					data.Add(v.Name, v.Senders)
				}
			} else if err := lf.each(c, func(v admin.AccountView) error {
				data.Add(v.Name, v.Senders)
				return nil
			}); err != nil {
				return err
			}
			if len(data.Accounts) == 0 {
				return errors.New("no account is chosen")
			}
			return snippet.Write(cmd.OutOrStdout(), args[0], data)
		},
	}
	lf.register(cmd)
	cmd.Flags().StringVar(&gateway, "gateway", "localhost:587", "Host and port of the gateway, as the MTA reaches it")
	cmd.Flags().StringVar(&tlsMode, "tls", "", "TLS to the gateway: starttls, implicit or off (default: implicit for port 465, else starttls)")
	return usage.NoJSON(cmd)
}
