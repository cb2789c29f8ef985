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
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/connect"
)

func inviteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Makes links by which owners of mailboxes consent",
	}
	cmd.AddCommand(inviteAddCommand(), inviteListCommand(), inviteRevokeCommand())
	return cmd
}

func inviteAddCommand() *cobra.Command {
	var req connect.Request
	var file string
	cmd := &cobra.Command{
		Use:   "add [ACCOUNT...]",
		Short: "Makes a link for each of some accounts",
		Long: `
Makes a link for each account, to the pages that a site of the gateway serves with
'smtp_connect'. Its owner opens it in any browser, signs in at the provider and
agrees. A link can be used once, and is shown once.

With --csv the accounts come from the column 'account' of a file ('-': standard
input); columns 'invited_by', 'delegate' and 'expires' are used if there are any. A
CSV of accounts and links goes to standard output; a line that fails is told on
standard error, and the others go on.`,
		RunE: func(cmd *cobra.Command, accounts []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			switch {
			case file != "" && len(accounts) > 0:
				return errors.New("give accounts or --csv, not both")
			case file != "":
				return inviteFile(cmd, c, file, req)
			case len(accounts) == 0:
				return errors.New("give accounts, or --csv")
			}
			return forEach(accounts, func(account string) error {
				r := req
				r.Account = account
				var invited connect.Invited
				if err := c.call(http.MethodPost, "/smtp/invitations", nil, r, &invited); err != nil {
					return err
				}
				if wantsJSON(cmd) {
					return printJSON(cmd, invited)
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s until %s:\n%s\n", invited.Account, shortTime(invited.Expires), invited.Link)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.InvitedBy, "by", "", "Who invites, for the owner to see")
	f.StringVar(&req.Delegate, "delegate", "", "Who is to sign in for a shared mailbox")
	f.StringVar(&req.Expires, "expires", "", "How long the link is good for, as in 48h (default: what smtp_connect says)")
	f.StringVar(&file, "csv", "", "File with a column 'account'")
	return cmd
}

// inviteFile invites whom a CSV names, and writes a CSV of the links.
func inviteFile(cmd *cobra.Command, c *adminClient, file string, defaults connect.Request) error {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	rows, err := connect.ReadRequests(in, defaults)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	out, err := connect.NewLinks(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	done, failed := 0, 0
	for {
		req, line, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		var invited connect.Invited
		if err := c.call(http.MethodPost, "/smtp/invitations", nil, req, &invited); err != nil {
			failed++
			fmt.Fprintf(cmd.ErrOrStderr(), "%s, line %d: %s: %v\n", file, line, req.Account, err)
			if _, ok := errors.AsType[*remoteError](err); !ok {
				return errors.New("the gateway no longer answers")
			}
			continue
		}
		if err := out.Add(&invited); err != nil {
			return err
		}
		if done++; done%1000 == 0 {
			out.Flush()
			fmt.Fprintf(cmd.ErrOrStderr(), "%d invited\n", done)
		}
	}
	out.Flush()
	fmt.Fprintf(cmd.ErrOrStderr(), "%d invited, %d failed\n", done, failed)
	if failed > 0 {
		return fmt.Errorf("%s failed", english.Plural(failed, "line", ""))
	}
	return out.Error()
}

func inviteListCommand() *cobra.Command {
	var account, state string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the invitations, without their links",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			all := []connect.Invitation{}
			for after := ""; ; {
				var page admin.InvitationPage
				if err := c.call(http.MethodGet, addQuery("/smtp/invitations", "account", account, "state", state, "after", after, "limit", "1000"), nil, nil, &page); err != nil {
					return err
				}
				all = append(all, page.Invitations...)
				if after = page.Next; after == "" {
					break
				}
			}
			slices.SortFunc(all, func(a, b connect.Invitation) int { return a.Created.Compare(b.Created) })
			if wantsJSON(cmd) {
				return printJSON(cmd, all)
			}
			rows := [][]string{{"ID", "ACCOUNT", "CREATED", "EXPIRES", "USED", "BY"}}
			for _, i := range all {
				used := ""
				if !i.Used.IsZero() {
					used = shortTime(i.Used)
				}
				rows = append(rows, []string{i.ID[:12], i.Account, shortTime(i.Created), shortTime(i.Expires), used, i.UsedBy})
			}
			return table(cmd, rows)
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "Only invitations for this account")
	cmd.Flags().StringVar(&state, "state", "", "Only invitations that are open, used or expired")
	return cmd
}

func inviteRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID...",
		Short: "Makes invitations void",
		Long: `
Makes invitations void. An id may be cut off after at least 8 characters, as the list
does. What an owner has consented to already stays.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			return forEach(ids, func(id string) error {
				full, err := fullInvitationID(c, id)
				if err != nil {
					return err
				}
				return c.call(http.MethodDelete, "/smtp/invitations/"+url.PathEscape(full), nil, nil, nil)
			})
		},
	}
}

// fullInvitationID completes an id that was cut off. Ids are sorted, so that those
// which begin with it are next to each other.
func fullInvitationID(c *adminClient, id string) (string, error) {
	if len(id) < 8 || len(id) >= 64 {
		return id, nil
	}
	var page admin.InvitationPage
	if err := c.call(http.MethodGet, addQuery("/smtp/invitations", "after", id, "limit", "2"), nil, nil, &page); err != nil {
		return "", err
	}
	var found []string
	for _, i := range page.Invitations {
		if strings.HasPrefix(i.ID, id) {
			found = append(found, i.ID)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d invitations have an id that begins so", len(found))
	}
	return found[0], nil
}
