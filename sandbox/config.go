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

package sandbox

import (
	"crypto"
	"crypto/x509"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// App is a provider on loopback.
//
// Some recipients are answered by their local part: `reject-` with 550 5.1.1,
// `tempfail-` with 451 4.2.0, and `maxsize-` makes the message too big, 552
// 5.3.4 after its last byte. A sender `reject-` may not be used by any
// mailbox: 550 5.7.60.
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
	// RotationGrace answers a used refresh token once more as long as nobody
	// has used its successor: the answer may have been lost. Servers that
	// rotate do so under names like grace period or leeway. Default: false.
	RotationGrace bool `json:"rotation_grace,omitempty"`

	// Clients are the OAuth clients: identifier and secret. Default: one,
	// `sandbox` with the secret `sandbox-secret`.
	Clients map[string]string `json:"clients,omitempty"`
	// Mailboxes are the mailboxes and their refresh tokens. A mailbox that
	// is not listed exists all the same: its refresh token is `rt-` and
	// its address. Default: none.
	Mailboxes map[string]string `json:"mailboxes,omitempty"`
	// TokenSize pads access tokens to this many bytes, as long as
	// Microsoft's; at most 8192. Default: 43, which is 32 random bytes.
	TokenSize int `json:"token_size,omitempty"`
	// AssertionKeys are PEM files with the public key or certificate that
	// verifies JWT assertions, by issuer: a client identifier
	// (private_key_jwt) or a service account's address (JWT bearer grant).
	// Default: none, assertions are checked for form and time only.
	AssertionKeys map[string]string `json:"assertion_keys,omitempty"`
	// Password is what PLAIN and LOGIN accept for every mailbox. Default:
	// none, both refused.
	Password string `json:"password,omitempty"`

	// MaxConnsPerMailbox answers 432 4.3.2 to further connections, as
	// Microsoft does. Default: 3 for `microsoft`, else no limit.
	MaxConnsPerMailbox int `json:"max_conns_per_mailbox,omitempty"`
	// ConnLimitAt is where the limit of connections is answered: `auth` or
	// `data`. Default: `auth`.
	ConnLimitAt string `json:"conn_limit_at,omitempty"`
	// MessagesPerMinute delays messages over it, as Microsoft does.
	// Default: 30 for `microsoft`, else no limit.
	MessagesPerMinute int `json:"messages_per_minute,omitempty"`
	// LoginsPerMinute answers 454 4.7.0 to further logins, as Gmail does.
	// Default: no limit.
	LoginsPerMinute int `json:"logins_per_minute,omitempty"`
	// RecipientsPerDay refuses the messages of a mailbox that has had this
	// many recipients since the start: 554 5.2.0 for `microsoft`, else
	// 550 5.4.5. Default: no limit.
	RecipientsPerDay int `json:"recipients_per_day,omitempty"`
	// GmailUnitsPerMinute is the quota units of a mailbox at the Gmail API, of
	// which a message costs 100; -1 is no limit. Default: 6000.
	GmailUnitsPerMinute int `json:"gmail_units_per_minute,omitempty"`
	// APIResent delivers what comes through an API to the addresses in
	// Resent-To, Resent-Cc and Resent-Bcc too, as a provider may. Default: false.
	APIResent bool `json:"api_resent,omitempty"`
	// Aliases are further addresses of mailboxes: alias and mailbox. Through
	// Microsoft Graph such a From becomes the mailbox's own address. Default: none.
	Aliases map[string]string `json:"aliases,omitempty"`
	// SendFromAlias leaves an alias in From, as tenants of Microsoft's may. Default:
	// false.
	SendFromAlias bool `json:"send_from_alias,omitempty"`
	// Delegates are users with Full Access to, and Send As for, a mailbox of
	// another: mailbox and user. Through Microsoft Graph their tokens need
	// Mail.Send.Shared. Default: none.
	Delegates map[string]string `json:"delegates,omitempty"`
	// GmailRewrap wraps the lines of text/plain messages again that come
	// through the Gmail API, as Gmail does. Default: false.
	GmailRewrap bool `json:"gmail_rewrap,omitempty"`
	// MaxSize is the SIZE that is announced and enforced, in bytes.
	// Default: 157286400 for `microsoft`, 35882577 for `google`, else 52428800.
	MaxSize int64 `json:"max_size,omitempty"`
	// IdleTimeout closes idle SMTP connections with 421 4.4.2. Default: never.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// PlaintextAuth offers AUTH without TLS. Default: false.
	PlaintextAuth bool `json:"plaintext_auth,omitempty"`
	// Faults are what goes wrong on purpose. Default: nothing.
	Faults []Fault `json:"faults,omitempty"`

	// NoChunking leaves CHUNKING out of what EHLO announces. Default: false.
	NoChunking bool `json:"no_chunking,omitempty"`
	// NoPipelining leaves PIPELINING out. Default: false.
	NoPipelining bool `json:"no_pipelining,omitempty"`
	// No8BITMIME leaves 8BITMIME out. Default: false.
	No8BITMIME bool `json:"no_8bitmime,omitempty"`
	// NoSMTPUTF8 leaves SMTPUTF8 out. Default: false.
	NoSMTPUTF8 bool `json:"no_smtputf8,omitempty"`

	// KeepMessages is the number of messages kept with their envelope; the
	// counts go on. Default: 10000.
	KeepMessages int `json:"keep_messages,omitempty"`
	// KeepBodies keeps the bodies too, up to 64 MiB in all.
	KeepBodies bool `json:"keep_bodies,omitempty"`

	// NoHash leaves the SHA-256 of bodies out, for benchmarks. Default: false.
	NoHash bool `json:"no_hash,omitempty"`

	// CAFile is where to write the certificate of the sandbox's own
	// authority at start, for clients that are to trust it. Default: none.
	CAFile string `json:"ca_file,omitempty"`
	// UsePKI takes the certificate from the local authority of Caddy's pki
	// app in place of an own one; clients trust it with
	// `trust_pool pki_root { authority local }`. Default: false.
	UsePKI bool `json:"use_pki,omitempty"`

	sandbox *Sandbox
	sign    func() (chain []*x509.Certificate, key crypto.Signer)
	prev    *settings
	mine    *settings
	logger  *zap.Logger
}
