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
)

// drainInterval is the time between looks at what is being drained.
const drainInterval = 500 * time.Millisecond

// drainState is how far a drain is.
type drainState struct {
	text string
	page any   // what --json prints
	done bool  // waiting changes nothing any more
	err  error // why something is left all the same
}

// awaitDrain asks until a drain is done, for --timeout, and tells each change. Each
// question asks for the drain again: a gateway that has been started anew meanwhile
// goes on as well. still says, after a timeout, what goes on.
func awaitDrain(cmd *cobra.Command, still string, ask func() (drainState, error)) error {
	timeout, _ := cmd.Flags().GetDuration("timeout")
	deadline := time.Now().Add(timeout)
	said := ""
	for {
		left, err := ask()
		if err != nil {
			return err
		}
		if left.text != said && !wantsJSON(cmd) {
			said = left.text
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), said); err != nil {
				return err
			}
		}
		if !left.done && time.Now().Before(deadline) {
			time.Sleep(drainInterval)
			continue
		}
		if wantsJSON(cmd) {
			if err := printJSON(cmd, left.page); err != nil {
				return err
			}
		}
		if !left.done {
			return fmt.Errorf("%s after %s; %s", left.text, timeout, still)
		}
		return left.err
	}
}
