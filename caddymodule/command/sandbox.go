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
	"context"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/sandbox"
)

func sandboxCommand() *cobra.Command {
	app := new(sandbox.App)
	var rtt, tokenLifetime, tokenDelay time.Duration
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Runs a mail provider for tests, which delivers nothing",
		Long: `
Runs a mail provider: SMTP submission with STARTTLS and with implicit TLS,
OAuth endpoints, limits and faults. It keeps what it receives, lists it at
/messages, and delivers nothing. It ends at an interrupt.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Whoever reads the addresses may end the sandbox at once.
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			app.RTT, app.TokenLifetime, app.TokenDelay = caddy.Duration(rtt), caddy.Duration(tokenLifetime), caddy.Duration(tokenDelay)
			s, err := sandbox.Start(app, printable.Logger(caddy.Log()).Named("smtp_sandbox"))
			if err != nil {
				return err
			}
			defer s.Close()
			addresses := map[string]string{"smtp": s.SMTPAddr(), "smtps": s.SMTPSAddr(), "http": s.HTTPURL()}
			if wantsJSON(cmd) {
				if err := printJSON(cmd, addresses); err != nil {
					return err
				}
			} else if _, err := fmt.Fprintf(cmd.OutOrStdout(),
				"submission (STARTTLS)      %s\nsubmissions (implicit TLS) %s\nOAuth and inspection       %s\ncertificate authority      %s/ca.pem\n",
				addresses["smtp"], addresses["smtps"], addresses["http"], addresses["http"]); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&app.SMTP, "smtp", "127.0.0.1:2587", "Address of submission with STARTTLS")
	f.StringVar(&app.SMTPS, "smtps", "127.0.0.1:2465", "Address of submission with implicit TLS")
	f.StringVar(&app.HTTP, "http", "127.0.0.1:2580", "Address of the OAuth endpoints and the inspection API")
	f.StringVar(&app.Profile, "profile", "generic", "Manners: generic, google or microsoft")
	f.DurationVar(&rtt, "rtt", 0, "Round-trip time to pretend")
	f.DurationVar(&tokenLifetime, "token-lifetime", time.Hour, "How long access tokens live")
	f.DurationVar(&tokenDelay, "token-delay", 0, "How long the token endpoint takes to answer")
	f.BoolVar(&app.RotateRefreshTokens, "rotate-refresh-tokens", false, "Give a new refresh token at each use")
	f.StringToStringVar(&app.Clients, "client", nil, "OAuth clients, ID=SECRET")
	f.StringToStringVar(&app.Mailboxes, "mailbox", nil, "Mailboxes and their refresh tokens, ADDRESS=TOKEN")
	f.StringVar(&app.Password, "password", "", "Password that PLAIN and LOGIN accept for every mailbox")
	f.IntVar(&app.MaxConnsPerMailbox, "max-conns-per-mailbox", 0, "Connections of one mailbox at a time")
	f.IntVar(&app.MessagesPerMinute, "messages-per-minute", 0, "Messages of one mailbox per minute, over which they are delayed")
	f.IntVar(&app.LoginsPerMinute, "logins-per-minute", 0, "Logins of one mailbox per minute, over which they are refused")
	f.BoolVar(&app.NoChunking, "no-chunking", false, "Do not offer CHUNKING")
	f.BoolVar(&app.NoPipelining, "no-pipelining", false, "Do not offer PIPELINING")
	f.BoolVar(&app.KeepBodies, "keep-bodies", false, "Keep the bodies of messages")
	f.StringVar(&app.CAFile, "ca-file", "", "Where to write the certificate of the sandbox's authority")
	return cmd
}
