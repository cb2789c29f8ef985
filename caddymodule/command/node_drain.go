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
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
)

// nodeDrainPath is the path for the node that is asked, or for another one.
func nodeDrainPath(args []string) string {
	if len(args) == 0 {
		return "/smtp/nodes/drain"
	}
	return "/smtp/nodes/" + url.PathEscape(args[0]) + "/drain"
}

func drainNodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain [ID]",
		Short: "Takes the node out of service, and waits until nothing is under way",
		Long: `Takes the node that the admin endpoint belongs to out of service, so that it can be stopped or upgraded: idle clients
hear 421 at once, others after their message, and new ones in place of the greeting, so that they come back by another node. What
it holds of limits that nodes share goes back as it becomes free. It waits until nothing is left, for --timeout. The node is
drained until 'smtp node resume' or a restart; called again, it goes on.

With an ID that 'smtp node list' shows, or a name that one node has, another node is taken out of service: it is told through the
database of 'limits postgres', and answers within seconds.`,
		Args: cobra.MaximumNArgs(1),
		RunE: drainNode,
	}
	cmd.Flags().Duration("timeout", 10*time.Minute, "How long to wait")
	return cmd
}

func drainNode(cmd *cobra.Command, args []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	return awaitDrain(cmd, "the node is still being drained (`smtp node drain` goes on, `smtp node resume` ends it)", func() (drainState, error) {
		var left admin.NodeDrain
		if err := c.call("POST", nodeDrainPath(args), nil, nil, &left); err != nil {
			return drainState{}, err
		}
		return drainState{text: leftOnNode(&left), page: left, done: left == admin.NodeDrain{}}, nil
	})
}

// leftOnNode says what is left.
func leftOnNode(left *admin.NodeDrain) string {
	switch {
	case left.Waiting:
		return "the node has not answered yet"
	case left.Error != "":
		return fmt.Sprintf("%d sessions, and mailboxes that cannot be counted: %s", left.Sessions, left.Error)
	case *left == admin.NodeDrain{}:
		return "nothing is left"
	}
	return fmt.Sprintf("left: sessions %d, mailboxes %d", left.Sessions, left.Mailboxes)
}

func resumeNode(cmd *cobra.Command, args []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	if err := c.call("DELETE", nodeDrainPath(args), nil, nil, nil); err != nil {
		return err
	}
	return printDone(cmd, "clients may come to the node again")
}
