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
	"time"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/operate"
)

func drainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain [UPSTREAM]",
		Short: "Empties the spools, and waits until nothing is left",
		Long: `Empties the spools, or the one in front of UPSTREAM: they keep nothing new, and what they have is due at once.
It waits until nothing is left, for --timeout. The spools are drained until --end or a restart; called again, it goes on.`,
		Args: cobra.MaximumNArgs(1),
		RunE: drainSpool,
	}
	cmd.Flags().Bool("hand-over", false, "Hand the messages over to the spool's peer")
	cmd.Flags().Duration("timeout", 10*time.Minute, "How long to wait")
	cmd.Flags().Bool("end", false, "Let the spools keep messages again")
	usage.Exclusive(cmd, "end", "hand-over", "timeout")
	return cmd
}

func drainSpool(cmd *cobra.Command, args []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	const path = "/smtp/spool/drain"
	if end, _ := cmd.Flags().GetBool("end"); end {
		if len(args) > 0 {
			return errors.New("--end lets all spools keep messages again: leave " + args[0] + " out")
		}
		if err := c.call("DELETE", path, nil, nil, nil); err != nil {
			return err
		}
		return printDone(cmd, "the spools keep messages again")
	}
	var req admin.SpoolDrain
	if len(args) > 0 {
		req.Upstream = args[0]
	}
	req.HandOver, _ = cmd.Flags().GetBool("hand-over")
	return awaitDrain(cmd, "the spools are still being drained (`smtp spool drain` goes on, `--end` ends it)", func() (drainState, error) {
		var page admin.SpoolPage
		if err := c.call("POST", path, nil, req, &page); err != nil {
			return drainState{}, err
		}
		left := operate.LeftInSpools(page.Spools, req.Upstream)
		done, err := left.Done()
		return drainState{left.String(), page, done, err}, nil
	})
}
