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

	"github.com/caddymail/mailgateway/caddymodule/command/browser"
	"github.com/caddymail/mailgateway/setup"
)

// browser goes on in a browser, with what flags have answered.
func (d *dialog) browser() error {
	a, _, err := setup.Load(d.dir)
	if err != nil {
		return fmt.Errorf("the answers of the last run: %w", err)
	}
	d.answers = a
	if err := d.flags(); err != nil {
		return err
	}
	if err := setup.Save(d.dir, &d.answers); err != nil {
		return err
	}
	console, _ := d.cmd.Flags().GetString("console")
	return browser.Run(d.cmd.Context(), d.dir, console, d.say)
}
