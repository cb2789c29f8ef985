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

package smtpapp

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/legacyrsa"
)

// App accepts mail from clients that log in with a password of the gateway's,
// and sends it through the account's upstream. A client hears 250 only after
// the provider said 250; nothing is queued or stored but for servers and accounts
// that say `spool`.
type App struct {
	// Hostname is the name the servers greet with, and the name their
	// certificates are for. Default: the system's host name.
	Hostname string `json:"hostname,omitempty"`

	// DrainTimeout bounds how long sessions go on after their listener is
	// gone, at a reload or at exit. Default: 2m.
	DrainTimeout caddy.Duration `json:"drain_timeout,omitempty"`

	// AccountsRaw are the account sources, asked in their order: the first
	// that knows a name wins.
	AccountsRaw []json.RawMessage `json:"accounts,omitempty" caddy:"namespace=smtp.accounts inline_key=source"`

	// Servers are the listeners by name.
	Servers map[string]*Server `json:"servers,omitempty"`

	// Tracing makes an OpenTelemetry trace of each message. Default: none.
	Tracing *Tracing `json:"tracing,omitempty"`

	// Messages keeps the last transactions, for `smtp messages`. Default: none.
	Messages *messagelog.Config `json:"messages,omitempty"`

	logger    *zap.Logger
	directory *accounts.Directory
	upstream  relay.Upstream
	tlsApp    *caddytls.TLS

	wantsRSA  bool                                  // a legacy server has Caddy's certificate
	legacyRSA atomic.Pointer[legacyrsa.Certificate] // while running, and wanted

	storage certmagic.Storage
	leave   func() // of the storage, while running

	tracing *tracing // while running; nil if it is off

	tracingTaken bool

	mu      sync.Mutex
	running []*front.Attachment // what Start took

	messages       *messagelog.Log // while running; nil if none are kept
	detachMessages func()

	stopHistory func() // while running
	unfollow    func() // the same
}

// Server is one SMTP submission server (RFC 6409, RFC 8314).
type Server struct {
	// Listen are the addresses to listen on, in Caddy's network address
	// syntax. A server without one serves only the `smtp` handler of
	// caddy-l4.
	Listen []string `json:"listen,omitempty"`

	// ListenerWrappersRaw wrap each listener before TLS, as in the http
	// app; `proxy_protocol` is the usual one.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	// TLS says how the server does TLS. Default: `starttls` with Caddy's
	// certificate for the app's hostname.
	TLS *TLS `json:"tls,omitempty"`

	// MaxMessageSize is the largest message in bytes. Default: 26214400 (25 MiB).
	MaxMessageSize int64 `json:"max_message_size,omitempty"`

	// MaxRecipients is the number of recipients per message. Default: 100.
	MaxRecipients int `json:"max_recipients,omitempty"`

	// MaxConns is the number of client connections at a time. Default: 10000.
	MaxConns int `json:"max_conns,omitempty"`

	// MaxConnsPerIP is the number of connections at a time from one IPv4
	// address or one IPv6 /64. Default: 1000.
	MaxConnsPerIP int `json:"max_conns_per_ip,omitempty"`

	// MaxConnsBeforeLogin is the number of connections at a time that have
	// neither logged in nor begun a message. One more ends the oldest of them.
	// Default: half of max_conns, and at least 100.
	MaxConnsBeforeLogin int `json:"max_conns_before_login,omitempty"`

	// PlaintextAuth are the networks whose clients may log in without TLS.
	// Loopback always may.
	PlaintextAuth []string `json:"plaintext_auth,omitempty"`

	// Trust names networks whose clients send without logging in, each as
	// one account.
	Trust []*Trust `json:"trust,omitempty"`

	// AuthFailures bans addresses after failed logins. Default: 5 in 10m, for 15m.
	AuthFailures *AuthFailures `json:"auth_failures,omitempty"`

	// BareNewline says what happens to a CR or LF that stands alone in a
	// message or at the end of a command: `reject` refuses the message and
	// closes the connection, `normalize` makes it CRLF. Only CRLF.CRLF ends a
	// message in either case. Default: `normalize` for clients that log in,
	// `reject` for those that send without (see Trust).
	BareNewline string `json:"bare_newline,omitempty"`

	// LFOnly are the networks whose clients may end every line with LF alone,
	// the final dot's too. A connection whose first line ends with LF keeps to
	// it: a CR anywhere ends it. Default: none.
	LFOnly []string `json:"lf_only,omitempty"`

	// Strict keeps to the letter of RFC 5321 and RFC 4954, and refuses what
	// old devices get wrong: paths without brackets, blanks around them, dots
	// and lengths in local parts, base64 without padding and the like.
	// Default: false.
	Strict bool `json:"strict,omitempty"`

	// Envelope is `faithful` (every recipient gets the provider's own
	// reply, two round trips a message, one if the client does not wait in
	// between) or `deferred` (one recipient per transaction, one round trip).
	// Default: `faithful`.
	Envelope string `json:"envelope,omitempty"`

	// Spool keeps what the provider does not take now and sends it later, for
	// accounts that do not say otherwise: `on`, `always` (250 at once, without
	// waiting for the provider) or `off`. Default: `off`.
	Spool string `json:"spool,omitempty"`

	// CommandTimeout is how long a client may be silent between commands.
	// Default: 5m (RFC 5321 section 4.5.3.2.7).
	CommandTimeout caddy.Duration `json:"command_timeout,omitempty"`

	// LoginTimeout bounds the time from the connection to the login or, for a
	// client that need not log in, to its first MAIL. Default: 30s.
	LoginTimeout caddy.Duration `json:"login_timeout,omitempty"`

	// BodyIdleTimeout is how long a client may be silent within a message.
	// Default: 3m (RFC 5321 section 4.5.3.2.5).
	BodyIdleTimeout caddy.Duration `json:"body_idle_timeout,omitempty"`

	// BodyTimeout bounds a whole message. Default: 30m.
	BodyTimeout caddy.Duration `json:"body_timeout,omitempty"`

	// ReplyID appends the message's id, as the access log has it, to the
	// last line of the provider's final positive reply. The reply is then
	// no longer the provider's word for word. Default: false.
	ReplyID bool `json:"reply_id,omitempty"`

	prov *provisioned
}

// Tracing traces messages. Where the spans go, which messages are sampled and
// what the service is called say the standard variables of OpenTelemetry
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and so
// on), as for Caddy's own tracing of HTTP.
type Tracing struct {
	// Span is the name of a message's span. Default: `smtp.transaction`.
	Span string `json:"span,omitempty"`
}

// TLS is a server's side of TLS.
type TLS struct {
	// Mode is `starttls` (RFC 3207), `implicit` (RFC 8314) or `off`.
	// Default: `starttls`.
	Mode string `json:"mode,omitempty"`

	// Certificate is the path of a PEM certificate chain to use in place
	// of Caddy's; Key belongs to it.
	Certificate string `json:"certificate,omitempty"`
	// Key is the path of the certificate's PEM key.
	Key string `json:"key,omitempty"`

	// Legacy accepts TLS 1.0 and 1.1 with the cipher suites that old
	// devices know (option `legacy_tls`), and serves an RSA certificate to
	// those that cannot use the ordinary one, where Caddy obtains the
	// certificates. Default: false.
	Legacy bool `json:"legacy,omitempty"`

	// ConnectionPolicies are Caddy's TLS connection policies, for client
	// certificates, curves and the like. Default: one policy without
	// conditions, TLS 1.2 and up.
	ConnectionPolicies caddytls.ConnectionPolicies `json:"connection_policies,omitempty"`

	// ClientCertificateLogin makes a verified client certificate a login:
	// the account is the one named by its e-mail SAN, DNS SAN or common
	// name, in this order. It needs a connection policy with client
	// authentication. Default: false.
	ClientCertificateLogin bool `json:"client_certificate_login,omitempty"`
}

// Trust lets clients from some networks send without logging in.
type Trust struct {
	// Networks are IP addresses or CIDR prefixes.
	Networks []string `json:"networks,omitempty"`
	// Account is the account their mail is sent as.
	Account string `json:"account,omitempty"`
	// Submitter makes these clients name the account, message by message, in the
	// AUTH parameter of MAIL (RFC 4954 section 5): another gateway whose spool is
	// handed over. They may send as every account. Default: false.
	Submitter bool `json:"submitter,omitempty"`
}

// AuthFailures says when failed logins lead to a ban.
type AuthFailures struct {
	// Max is the number of different wrong logins within Window that lead to a
	// ban of the client; the same name and password count once. A site (IPv6
	// /48, IPv4 /26) is banned after twice, a neighbourhood (/32, /21) after
	// ten times as many. A client that has logged in within 7 days may have
	// four times as many, and one for each account that has. Default: 5.
	Max int `json:"max,omitempty"`
	// Window is the period in which failures count. Default: 10m.
	Window caddy.Duration `json:"window,omitempty"`
	// Ban is how long the client is refused; accounts that have logged in from
	// there before are not. Default: 15m.
	Ban caddy.Duration `json:"ban,omitempty"`
	// Delay is how long the first refusal is held back; it doubles with each
	// further wrong password of the account within Window, up to 8s. Default:
	// 250ms. Negative: no delay.
	Delay caddy.Duration `json:"delay,omitempty"`
	// Exempt are networks that are never banned, beside loopback and those of
	// trust. `none` in the first place takes loopback out. Default: loopback.
	Exempt []string `json:"exempt,omitempty"`
}
