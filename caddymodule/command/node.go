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
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
)

func nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Shows the nodes that share limits, and takes one out of service",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "Lists the nodes that count the same limits, and how many mailboxes each holds",
		Args:  cobra.NoArgs,
		RunE:  listNodes,
	}, drainNodeCommand(), &cobra.Command{
		Use:   "resume [ID]",
		Short: "Lets clients come to the node again",
		Long:  "Lets clients come again to the node that the admin endpoint belongs to, or to another one that 'smtp node list' shows.",
		Args:  cobra.MaximumNArgs(1),
		RunE:  resumeNode,
	})
	return cmd
}

func listNodes(cmd *cobra.Command, _ []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	var page admin.NodesPage
	if err := c.call("GET", "/smtp/nodes", nil, nil, &page); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, page)
	}
	rows := [][]string{{"NODE", "ID", "STATE", "SINCE", "UNTIL", "SESSIONS", "MAILBOXES"}}
	for _, n := range page.Nodes {
		state := "alive"
		switch {
		case n.Ended:
			state = "ended"
		case n.Self && n.Draining:
			state = "this one, being drained"
		case n.Self:
			state = "this one"
		case n.Draining:
			state = "being drained"
		}
		if n.Asked != "" {
			state += ", asked to " + n.Asked
		}
		rows = append(rows, []string{n.Name, n.ID, state, n.Since.Format(time.RFC3339), n.Until.Format(time.RFC3339), strconv.FormatInt(n.Sessions, 10), strconv.FormatInt(n.Mailboxes, 10)})
	}
	return table(cmd, rows)
}
