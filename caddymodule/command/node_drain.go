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
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
)

const nodeDrainPath = "/smtp/nodes/drain"

func drainNodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Takes the node out of service, and waits until nothing is under way",
		Long: `Takes the node that the admin endpoint belongs to out of service, so that it can be stopped or upgraded: idle clients
hear 421 at once, others after their message, and new ones in place of the greeting, so that they come back by another node. What
it holds of limits that nodes share goes back as it becomes free. It waits until nothing is left, for --timeout. The node is
drained until 'smtp node resume' or a restart; called again, it goes on.`,
		Args: cobra.NoArgs,
		RunE: drainNode,
	}
	cmd.Flags().Duration("timeout", 10*time.Minute, "How long to wait")
	return cmd
}

func drainNode(cmd *cobra.Command, _ []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	return awaitDrain(cmd, "the node is still being drained (`smtp node drain` goes on, `smtp node resume` ends it)", func() (drainState, error) {
		var left admin.NodeDrain
		if err := c.call("POST", nodeDrainPath, nil, nil, &left); err != nil {
			return drainState{}, err
		}
		return drainState{text: leftOnNode(&left), page: left, done: left == admin.NodeDrain{}}, nil
	})
}

// leftOnNode says what is left.
func leftOnNode(left *admin.NodeDrain) string {
	switch {
	case left.Error != "":
		return fmt.Sprintf("%d sessions, and mailboxes that cannot be counted: %s", left.Sessions, left.Error)
	case *left == admin.NodeDrain{}:
		return "nothing is left"
	}
	return fmt.Sprintf("left: sessions %d, mailboxes %d", left.Sessions, left.Mailboxes)
}

func resumeNode(cmd *cobra.Command, _ []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	return c.call("DELETE", nodeDrainPath, nil, nil, nil)
}
