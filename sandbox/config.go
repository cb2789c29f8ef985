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

// Package sandbox is the Caddy app `smtp_sandbox`: a mail provider to run on a
// laptop and in tests, with SMTP submission, OAuth, limits and faults. It
// keeps what it receives and delivers nothing.
package sandbox

import (
	"github.com/caddyserver/caddy/v2"
)

// App is a provider on loopback.
type App struct {
	// SMTP is the address of submission with STARTTLS. Default: `127.0.0.1:2587`.
	SMTP string `json:"smtp,omitempty"`
	// SMTPS is the address of submission with implicit TLS. Default: `127.0.0.1:2465`.
	SMTPS string `json:"smtps,omitempty"`
	// HTTP is the address of the OAuth endpoints and of the inspection
	// API. Default: `127.0.0.1:2580`.
	HTTP string `json:"http,omitempty"`

	// Profile is whose manners it has: `generic`, `google` or `microsoft`.
	// Default: `generic`.
	Profile string `json:"profile,omitempty"`

	// RTT is the round-trip time to pretend: each flight of the client is
	// answered this much later. Default: 0.
	RTT caddy.Duration `json:"rtt,omitempty"`

	// TokenLifetime is how long access tokens live. Default: 1h.
	TokenLifetime caddy.Duration `json:"token_lifetime,omitempty"`
	// TokenDelay is how long the token endpoint takes to answer. Default: 0.
	TokenDelay caddy.Duration `json:"token_delay,omitempty"`
	// RotateRefreshTokens gives a new refresh token at each use; a used
	// one is then refused, and revokes the account's whole family.
	RotateRefreshTokens bool `json:"rotate_refresh_tokens,omitempty"`

	// Clients are the OAuth clients: identifier and secret. Default: one,
	// `sandbox` with the secret `sandbox-secret`.
	Clients map[string]string `json:"clients,omitempty"`
	// Mailboxes are the mailboxes and their refresh tokens. A mailbox that
	// is not listed exists all the same: its refresh token is `rt-` and
	// its address. Default: none.
	Mailboxes map[string]string `json:"mailboxes,omitempty"`
	// Password is what PLAIN and LOGIN accept for every mailbox. Default:
	// none, both refused.
	Password string `json:"password,omitempty"`

	// MaxConnsPerMailbox answers 432 4.3.2 to further connections, as
	// Microsoft does. Default: 3 for `microsoft`, else no limit.
	MaxConnsPerMailbox int `json:"max_conns_per_mailbox,omitempty"`
	// MessagesPerMinute delays messages over it, as Microsoft does.
	// Default: 30 for `microsoft`, else no limit.
	MessagesPerMinute int `json:"messages_per_minute,omitempty"`
	// LoginsPerMinute answers 454 4.7.0 to further logins, as Gmail does.
	// Default: no limit.
	LoginsPerMinute int `json:"logins_per_minute,omitempty"`
	// NoChunking hides CHUNKING, NoPipelining PIPELINING, No8BITMIME
	// 8BITMIME, NoSMTPUTF8 SMTPUTF8.
	NoChunking   bool `json:"no_chunking,omitempty"`
	NoPipelining bool `json:"no_pipelining,omitempty"`
	No8BITMIME   bool `json:"no_8bitmime,omitempty"`
	NoSMTPUTF8   bool `json:"no_smtputf8,omitempty"`

	// KeepMessages is the number of messages kept with their envelope; the
	// counts go on. Default: 10000.
	KeepMessages int `json:"keep_messages,omitempty"`
	// KeepBodies keeps the bodies too, up to 64 MiB in all.
	KeepBodies bool `json:"keep_bodies,omitempty"`

	// CAFile is where to write the certificate of the sandbox's own
	// authority at start, for clients that are to trust it. Default: none.
	CAFile string `json:"ca_file,omitempty"`
	// UsePKI takes the certificate from the local authority of Caddy's pki
	// app in place of an own one; clients trust it with
	// `trust_pool pki_root local`. Default: false.
	UsePKI bool `json:"use_pki,omitempty"`

	appState
}
