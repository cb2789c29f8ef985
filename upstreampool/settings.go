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
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/limits"
)

// Values of the options that are words.
const (
	tlsStartTLS = "starttls"
	tlsImplicit = "implicit"
	tlsOff      = "off"

	mechXOAUTH2     = "xoauth2"
	mechOAuthBearer = "oauthbearer"
	mechPlain       = "plain"
	mechLogin       = "login"
	mechNone        = "none"

	framingAuto = "auto"
	framingData = "data"
)

// TokenSource is what this package needs of the app `oauth_tokens`.
type TokenSource = oauthgrant.Source

// settings are one generation of an upstream's configuration with every default
// filled in. They are immutable once the generation is attached.
type settings struct {
	name     string
	identity string // connections of another identity are never lent

	host, port string
	tlsMode    string
	tls        *tls.Config
	mechanism  string
	provider   string
	force      bool
	hostname   string
	sourceIP   netip.Addr
	proxy      func(*http.Request) (*url.URL, error)

	maxConns           int64
	maxConnsPerAccount int
	maxMessages        int
	maxWaiting         int
	idleTimeout        time.Duration
	maxAge             time.Duration
	maxWait            time.Duration
	dialTimeout        time.Duration
	commandTimeout     time.Duration
	dataTimeout        time.Duration
	bdat               bool

	rate, messages, recipients accounts.Rate

	tokens  TokenSource
	storage certmagic.Storage
	logger  *zap.Logger
}

// limits is what the limiter needs to know.
func (s *settings) limits() limits.Config {
	return limits.Config{
		Limits:  accounts.Limits{MaxConns: s.maxConnsPerAccount, Rate: s.rate, Messages: s.messages, Recipients: s.recipients},
		Storage: s.storage,
		Logger:  s.logger,
	}
}

func (s *settings) address() string { return net.JoinHostPort(s.host, s.port) }

// oauth tells whether logging in takes an access token.
func (s *settings) oauth() bool {
	return s.mechanism == mechXOAUTH2 || s.mechanism == mechOAuthBearer
}

// settings resolves the configuration of the upstream called name.
func (t *SMTPTransport) resolve(name string) (*settings, error) {
	fail := func(field, format string, args ...any) error {
		return fmt.Errorf("upstream '%s': %s: %s", name, field, fmt.Sprintf(format, args...))
	}
	var p preset
	switch {
	case t.Preset != "":
		var ok bool
		if p, ok = presets[t.Preset]; !ok {
			return nil, fail("preset", "unrecognized preset '%s'", t.Preset)
		}
	default:
		p = presets[name] // a name that is no preset gives no defaults
	}
	s := &settings{
		name:               name,
		maxConns:           10000,
		maxConnsPerAccount: cmp.Or(p.maxConns, 10),
		maxMessages:        100,
		maxWaiting:         1000,
		idleTimeout:        cmp.Or(p.idleTimeout, 55*time.Second),
		maxAge:             cmp.Or(p.maxAge, 10*time.Minute),
		maxWait:            20 * time.Second,
		dialTimeout:        15 * time.Second,
		commandTimeout:     time.Minute,
		dataTimeout:        5 * time.Minute,
		rate:               p.rate,
		messages:           p.messages,
		recipients:         p.recipients,
	}

	dial := cmp.Or(t.Dial, p.dial)
	if dial == "" {
		return nil, fail("dial", "missing: an upstream without a preset needs a host and port")
	}
	host, port, err := net.SplitHostPort(dial)
	if err != nil || host == "" || port == "" || badName(host) || badName(port) {
		return nil, fail("dial", "malformed address '%s': want host:port", dial)
	}
	s.host, s.port = host, port

	if err := t.resolveTLS(s, p, fail); err != nil {
		return nil, err
	}
	if err := t.resolveAuth(s, p, fail); err != nil {
		return nil, err
	}

	if s.hostname = t.Hostname; s.hostname == "" {
		if s.hostname, err = os.Hostname(); err != nil || s.hostname == "" || badName(s.hostname) {
			s.hostname = "localhost"
		}
	}
	if badName(s.hostname) {
		return nil, fail("hostname", "malformed name '%s'", s.hostname)
	}
	if t.SourceIP != "" {
		if s.sourceIP, err = netip.ParseAddr(t.SourceIP); err != nil {
			return nil, fail("source_ip", "malformed address '%s'", t.SourceIP)
		}
	}

	switch t.Framing {
	case "", framingAuto:
		s.bdat = true
	case framingData:
	default:
		return nil, fail("framing", "unrecognized value '%s': want auto or data", t.Framing)
	}

	for _, n := range []struct {
		field string
		value int
		set   func(int)
	}{
		{"max_conns", t.MaxConns, func(n int) { s.maxConns = int64(n) }},
		{"max_conns_per_account", t.MaxConnsPerAccount, func(n int) { s.maxConnsPerAccount = n }},
		{"max_messages_per_conn", t.MaxMessagesPerConn, func(n int) { s.maxMessages = n }},
		{"max_waiting", t.MaxWaiting, func(n int) { s.maxWaiting = n }},
	} {
		if n.value < 0 {
			return nil, fail(n.field, "must not be negative")
		}
		if n.value > 0 {
			n.set(n.value)
		}
	}
	for _, d := range []struct {
		field string
		value caddy.Duration
		dst   *time.Duration
	}{
		{"idle_timeout", t.IdleTimeout, &s.idleTimeout},
		{"max_age", t.MaxAge, &s.maxAge},
		{"max_wait", t.MaxWait, &s.maxWait},
		{"dial_timeout", t.DialTimeout, &s.dialTimeout},
		{"command_timeout", t.CommandTimeout, &s.commandTimeout},
		{"data_timeout", t.DataTimeout, &s.dataTimeout},
	} {
		if d.value < 0 {
			return nil, fail(d.field, "must not be negative")
		}
		if d.value > 0 {
			*d.dst = time.Duration(d.value)
		}
	}
	for _, r := range []struct {
		value accounts.Rate
		dst   *accounts.Rate
	}{
		{t.RatePerAccount, &s.rate},
		{t.MessagesPerAccount, &s.messages},
		{t.RecipientsPerAccount, &s.recipients},
	} {
		if !r.value.IsZero() {
			*r.dst = r.value
		}
	}
	s.identity = t.identity(s)
	return s, nil
}

func (t *SMTPTransport) resolveTLS(s *settings, p preset, fail func(string, string, ...any) error) error {
	s.tlsMode = cmp.Or(p.tls, tlsStartTLS)
	var serverName string
	if t.TLS != nil {
		s.tlsMode = cmp.Or(t.TLS.Mode, s.tlsMode)
		serverName = t.TLS.ServerName
	}
	switch s.tlsMode {
	case tlsStartTLS, tlsImplicit:
		s.tls = &tls.Config{
			MinVersion: tls.VersionTLS12,
			ServerName: cmp.Or(serverName, s.host),
			RootCAs:    t.roots,
			// A body of one TLS record is one system call; the ramp of
			// small records would split it.
			DynamicRecordSizingDisabled: true,
			ClientSessionCache:          tls.NewLRUClientSessionCache(64),
		}
	case tlsOff:
	default:
		return fail("tls.mode", "unrecognized value '%s': want starttls, implicit or off", s.tlsMode)
	}
	return nil
}

func (t *SMTPTransport) resolveAuth(s *settings, p preset, fail func(string, string, ...any) error) error {
	s.mechanism, s.provider = p.mechanism, p.provider
	if t.Auth != nil {
		s.mechanism = cmp.Or(strings.ToLower(t.Auth.Mechanism), s.mechanism)
		s.provider = cmp.Or(t.Auth.Provider, s.provider)
		s.force = t.Auth.Force
	}
	switch s.mechanism {
	case "":
		return fail("auth.mechanism", "missing: an upstream without a preset needs xoauth2, oauthbearer, plain, login or none")
	case mechXOAUTH2, mechOAuthBearer:
		if s.provider == "" {
			return fail("auth.provider", "missing: mechanism %s needs an OAuth provider", s.mechanism)
		}
	case mechPlain, mechLogin, mechNone:
		s.provider = ""
	default:
		return fail("auth.mechanism", "unrecognized value '%s': want xoauth2, oauthbearer, plain, login or none", s.mechanism)
	}
	return nil
}

// identity digests everything that makes a connection another connection.
// Limits and timeouts are not part of it: they apply in place.
func (t *SMTPTransport) identity(s *settings) string {
	h := sha256.New()
	for _, part := range []string{
		s.name, s.address(), s.tlsMode, s.mechanism, s.provider, s.hostname,
		s.sourceIP.String(), string(t.proxyRaw), string(t.caRaw),
		fmt.Sprint(s.force),
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	if s.tls != nil {
		h.Write([]byte(s.tls.ServerName))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// badName tells whether s can't stand for a host, name or port in a command.
func badName(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' })
}
