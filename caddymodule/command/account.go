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
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/command/record"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/operate"
)

func accountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Manages accounts",
		Long: `
Manages the accounts of the source 'dynamic'. Accounts of the configuration and
of files are shown, and changed where they are.`,
	}
	cmd.AddCommand(
		accountAddCommand(),
		accountSetCommand(),
		accountListCommand(),
		accountShowCommand(),
		&cobra.Command{
			Use:   "remove NAME...",
			Short: "Removes accounts",
			Args:  cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return eachAccount(cmd, args, "removed", func(c *adminClient, name string) error {
					return c.call(http.MethodDelete, admin.AccountPath(name), nil, nil, nil)
				})
			},
		},
		&cobra.Command{
			Use:   "pause NAME...",
			Short: "Refuses the accounts' logins and messages from now on",
			Args:  cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return eachAccount(cmd, args, "paused", func(c *adminClient, name string) error {
					return c.call(http.MethodPost, admin.AccountPath(name, "pause"), nil, nil, nil)
				})
			},
		},
		&cobra.Command{
			Use:   "resume NAME...",
			Short: "Lets paused accounts send again",
			Args:  cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return eachAccount(cmd, args, "resumed", func(c *adminClient, name string) error {
					return c.call(http.MethodPost, admin.AccountPath(name, "resume"), nil, nil, nil)
				})
			},
		},
		accountImportCommand(),
		accountExportCommand(),
	)
	return cmd
}

func eachAccount(cmd *cobra.Command, names []string, done string, do func(c *adminClient, name string) error) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	return forEach(names, func(name string) error {
		if err := do(c, name); err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return printJSON(cmd, map[string]string{"name": name, "result": done})
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", name, done)
		return err
	})
}

func accountAddCommand() *cobra.Command {
	var noPassword bool
	var rf record.Flags
	var pw passwordFlags
	cmd := &cobra.Command{
		Use:   "add NAME --upstream UPSTREAM",
		Short: "Adds an account",
		Long: `
Adds an account. Unless a password hash is given, a password is made up and
shown this once; only its hash is kept. It has 16 letters and digits that are not
mistaken for one another, which every device takes. Secrets are read from files, never from
the command line, which other users of the machine can see.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := rf.Fields(cmd)
			if err != nil {
				return err
			}
			fields["name"] = args[0]
			var plain string
			if _, ok := fields["password_hashes"]; !ok && !noPassword {
				var hash string
				if plain, hash, err = pw.generate(); err != nil {
					return err
				}
				fields["password_hashes"] = []string{hash}
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var view admin.AccountView
			absent := http.Header{"If-None-Match": {"*"}}
			if err := c.call(http.MethodPut, admin.AccountPath(args[0]), absent, fields, &view); err != nil {
				if re, ok := err.(*remoteError); ok && re.Status == http.StatusPreconditionFailed {
					return fmt.Errorf("account %q exists; `account set` changes it", args[0])
				}
				return err
			}
			return printWithPassword(cmd, view, "added", plain)
		},
	}
	rf.Register(cmd)
	pw.register(cmd)
	cmd.Flags().BoolVar(&noPassword, "no-password", false, "Make up no password: nobody can log in")
	_ = cmd.MarkFlagRequired("upstream")
	usage.Exclusive(cmd, "no-password", "password-hash", "password-length")
	usage.Exclusive(cmd, "password-hash", "password-length")
	return cmd
}

func accountSetCommand() *cobra.Command {
	var rf record.Flags
	var pw passwordFlags
	var newPassword bool
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Changes what is given of an account",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := rf.Fields(cmd)
			if err != nil {
				return err
			}
			var plain string
			if newPassword {
				var hash string
				if plain, hash, err = pw.generate(); err != nil {
					return err
				}
				fields["password_hashes"] = []string{hash}
			}
			if len(fields) == 0 {
				return fmt.Errorf("nothing to change: give at least one flag")
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var view admin.AccountView
			if err := c.call(http.MethodPatch, admin.AccountPath(args[0]), nil, fields, &view); err != nil {
				return err
			}
			return printWithPassword(cmd, view, "changed", plain)
		},
	}
	rf.Register(cmd)
	pw.register(cmd)
	cmd.Flags().BoolVar(&newPassword, "new-password", false, "Make up a password, which replaces all others")
	usage.Exclusive(cmd, "new-password", "password-hash")
	usage.Needs(cmd, "password-length", "new-password")
	return cmd
}

// printWithPassword shows what was done, and a password that was made up: this
// once, since only its hash is kept.
func printWithPassword(cmd *cobra.Command, view admin.AccountView, done, plain string) error {
	if wantsJSON(cmd) {
		return printJSON(cmd, struct {
			admin.AccountView
			Password string `json:"password,omitempty"`
		}{view, plain})
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", view.Name, done); err != nil {
		return err
	}
	if plain == "" {
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "password: %s\n(%d random bits. It is not shown again.)\n", plain, password.Bits(len(plain)))
	return err
}

// passwordFlags are how passwords are made up.
type passwordFlags struct{ length int }

func (pf *passwordFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&pf.length, "password-length", password.DefaultLength,
		fmt.Sprintf("Characters of a password that is made up, %d to %d, of 5 random bits each", password.MinLength, password.MaxLength))
}

func (pf *passwordFlags) generate() (plain, hash string, err error) {
	plain, hash, err = password.GenerateOf(pf.length)
	if err != nil {
		return "", "", fmt.Errorf("flag --password-length: %w", err)
	}
	return plain, hash, nil
}

// listFlags choose accounts.
type listFlags struct{ state, upstream, label, source string }

func (lf *listFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&lf.state, "state", "", "Only accounts in this state: "+strings.Join(operate.AccountStates, ", "))
	cmd.Flags().StringVar(&lf.upstream, "upstream", "", "Only accounts of this upstream")
	cmd.Flags().StringVar(&lf.label, "label", "", "Only accounts with this label, KEY or KEY=VALUE")
	cmd.Flags().StringVar(&lf.source, "source", "", "Only accounts of this source: inline, file or dynamic")
}

// each calls f for every account that the flags choose, page by page.
func (lf *listFlags) each(c *adminClient, f func(admin.AccountView) error) error {
	query := url.Values{"limit": {strconv.Itoa(admin.MaxPageSize)}}
	for key, value := range map[string]string{"state": lf.state, "upstream": lf.upstream, "label": lf.label, "source": lf.source} {
		if value != "" {
			query.Set(key, value)
		}
	}
	for {
		var page admin.AccountPage
		if err := c.call(http.MethodGet, "/smtp/accounts?"+query.Encode(), nil, nil, &page); err != nil {
			return err
		}
		for _, view := range page.Accounts {
			if err := f(view); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

func accountListCommand() *cobra.Command {
	var lf listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists accounts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			views := []admin.AccountView{}
			if err := lf.each(c, func(v admin.AccountView) error {
				views = append(views, v)
				return nil
			}); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, views)
			}
			rows := [][]string{{"NAME", "UPSTREAM", "STATE", "SOURCE", "LABELS"}}
			for _, v := range views {
				rows = append(rows, []string{v.Name, v.Upstream, v.State, v.Source, formatLabels(v.Labels)})
			}
			return table(cmd, rows)
		},
	}
	lf.register(cmd)
	return cmd
}

func formatLabels(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, " ")
}

func accountShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Shows an account as JSON, without its secrets",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var view json.RawMessage
			if err := c.call(http.MethodGet, admin.AccountPath(args[0]), nil, nil, &view); err != nil {
				return err
			}
			return printJSON(cmd, view)
		},
	}
}

func accountExportCommand() *cobra.Command {
	var lf listFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Prints accounts as JSON Lines, without their secrets",
		Long: `
Prints accounts as JSON Lines that 'account import' reads. Passwords, refresh
tokens and other secrets cannot be read back and are not in it: an import into
the same gateway keeps those that are there. 'caddy storage export' copies the
stored records whole, sealed if a key is configured.

Without --source it is the accounts of the source 'dynamic': an import could not
change the others.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			return lf.each(c, func(v admin.AccountView) error {
				rec := accounts.Record{
					Name:     v.Name,
					Upstream: v.Upstream,
					Senders:  v.Senders,
					Limits:   v.Limits,
					SourceIP: v.SourceIP,
					Spool:    v.Spool,
					Reports:  v.Reports,
					Paused:   v.Paused,
					Labels:   v.Labels,
				}
				if v.Mailbox != v.Name {
					rec.Mailbox = v.Mailbox
				}
				return enc.Encode(rec)
			})
		},
	}
	lf.register(cmd)
	source := cmd.Flags().Lookup("source")
	source.DefValue, lf.source = "dynamic", "dynamic"
	return cmd
}
