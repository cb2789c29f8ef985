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

package smtpclient

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/upstreampool/smtpclient/extensions"
)

// How a connection is encrypted.
const (
	StartTLS    = "starttls"
	ImplicitTLS = "implicit"
	NoTLS       = "off"
)

// How a connection logs in.
const (
	XOAUTH2     = "xoauth2"
	OAuthBearer = "oauthbearer"
	AuthPlain   = "plain"
	AuthLogin   = "login"
	AuthNone    = "none"
)

// Config says how connections to a provider are opened and used. It is not
// changed once a connection has it.
type Config struct {
	// Host and Port are the provider's.
	Host, Port string
	// TLSMode is StartTLS, ImplicitTLS or NoTLS.
	TLSMode string
	// TLS is nil without TLS.
	TLS *tls.Config
	// Mechanism is XOAUTH2, OAuthBearer, AuthPlain, AuthLogin or AuthNone.
	Mechanism string
	// Force uses the mechanism even if the provider does not announce it.
	Force bool
	// Hostname is the name in EHLO. One that is not Named by an operator
	// gives way to an address literal where providers would refuse it.
	Hostname string
	Named    bool
	// SourceIP is the local address, where a Login has none of its own.
	SourceIP netip.Addr
	// Proxy names the proxy for a connection; nil: there is none.
	Proxy func(*http.Request) (*url.URL, error)

	// DialTimeout bounds connecting, TLS and authentication each,
	// GreetingTimeout the wait for the first reply, CommandTimeout that for
	// the reply to a command, DataTimeout that for the end of a message.
	DialTimeout, GreetingTimeout, CommandTimeout, DataTimeout time.Duration

	// BDAT sends bodies in chunks where the provider has CHUNKING.
	BDAT bool

	// Learned is what the connections have found out about the provider.
	Learned *Learned
}

// Address is the provider's host and port.
func (c *Config) Address() string { return net.JoinHostPort(c.Host, c.Port) }

// OAuth reports whether logging in takes an access token.
func (c *Config) OAuth() bool { return c.Mechanism == XOAUTH2 || c.Mechanism == OAuthBearer }

// Login is what a connection logs in with.
type Login struct {
	Mailbox string
	Secret  string // of AuthPlain and AuthLogin
	Token   string // of XOAUTH2 and OAuthBearer
}

// Learned is what a provider announces and can't do, as its connections have
// found out, and what it has proved to do. An extension that has worked is not
// given up for one failure.
type Learned struct {
	NoBDAT, NoPipelining atomic.Bool
	BDAT, Pipelining     atomic.Bool // have worked

	// Stutters is a provider that has sent replies to nothing. NoTail is one
	// that did not answer the RSET behind a message that was sent with it.
	Stutters, NoTail atomic.Bool
}

// apply takes from what a provider announces what it can't do.
func (l *Learned) apply(c *extensions.Set) {
	if l.NoBDAT.Load() {
		c.Chunking, c.Binary = false, false
	}
	if l.NoPipelining.Load() {
		c.Pipelining = false
	}
}
