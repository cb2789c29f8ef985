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
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/spool"
)

func spoolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spool",
		Short: "Shows and steers the messages that wait in the spool",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "Lists the spools and their messages, oldest first",
		Args:  cobra.NoArgs,
		RunE:  listSpool,
	}
	list.Flags().String("account", "", "Only messages of this account")
	list.Flags().String("state", "", "Only messages in this state: waiting, sending or held")
	list.Flags().Int("limit", 1000, "At most so many messages; 0 is all")
	cmd.AddCommand(list,
		&cobra.Command{
			Use:   "show ID",
			Short: "Shows a message with what each recipient's server said",
			Args:  cobra.ExactArgs(1),
			RunE:  showSpooled,
		},
		drainCommand(),
		steerSpooled("hold", "Keeps messages from being sent until they are released", "POST", "hold", "held"),
		steerSpooled("release", "Lets held messages go on, at once", "POST", "release", "released"),
		steerSpooled("retry", "Tries messages at once", "POST", "retry", "due now"),
		steerSpooled("delete", "Removes messages; no report is sent", "DELETE", "", "deleted"),
	)
	return cmd
}

func spoolPath(id, below string) string {
	path := "/smtp/spool/" + url.PathEscape(id)
	if below != "" {
		path += "/" + below
	}
	return path
}

func listSpool(cmd *cobra.Command, _ []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	page, err := spoolPages(cmd, c)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, page)
	}
	rows := [][]string{{"SPOOL", "MESSAGES", "OCTETS", "HELD", "OLDEST", "STATE"}}
	for i := range page.Spools {
		s := &page.Spools[i]
		oldest, state := "-", "ready"
		if s.Oldest != nil {
			oldest = s.Oldest.Format(time.RFC3339)
		}
		switch {
		case s.Error != "":
			state = s.Error
		case !s.Ready:
			state = "another process has the directory"
		case s.Draining != nil && s.Draining.Peer != "":
			state = "being drained, to " + s.Draining.Peer
		case s.Draining != nil:
			state = "being drained"
		}
		rows = append(rows, []string{s.Upstream, strconv.Itoa(s.Messages), strconv.FormatInt(s.Octets, 10), strconv.Itoa(s.Held), oldest, state})
	}
	if len(page.Messages) > 0 {
		rows = append(rows, []string{}, []string{"ID", "ACCOUNT", "SIZE", "STATE", "NEXT", "REPLY"})
	}
	for i := range page.Messages {
		m := &page.Messages[i]
		reply := m.Reply
		if m.Why != "" {
			reply = m.Why
		}
		rows = append(rows, []string{m.ID, m.Account, strconv.FormatInt(m.Size, 10), m.State, m.Next.Format(time.RFC3339), reply})
	}
	if err := table(cmd, rows); err != nil || page.Next == "" {
		return err
	}
	_, err = fmt.Fprintln(cmd.ErrOrStderr(), "There are more: ask with --limit, --account or --state.")
	return err
}

// spoolPages asks for as many messages as the flags say, page by page.
func spoolPages(cmd *cobra.Command, c *adminClient) (all admin.SpoolPage, err error) {
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 0 {
		return all, fmt.Errorf("--limit: %d is negative", limit)
	}
	query := url.Values{}
	for _, name := range []string{"account", "state"} {
		if v, _ := cmd.Flags().GetString(name); v != "" {
			query.Set(name, v)
		}
	}
	for {
		n := admin.MaxPageSize
		if limit > 0 {
			n = min(n, limit-len(all.Messages))
		}
		query.Set("limit", strconv.Itoa(n))
		var page admin.SpoolPage
		if err := c.call("GET", "/smtp/spool?"+query.Encode(), nil, nil, &page); err != nil {
			return all, err
		}
		page.Messages = append(all.Messages, page.Messages...)
		all = page
		if all.Next == "" || limit > 0 && len(all.Messages) >= limit {
			return all, nil
		}
		query.Set("after", all.Next)
	}
}

func showSpooled(cmd *cobra.Command, args []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	var m spool.Message
	if err := c.call("GET", spoolPath(args[0], ""), nil, nil, &m); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, m)
	}
	rows := [][]string{
		{"id", m.ID},
		{"spool", m.Upstream},
		{"account", m.Account},
		{"from", "<" + m.From + ">"},
		{"size", strconv.FormatInt(m.Size, 10)},
		{"created", m.Created.Format(time.RFC3339)},
		{"attempts", strconv.Itoa(m.Attempts)},
		{"state", m.State},
		{"next", m.Next.Format(time.RFC3339)},
		{"reply", m.Reply},
	}
	if m.Why != "" {
		rows = append(rows, []string{"why", m.Why})
	}
	for _, r := range m.Recipients {
		rows = append(rows, []string{"to", "<" + r.Address + ">", r.State, r.Reply})
	}
	return table(cmd, rows)
}

// steerSpooled is a command that changes messages.
func steerSpooled(name, short, method, below, done string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ID...",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			return forEach(args, func(id string) error {
				if err := c.call(method, spoolPath(id, below), nil, nil, nil); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", id, done)
				return err
			})
		},
	}
}
