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
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/invoked"
)

func loginCommand() *cobra.Command {
	var req admin.LoginRequest
	cmd := &cobra.Command{
		Use:   "login ACCOUNT",
		Short: "Asks the owner of an account's mailbox for consent",
		Long: `
Asks the owner of an account's mailbox to let the gateway send: in a browser, or
with --device on another device, where the provider allows that. The gateway
keeps the tokens; this command never sees them.

The browser comes back to a loopback port of the gateway's machine. If it runs
elsewhere, its last page fails to load: paste that page's address here.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var status admin.LoginStatus
			if err := c.call(http.MethodPost, admin.AccountPath(args[0], "login"), nil, req, &status); err != nil {
				return err
			}
			if err := showLogin(cmd, status); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			status, err = awaitLogin(ctx, cmd, c, status)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				if err := printJSON(cmd, status); err != nil {
					return err
				}
			}
			if status.State != "done" {
				return loginFailure(status.Error, status.Explanation)
			}
			if !wantsJSON(cmd) {
				who := ""
				if status.Identity != "" {
					who = " by " + status.Identity
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Consent for %s given%s. `%s %s` tries it.\n", status.Account, who, invoked.Words("caddy smtp test"), status.Account)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&req.Device, "device", false, "Use a device code in place of a browser redirect")
	f.BoolVar(&req.AnyIdentity, "any-identity", false, "Take the consent of another identity than the mailbox, as for a shared mailbox")
	f.StringVar(&req.RedirectURL, "redirect-url", "", "Where the browser is sent back to, if the registration demands it; then paste its address here")
	f.StringVar(&req.Listen, "listen", "", "Loopback address that the browser comes back to (default: a free port)")
	usage.Exclusive(cmd, "device", "listen", "redirect-url")
	return cmd
}

// showLogin tells the user what to do.
func showLogin(cmd *cobra.Command, status admin.LoginStatus) error {
	out := cmd.OutOrStdout()
	if wantsJSON(cmd) {
		return printJSON(cmd, status)
	}
	if status.UserCode != "" {
		_, err := fmt.Fprintf(out, "Open %s and type the code %s as %s.\n", status.VerificationURI, status.UserCode, status.Account)
		return err
	}
	_, err := fmt.Fprintf(out, "Open this address in a browser, and log in as the owner of %s:\n\n%s\n\n"+
		"If the browser cannot come back to %s, paste the address of its last page here.\n", status.Account, status.URL, status.RedirectURL)
	return err
}

// awaitLogin waits for the end, or for an address that the user pastes.
func awaitLogin(ctx context.Context, cmd *cobra.Command, c *adminClient, status admin.LoginStatus) (admin.LoginStatus, error) {
	type end struct {
		status admin.LoginStatus
		err    error
	}
	path := "/smtp/logins/" + status.ID
	ends := make(chan end, 1)
	go func() {
		for {
			var s admin.LoginStatus
			err := c.call(http.MethodGet, path+"?wait=20s", nil, nil, &s)
			if err != nil || s.State != "pending" {
				ends <- end{s, err}
				return
			}
		}
	}()

	pasted := make(chan string)
	if status.URL != "" {
		go func() {
			lines := bufio.NewScanner(cmd.InOrStdin())
			for lines.Scan() {
				if line := strings.TrimSpace(lines.Text()); line != "" {
					pasted <- line
				}
			}
		}()
	}
	for {
		select {
		case e := <-ends:
			return e.status, e.err
		case <-ctx.Done():
			return status, errors.New("interrupted")
		case address := <-pasted:
			var s admin.LoginStatus
			err := c.call(http.MethodPost, path, nil, map[string]string{"redirected": address}, &s)
			if err == nil {
				return s, nil
			}
			re, ok := errors.AsType[*remoteError](err)
			if !ok {
				return status, err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), loginFailure(re.Text, re.Explanation))
		}
	}
}

// loginFailure is an error with what is known of it.
func loginFailure(text string, e *explain.Explanation) error {
	if e == nil {
		return errors.New(text)
	}
	return fmt.Errorf("%s\n%s\n%s", text, e.Cause, e.Remedy)
}
