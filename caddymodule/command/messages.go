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
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/messagelog"
)

// messagesPage is how many messages are asked for at a time.
const messagesPage = 1000

func messagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "messages",
		Short: "Finds messages: when they came, from which device, and what the provider said",
		Long: `
Finds what the gateway's message log keeps of messages, the newest first. The log
is off unless the smtp app has the option messages.

One message is shown in full, several as a table. A recipient is found by a part
of the address; where the log hashes recipients, by the whole of it.`,
		Example: `  caddy smtp messages --recipient kim@example.org --since 2d
  caddy smtp messages --failed --account scanner@example.com
  caddy smtp messages --id 1k2j3h-5.1`,
		Args: cobra.NoArgs,
		RunE: listMessages,
	}
	f := cmd.Flags()
	f.String("account", "", "Only messages of this account")
	f.String("recipient", "", "Only messages to an address that holds this")
	f.String("id", "", "Only the message of this id: ours, a session's, the provider's, the spool's or the trace's")
	f.String("client-ip", "", "Only messages of this device")
	f.String("server", "", "Only messages of this server")
	f.String("upstream", "", "Only messages through this upstream")
	f.String("text", "", "Only messages with this in an address, an id, a name or a reply")
	f.String("since", "", "Not before: a time as in RFC 3339, or a duration before now (2h, 3d)")
	f.String("until", "", "Before: a time, or a duration before now")
	f.Bool("failed", false, "Only messages of which something did not go out")
	f.Int("limit", 100, "At most so many messages; 0 is all")
	return cmd
}

func listMessages(cmd *cobra.Command, _ []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	var pairs []string
	for _, name := range []string{"account", "recipient", "id", "client-ip", "server", "upstream", "text", "since", "until"} {
		value, _ := cmd.Flags().GetString(name)
		pairs = append(pairs, strings.ReplaceAll(name, "-", "_"), value)
	}
	if failed, _ := cmd.Flags().GetBool("failed"); failed {
		pairs = append(pairs, "failed", "true")
	}
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 0 {
		return fmt.Errorf("--limit: %d is negative", limit)
	}
	found := []*messagelog.Entry{}
	cursor := ""
	for {
		n := messagesPage
		if limit > 0 {
			n = min(n, limit-len(found))
		}
		var page admin.MessagePage
		path := addQuery("/smtp/messages", append(slices.Clone(pairs), "limit", strconv.Itoa(n), "cursor", cursor)...)
		if err := c.call(http.MethodGet, path, nil, nil, &page); err != nil {
			return err
		}
		found = append(found, page.Messages...)
		cursor = page.Next
		if cursor == "" || limit > 0 && len(found) >= limit {
			return printMessages(cmd, found, cursor != "", page.Log)
		}
	}
}

func printMessages(cmd *cobra.Command, found []*messagelog.Entry, more bool, log messagelog.Status) error {
	if wantsJSON(cmd) {
		return printJSON(cmd, found)
	}
	var err error
	switch len(found) {
	case 0:
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "No message that the log keeps is like this.")
	case 1:
		err = table(cmd, messageRows(found[0]))
	default:
		rows := [][]string{{"TIME", "ID", "ACCOUNT", "CLIENT", "TO", "OUTCOME", "REPLY"}}
		for _, e := range found {
			rows = append(rows, []string{
				shortTime(e.Time), e.ID, printable.Text(e.Account), e.ClientIP, printable.Text(firstOf(e)), string(e.Outcome), printable.Text(messageReply(e.Code, firstLine(e.Reply))),
			})
		}
		err = table(cmd, rows)
	}
	if err != nil {
		return err
	}
	if more {
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "There are more: ask with --limit or --since.")
	}
	if log.Error != "" {
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "The message log is not written at the moment: "+printable.Text(log.Error))
	}
	if log.Dropped > 0 {
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%d messages since the gateway's start were not kept.\n", log.Dropped)
	}
	return err
}

// firstOf names the first recipient and how many more there are.
func firstOf(e *messagelog.Entry) string {
	if len(e.Recipients) == 0 {
		return "-"
	}
	to := e.Recipients[0].Address
	if more := len(e.Recipients) - 1 + e.MoreRecipients; more > 0 {
		to += fmt.Sprintf(" +%d", more)
	}
	return to
}

func messageReply(code int, text string) string {
	if code == 0 {
		return "the client left before the end"
	}
	return strconv.Itoa(code) + " " + text
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// messageRows shows all that is known of a message.
func messageRows(e *messagelog.Entry) [][]string {
	rows := [][]string{
		{"time", shortTime(e.Time)},
		{"id", e.ID},
		{"outcome", string(e.Outcome)},
		{"server", e.Server},
		{"device", e.ClientIP},
		{"account", printable.Text(e.Account)},
		{"upstream", e.Upstream},
		{"from", "<" + printable.Text(e.From) + ">"},
		{"size", strconv.FormatInt(e.Size, 10)},
		{"duration", fmt.Sprintf("%d ms, of which %d waiting", e.Duration, e.Wait)},
	}
	for _, r := range e.Recipients {
		said := "accepted"
		if r.Code != 0 {
			said = printable.Text(messageReply(r.Code, r.Reply))
		}
		rows = append(rows, []string{"to", "<" + printable.Text(r.Address) + ">", said})
	}
	if e.MoreRecipients > 0 {
		rows = append(rows, []string{"to", fmt.Sprintf("%d more", e.MoreRecipients)})
	}
	for line := range strings.SplitSeq(e.Reply, "\n") {
		rows = append(rows, []string{"reply", printable.Text(messageReply(e.Code, line))})
	}
	for _, o := range [][2]string{{"queue id", e.QueueID}, {"spool id", e.SpoolID}, {"trace id", e.TraceID}} {
		if o[1] != "" {
			rows = append(rows, []string{o[0], printable.Text(o[1])})
		}
	}
	return rows
}
