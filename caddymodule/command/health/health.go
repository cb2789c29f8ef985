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

// Package health is the command `smtp health`, which those ask who start, stop and
// choose processes: orchestrators, balancers, service managers.
package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/command/output"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/internal/printable"
)

// defaultTimeout is less than the five seconds that probes have.
const defaultTimeout = 4 * time.Second

// Command makes `smtp health`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tells by its status whether the gateway lives, or takes mail",
		Long: `
Tells by its status, for probes, whether the gateway's process lives: its admin
API answers. Nothing else is asked, so that a database or provider that is away
has no process killed.

With --ready it tells whether the process takes mail: its configuration is in
force, it is not about to end, 'smtp node drain' has not taken it out of service,
and its lease of 'limits postgres' is not over, or a spool keeps mail meanwhile.
Who is not ready should get no new clients, and should not be killed for it.`,
		Args: cobra.NoArgs,
		RunE: run,
	}
	cmd.Flags().Bool("ready", false, "Ask whether it takes mail, and not only whether it lives")
	cmd.Flags().Duration("timeout", defaultTimeout, "How long to wait for an answer")
	return cmd
}

func run(cmd *cobra.Command, _ []string) error {
	address, _ := cmd.Flags().GetString("address")
	config, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	timeout, _ := cmd.Flags().GetDuration("timeout")
	path, what := "/smtp/live", "it lives"
	if ready, _ := cmd.Flags().GetBool("ready"); ready {
		path, what = "/smtp/ready", "it takes mail"
	}
	address, err := usage.FindAdmin(address, config, adapter)
	if err != nil {
		return fmt.Errorf("finding the admin API's address: %w", err)
	}
	answer := make(chan error, 1)
	go func() { answer <- ask(address, path) }()
	select {
	case err := <-answer:
		if err != nil {
			return err
		}
		return output.Done(cmd, what)
	case <-time.After(timeout):
		return fmt.Errorf("no answer of %s within %s", address, timeout)
	}
}

// tries is how often a connection is made: at a reload Caddy's admin server makes
// way for another, and ends what it has just accepted.
const tries = 3

// answered is how caddycmd tells an answer that is an error.
var answered = regexp.MustCompile(`(?s)HTTP \d{3}: (.*)$`)

func ask(address, path string) (err error) {
	for range tries {
		var resp *http.Response
		if resp, err = caddycmd.AdminAPIRequest(address, http.MethodGet, path, nil, nil); err == nil {
			return resp.Body.Close()
		}
		if m := answered.FindStringSubmatch(err.Error()); m != nil {
			var reason struct {
				Error string `json:"error"`
			}
			if json.Unmarshal([]byte(m[1]), &reason) != nil || reason.Error == "" {
				reason.Error = "what answers at " + address + " is not the admin API of a gateway, or of an older one: " + m[1]
			}
			return errors.New(string(printable.Escape([]byte(reason.Error))))
		}
	}
	return fmt.Errorf("is the gateway running? %w", err)
}
