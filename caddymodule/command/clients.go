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
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
)

// shortTime is how the tables show a time.
func shortTime(t time.Time) string { return t.Local().Format(time.DateTime) }

// addQuery adds what is not empty to a path.
func addQuery(path string, pairs ...string) string {
	query := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			query.Set(pair[0], pair[1])
		}
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

func sessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "Shows and ends the sessions of clients",
	}
	cmd.AddCommand(sessionListCommand(), sessionEndCommand())
	return cmd
}

func sessionListCommand() *cobra.Command {
	var server, account string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the sessions of clients, the oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var answer admin.SessionList
			if err := c.call(http.MethodGet, addQuery("/smtp/sessions", "server", server, "account", account), nil, nil, &answer); err != nil {
				return err
			}
			return printSessions(cmd, answer.Sessions)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "Only sessions of this server")
	cmd.Flags().StringVar(&account, "account", "", "Only sessions of this account")
	return cmd
}

func printSessions(cmd *cobra.Command, list []admin.Session) error {
	if wantsJSON(cmd) {
		return printJSON(cmd, list)
	}
	rows := [][]string{{"ID", "SERVER", "CLIENT", "ACCOUNT", "TLS", "STATE", "MESSAGES", "SINCE"}}
	for _, s := range list {
		rows = append(rows, []string{s.ID, s.Server, s.ClientIP, s.Account, yesNo(s.TLS), s.State, strconv.Itoa(s.Messages), shortTime(s.Opened)})
	}
	return table(cmd, rows)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func sessionEndCommand() *cobra.Command {
	var server, account string
	var now bool
	cmd := &cobra.Command{
		Use:   "end [ID...]",
		Short: "Ends the sessions of clients",
		Long: `
Ends sessions with 421: idle ones at once, others after their message. Name them
by their ids, or all of an account or a server.

A client that still has a valid password logs in again: change the password, or
pause the account, first. What a session has of it then ends at its next message
by itself.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var nowText string
			if now {
				nowText = "true"
			}
			ended := []admin.Session{}
			end := func(path string, pairs ...string) error {
				var answer admin.SessionList
				err := c.call(http.MethodDelete, addQuery(path, append(pairs, "now", nowText)...), nil, nil, &answer)
				ended = append(ended, answer.Sessions...)
				return err
			}
			switch chosen := server != "" || account != ""; {
			case len(ids) > 0 && chosen:
				return errors.New("give ids, or --account and --server")
			case chosen:
				err = end("/smtp/sessions", "server", server, "account", account)
			case len(ids) > 0:
				err = forEach(ids, func(id string) error { return end("/smtp/sessions/" + url.PathEscape(id)) })
			default:
				return errors.New("give the ids of sessions, or --account or --server")
			}
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, ended)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d ended\n", len(ended))
			return err
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "All sessions of this server")
	cmd.Flags().StringVar(&account, "account", "", "All sessions of this account")
	cmd.Flags().BoolVar(&now, "now", false, "Close their connections within a message, too")
	return cmd
}

func banCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ban",
		Short: "Shows and lifts bans of addresses that guessed passwords",
	}
	cmd.AddCommand(banListCommand(), banLiftCommand())
	return cmd
}

func banListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the bans in force",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var answer admin.BanList
			if err := c.call(http.MethodGet, "/smtp/bans", nil, nil, &answer); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, answer.Bans)
			}
			rows := [][]string{{"SERVER", "NETWORK", "ACCOUNT", "SINCE", "UNTIL", "FAILURES", "REFUSED"}}
			for _, b := range answer.Bans {
				account := "all"
				if b.Account != "" {
					account = strconv.QuoteToGraphic(b.Account)
				}
				rows = append(rows, []string{
					b.Server, b.Network.String(), account, shortTime(b.Since), shortTime(b.Until), strconv.Itoa(b.Failures), strconv.Itoa(b.Refused),
				})
			}
			return table(cmd, rows)
		},
	}
}

func banLiftCommand() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "lift ADDRESS...",
		Short: "Ends the bans that refuse an address or a network",
		Long: `
Ends the bans that refuse an address, or any address of a network such as
192.0.2.0/24, and forgets the failed logins that led to them. A client that goes
on guessing is banned again.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			return forEach(args, func(address string) error {
				var answer admin.LiftResult
				if err := c.call(http.MethodDelete, addQuery("/smtp/bans", "network", address, "server", server), nil, nil, &answer); err != nil {
					return err
				}
				if wantsJSON(cmd) {
					return printJSON(cmd, answer)
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %d lifted\n", address, answer.Lifted)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "Only at this server")
	return cmd
}

func refusalsCommand() *cobra.Command {
	var server, client, account, cause string
	cmd := &cobra.Command{
		Use:   "refusals",
		Short: "Shows what clients were refused, and what to do about it",
		Long: `
Shows the last things that clients were refused, the latest first: what the log
says under 'refused', 'authentication failed' and 'sender not allowed'. Beneath
the list stands what to do about each cause in it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var answer admin.RefusalList
			path := addQuery("/smtp/refusals", "server", server, "client_ip", client, "account", account, "cause", cause)
			if err := c.call(http.MethodGet, path, nil, nil, &answer); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, answer.Refusals)
			}
			rows := [][]string{{"LAST", "COUNT", "SERVER", "CLIENT", "ACCOUNT", "CAUSE", "REPLY", "DETAIL"}}
			var remedies []string
			for _, r := range answer.Refusals {
				if line := r.Cause + ": " + r.Remedy; r.Remedy != "" && !slices.Contains(remedies, line) {
					remedies = append(remedies, line)
				}
				rows = append(rows, []string{
					shortTime(r.Last), strconv.Itoa(r.Count), r.Server, r.ClientIP, r.Account, r.Cause, r.Reply, strings.ReplaceAll(r.Detail, "\t", " "),
				})
			}
			if err := table(cmd, rows); err != nil || len(remedies) == 0 {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", strings.Join(remedies, "\n"))
			return err
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "Only refusals of this server")
	cmd.Flags().StringVar(&client, "client", "", "Only refusals of this address or network")
	cmd.Flags().StringVar(&account, "account", "", "Only refusals of this account")
	cmd.Flags().StringVar(&cause, "cause", "", "Only refusals for this cause")
	return cmd
}
