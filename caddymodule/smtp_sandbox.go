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
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddymail/mailgateway/internal/form"
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
//		rotation_grace
//		token_size            <bytes>
//		client                <id> <secret>
//		mailbox               <address> <refresh_token>
//		assertion_key         <issuer> <file>
//		password              <password>
//		max_conns_per_mailbox <number>
//		conn_limit_at         auth|data
//		messages_per_minute   <number>
//		logins_per_minute     <number>
//		recipients_per_day    <number>
//		gmail_units_per_minute <number>
//		api_resent
//		alias                 <address> <mailbox>
//		send_from_alias
//		delegate              <mailbox> <user>
//		gmail_rewrap
//		max_size              <size>
//		idle_timeout          <duration>
//		plaintext_auth
//		fault <stage> <action> {
//			reply          <code and text>
//			retry_after    <seconds>
//			challenge      <header>
//			delay          <duration>
//			mailbox        <address>
//			nth            <number>
//			after_bytes    <size>
//			conn           fresh|pooled
//			after_messages <number>
//			skip           <number>
//			times          <number>
//		}
//		no_chunking
//		no_pipelining
//		no_8bitmime
//		no_smtputf8
//		keep_messages         <number>
//		keep_bodies
//		no_hash
//		ca_file               <path>
//		use_pki
//	}
//
// Several blocks are combined.
func sandboxOptions(app *sandbox.App) options {
	return options{
		"smtp":                   text(&app.SMTP).like("127.0.0.1:2587"),
		"smtps":                  text(&app.SMTPS).like("127.0.0.1:2465"),
		"http":                   text(&app.HTTP).like("127.0.0.1:8025"),
		"profile":                word(&app.Profile, form.OneOf("generic", "google", "microsoft")),
		"rtt":                    duration(&app.RTT),
		"token_lifetime":         duration(&app.TokenLifetime),
		"token_delay":            duration(&app.TokenDelay),
		"rotate_refresh_tokens":  boolean(&app.RotateRefreshTokens),
		"rotation_grace":         boolean(&app.RotationGrace),
		"token_size":             integer(&app.TokenSize),
		"client":                 pair(&app.Clients),
		"mailbox":                pair(&app.Mailboxes),
		"assertion_key":          pair(&app.AssertionKeys),
		"password":               text(&app.Password),
		"max_conns_per_mailbox":  integer(&app.MaxConnsPerMailbox),
		"messages_per_minute":    integer(&app.MessagesPerMinute),
		"logins_per_minute":      integer(&app.LoginsPerMinute),
		"conn_limit_at":          word(&app.ConnLimitAt, form.OneOf("auth", "data")),
		"recipients_per_day":     integer(&app.RecipientsPerDay),
		"gmail_units_per_minute": integer(&app.GmailUnitsPerMinute),
		"api_resent":             boolean(&app.APIResent),
		"alias":                  pair(&app.Aliases),
		"send_from_alias":        boolean(&app.SendFromAlias),
		"delegate":               pair(&app.Delegates),
		"gmail_rewrap":           boolean(&app.GmailRewrap),
		"max_size":               size(&app.MaxSize),
		"idle_timeout":           duration(&app.IdleTimeout),
		"plaintext_auth":         boolean(&app.PlaintextAuth),
		"fault": {
			many: true,
			nested: func(d *caddyfile.Dispenser) error {
				args := d.RemainingArgs()
				if len(args) < 2 {
					return malformed(d, "smtp_sandbox", "fault", errors.New("want a stage and an action"))
				}
				if len(args) > 2 {
					return malformed(d, "smtp_sandbox", "fault", unexpectedArg(args[2]))
				}
				f := sandbox.Fault{Stage: args[0], Action: args[1]}
				if err := parseBlock(d, "fault", faultOptions(&f)); err != nil {
					return err
				}
				app.Faults = append(app.Faults, f)
				return nil
			},
		},
		"no_chunking":   boolean(&app.NoChunking),
		"no_pipelining": boolean(&app.NoPipelining),
		"no_8bitmime":   boolean(&app.No8BITMIME),
		"no_smtputf8":   boolean(&app.NoSMTPUTF8),
		"keep_messages": integer(&app.KeepMessages),
		"keep_bodies":   boolean(&app.KeepBodies),
		"no_hash":       boolean(&app.NoHash),
		"ca_file":       text(&app.CAFile),
		"use_pki":       boolean(&app.UsePKI),
	}
}

// faultOptions are those of one fault; see sandboxOptions.
func faultOptions(f *sandbox.Fault) options {
	return options{
		"reply":          text(&f.Reply),
		"retry_after":    integer(&f.RetryAfter),
		"challenge":      text(&f.Challenge),
		"delay":          duration(&f.Delay),
		"mailbox":        text(&f.Mailbox),
		"nth":            integer(&f.Nth),
		"after_bytes":    size(&f.AfterBytes),
		"conn":           text(&f.Conn),
		"after_messages": integer(&f.AfterMessages),
		"skip":           integer(&f.Skip),
		"times":          integer(&f.Times),
	}
}
