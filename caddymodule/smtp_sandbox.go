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

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddymail/mailgateway/sandbox"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("smtp_sandbox", parseApp("smtp_sandbox", sandboxOptions))
}

// sandboxOptions are those of the global option. Syntax:
//
//	smtp_sandbox {
//		smtp                  <address>
//		smtps                 <address>
//		http                  <address>
//		profile               generic|google|microsoft
//		rtt                   <duration>
//		token_lifetime        <duration>
//		token_delay           <duration>
//		rotate_refresh_tokens
//		client                <id> <secret>
//		mailbox               <address> <refresh_token>
//		password              <password>
//		max_conns_per_mailbox <number>
//		messages_per_minute   <number>
//		logins_per_minute     <number>
//		no_chunking
//		no_pipelining
//		no_8bitmime
//		no_smtputf8
//		keep_messages         <number>
//		keep_bodies
//		ca_file               <path>
//		use_pki
//	}
//
// Several blocks are combined.
func sandboxOptions(app *sandbox.App) options {
	return options{
		"smtp":                  text(&app.SMTP),
		"smtps":                 text(&app.SMTPS),
		"http":                  text(&app.HTTP),
		"profile":               text(&app.Profile),
		"rtt":                   duration(&app.RTT),
		"token_lifetime":        duration(&app.TokenLifetime),
		"token_delay":           duration(&app.TokenDelay),
		"rotate_refresh_tokens": boolean(&app.RotateRefreshTokens),
		"client":                pair(&app.Clients),
		"mailbox":               pair(&app.Mailboxes),
		"password":              text(&app.Password),
		"max_conns_per_mailbox": integer(&app.MaxConnsPerMailbox),
		"messages_per_minute":   integer(&app.MessagesPerMinute),
		"logins_per_minute":     integer(&app.LoginsPerMinute),
		"no_chunking":           boolean(&app.NoChunking),
		"no_pipelining":         boolean(&app.NoPipelining),
		"no_8bitmime":           boolean(&app.No8BITMIME),
		"no_smtputf8":           boolean(&app.NoSMTPUTF8),
		"keep_messages":         integer(&app.KeepMessages),
		"keep_bodies":           boolean(&app.KeepBodies),
		"ca_file":               text(&app.CAFile),
		"use_pki":               boolean(&app.UsePKI),
	}
}
