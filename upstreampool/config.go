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

package upstreampool

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
)

// SMTPTransport sends through a provider's submission service (RFC 6409) over
// a pool of authenticated connections.
type SMTPTransport struct {
	// Preset is `gmail`, `workspace_relay`, `microsoft365`, `outlook`, `hve`,
	// `azure_communication`, `connector`, `ses`, `yahoo`, `fastmail` or `zoho`:
	// it gives every other field the
	// provider's published value. Default: the upstream's name where that
	// is a preset, else none.
	Preset string `json:"preset,omitempty"`

	// Dial is the provider's host and port.
	Dial string `json:"dial,omitempty"`

	// TLS says how the connection is encrypted.
	TLS *UpstreamTLS `json:"tls,omitempty"`

	// Auth says how the gateway logs in.
	Auth *UpstreamAuth `json:"auth,omitempty"`

	// Hostname is the name given in EHLO. Default: the `smtp` app's hostname;
	// without a domain the connection's own address, as in `[192.0.2.1]`.
	Hostname string `json:"hostname,omitempty"`

	// MaxConns is the number of connections of the whole upstream. Default: 10000.
	MaxConns int `json:"max_conns,omitempty"`
	// MaxConnsPerAccount is the number of connections of one mailbox.
	// Default: the preset's, else 10.
	MaxConnsPerAccount int `json:"max_conns_per_account,omitempty"`
	// MaxMessagesPerConn is the number of messages after which a
	// connection is closed. Default: the preset's, else 100.
	MaxMessagesPerConn int `json:"max_messages_per_conn,omitempty"`
	// IdleTimeout closes a connection that has not been used. Default: 55s.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// MaxAge closes a connection however busy it is. Default: 10m.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
	// MaxWait is how long a message waits for quota and a connection. Default: 20s.
	MaxWait caddy.Duration `json:"max_wait,omitempty"`
	// MaxWaiting is the number of messages of one mailbox that wait at a
	// time; a further one is refused at once. Default: 1000.
	MaxWaiting int `json:"max_waiting,omitempty"`

	// RatePerAccount is the number of messages of one mailbox in a short
	// period, as in `30/1m`. Default: the preset's, else no limit.
	RatePerAccount accounts.Rate `json:"rate_per_account,omitzero"`
	// MessagesPerAccount is the number of messages of one mailbox in a long
	// period, as in `2000/24h`. Default: the preset's, else no limit.
	MessagesPerAccount accounts.Rate `json:"messages_per_account,omitzero"`
	// RecipientsPerAccount is the number of recipients of one mailbox in a
	// long period, as in `10000/24h`. Default: the preset's, else no limit.
	RecipientsPerAccount accounts.Rate `json:"recipients_per_account,omitzero"`

	// SourceIP is the local address of connections; an address that cannot
	// be bound fails the connection. Default: the system's choice.
	SourceIP string `json:"source_ip,omitempty"`

	// NetworkProxyRaw is the proxy for connections. Default: none.
	NetworkProxyRaw json.RawMessage `json:"network_proxy,omitempty" caddy:"namespace=caddy.network_proxy inline_key=from"`

	// DialTimeout bounds connecting, TLS and authentication each; the greeting
	// may take a minute, or this if it is longer. Default: 15s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`
	// CommandTimeout is how long the provider may take to answer a command.
	// Default: 1m.
	CommandTimeout caddy.Duration `json:"command_timeout,omitempty"`
	// DataTimeout is how long the provider may take to answer the end of a
	// message. Default: 5m (RFC 5321 section 4.5.3.2.6 asks for ten).
	DataTimeout caddy.Duration `json:"data_timeout,omitempty"`

	// Framing is how bodies are sent: `auto` uses BDAT where the provider
	// offers CHUNKING (RFC 3030), `data` never does. Default: `auto`.
	Framing string `json:"framing,omitempty"`

	// Submitter names the account in the AUTH parameter of MAIL (RFC 4954 section
	// 5), for another gateway that trusts this one with `submitter`. Default:
	// false: no provider is told of it.
	Submitter bool `json:"submitter,omitempty"`

	name         string
	bound        *settings
	started      chan struct{} // closed by Start
	upstream     *upstream     // set before started is closed
	roots        *x509.CertPool
	certificates []tls.Certificate
	caRaw        []byte // the trust pool as configured: part of the identity
	proxyRaw     []byte
	proxy        func(*http.Request) (*url.URL, error)
	storage      certmagic.Storage
	tokens       TokenSource
	logger       *zap.Logger
}

// UpstreamTLS is the client's side of TLS.
type UpstreamTLS struct {
	// ClientCertificate is a PEM file with the certificate by which the provider
	// knows the gateway, and its chain. It is read with each reload. Default: none.
	ClientCertificate string `json:"client_certificate,omitempty"`
	// ClientKey is the PEM file with its key.
	ClientKey string `json:"client_key,omitempty"`
	// Mode is `starttls`, `implicit` or `off`. Default: `starttls`;
	// a provider that does not offer STARTTLS is then refused.
	Mode string `json:"mode,omitempty"`
	// ServerName is the name to verify. Default: the host of `dial`.
	ServerName string `json:"server_name,omitempty"`
	// CARaw is the trust pool. Default: the system's.
	CARaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`
}

// UpstreamAuth is how the gateway logs in at the provider.
type UpstreamAuth struct {
	// Mechanism is `xoauth2`, `oauthbearer` (RFC 7628), `plain`
	// (RFC 4616), `login` or `none`.
	Mechanism string `json:"mechanism,omitempty"`
	// Provider names the OAuth provider. Default: the one whose name is
	// the preset's kind (`google`, `microsoft`, ...).
	Provider string `json:"provider,omitempty"`
	// Force uses the mechanism even if the provider does not announce it.
	Force bool `json:"force,omitempty"`
}
