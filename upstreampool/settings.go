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
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
	"github.com/caddymail/mailgateway/upstreampool/preset"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Values of `framing`.
const (
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

	dialer.Settings

	maxConns           int64
	maxConnsPerAccount int
	maxMessages        int
	maxWaiting         int
	idleTimeout        time.Duration
	maxAge             time.Duration
	maxWait            time.Duration
	submitter          bool

	rate, messages, recipients accounts.Rate

	storage certmagic.Storage
	lender  limits.Lender // nil: no other node counts the same mailboxes
}

// limits is what the limiter needs to know.
func (s *settings) limits() limits.Config {
	return limits.Config{
		Limits:  accounts.Limits{MaxConns: s.maxConnsPerAccount, Rate: s.rate, Messages: s.messages, Recipients: s.recipients},
		Storage: s.storage,
		Lender:  s.lender,
		Logger:  s.Logger,
	}
}

// resolve makes settings of the configuration of the upstream called name.
func (t *SMTPTransport) resolve(name string) (*settings, error) {
	fail := func(field, format string, args ...any) error {
		return fmt.Errorf("upstream '%s': %s: %s", name, field, fmt.Sprintf(format, args...))
	}
	var p preset.Preset
	switch {
	case t.Preset != "":
		var ok bool
		if p, ok = preset.ByName(t.Preset); !ok {
			return nil, fail("preset", "unrecognized preset '%s', want %s%s", t.Preset, form.Or(preset.Names()), nearest.Hint(t.Preset, preset.Names()))
		}
	default:
		p, _ = preset.ByName(name) // a name that is no preset gives no defaults
	}
	s := &settings{
		name:               name,
		maxConns:           10000,
		maxConnsPerAccount: cmp.Or(p.MaxConns, 10),
		maxMessages:        cmp.Or(p.MaxMessages, 100),
		maxWaiting:         1000,
		idleTimeout:        cmp.Or(p.IdleTimeout, 55*time.Second),
		maxAge:             cmp.Or(p.MaxAge, 10*time.Minute),
		maxWait:            20 * time.Second,
		submitter:          t.Submitter,
		rate:               p.Rate,
		messages:           p.Messages,
		recipients:         p.Recipients,
		Settings: dialer.Settings{Config: smtpclient.Config{
			DialTimeout:    15 * time.Second,
			CommandTimeout: time.Minute,
			DataTimeout:    5 * time.Minute,
			Learned:        new(smtpclient.Learned),
		}},
	}

	if err := t.resolveDial(s, p, fail); err != nil {
		return nil, err
	}
	if err := t.resolveTLS(s, p, fail); err != nil {
		return nil, err
	}
	if err := t.resolveAuth(s, p, fail); err != nil {
		return nil, err
	}

	var err error
	if s.Hostname, s.Named = t.Hostname, t.Hostname != ""; !s.Named {
		if s.Hostname, err = os.Hostname(); err != nil || s.Hostname == "" || badName(s.Hostname) {
			s.Hostname = "localhost"
		}
	}
	if badName(s.Hostname) {
		return nil, fail("hostname", "malformed name '%s'", s.Hostname)
	}
	if t.SourceIP != "" {
		if s.SourceIP, err = netip.ParseAddr(t.SourceIP); err != nil {
			return nil, fail("source_ip", "%v", form.IP.Check(t.SourceIP))
		}
	}

	switch t.Framing {
	case "", framingAuto:
		s.BDAT = true
	case framingData:
	default:
		return nil, fail("framing", "%v", form.OneOf(framingAuto, framingData).Check(t.Framing))
	}

	if err := t.resolveBounds(s, fail); err != nil {
		return nil, err
	}
	// A provider may be slow to greet on purpose (RFC 5321 section 4.5.3.2.1
	// asks for five minutes of patience).
	s.GreetingTimeout = max(s.DialTimeout, time.Minute)
	s.identity = t.identity(s)
	return s, nil
}

// failure makes the error of a field.
type failure func(field, format string, args ...any) error

func (t *SMTPTransport) resolveDial(s *settings, p preset.Preset, fail failure) error {
	dial := cmp.Or(t.Dial, p.Dial)
	if dial == "" && p.Hint != "" {
		return fail("dial", "missing: this preset wants it as in %s", p.Hint)
	}
	if dial == "" {
		return fail("dial", "missing: an upstream without a preset needs a host and port")
	}
	host, port, err := net.SplitHostPort(dial)
	if err != nil || host == "" || port == "" || badName(host) || badName(port) {
		if err := form.Dial.Check(dial); err != nil {
			return fail("dial", "%v", err)
		}
		return fail("dial", "malformed address '%s': want host:port", dial)
	}
	if strings.HasPrefix(port, "//") {
		return fail("dial", "%v", form.Dial.Check(dial))
	}
	s.Host, s.Port = host, port
	return nil
}

// resolveBounds puts what is configured in place of the preset's and of the defaults:
// numbers, times and rates.
func (t *SMTPTransport) resolveBounds(s *settings, fail failure) error {
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
			return fail(n.field, "must not be negative")
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
		{"dial_timeout", t.DialTimeout, &s.DialTimeout},
		{"command_timeout", t.CommandTimeout, &s.CommandTimeout},
		{"data_timeout", t.DataTimeout, &s.DataTimeout},
	} {
		if d.value < 0 {
			return fail(d.field, "must not be negative")
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
	return nil
}

func (t *SMTPTransport) resolveTLS(s *settings, p preset.Preset, fail failure) error {
	s.TLSMode = cmp.Or(p.TLS, smtpclient.StartTLS)
	var serverName string
	if t.TLS != nil {
		s.TLSMode = cmp.Or(t.TLS.Mode, s.TLSMode)
		if serverName = t.TLS.ServerName; badName(serverName) {
			return fail("tls.server_name", "malformed name '%s'", serverName)
		}
	}
	switch s.TLSMode {
	case smtpclient.StartTLS, smtpclient.ImplicitTLS:
		s.TLS = &tls.Config{
			MinVersion: tls.VersionTLS12,
			ServerName: cmp.Or(serverName, s.Host),
			RootCAs:    t.roots,
			// A body of one TLS record is one system call; the ramp of
			// small records would split it.
			DynamicRecordSizingDisabled: true,
			ClientSessionCache:          tls.NewLRUClientSessionCache(64),
			Certificates:                t.certificates,
		}
	case smtpclient.NoTLS:
		if len(t.certificates) > 0 {
			return fail("tls.client_certificate", "is shown in TLS, which is off")
		}
	default:
		return fail("tls.mode", "%v", form.TLSMode.Check(s.TLSMode))
	}
	return nil
}

func (t *SMTPTransport) resolveAuth(s *settings, p preset.Preset, fail failure) error {
	s.Mechanism, s.Provider = p.Mechanism, p.Provider
	if t.Auth != nil {
		s.Mechanism = cmp.Or(strings.ToLower(t.Auth.Mechanism), s.Mechanism)
		s.Provider = cmp.Or(t.Auth.Provider, s.Provider)
		s.Force = t.Auth.Force
	}
	switch s.Mechanism {
	case "":
		return fail("auth.mechanism", "missing: an upstream without a preset needs xoauth2, oauthbearer, plain, login or none")
	case smtpclient.XOAUTH2, smtpclient.OAuthBearer:
		if s.Provider == "" {
			return fail("auth.provider", "missing: mechanism %s needs an OAuth provider", s.Mechanism)
		}
	case smtpclient.AuthPlain, smtpclient.AuthLogin, smtpclient.AuthNone:
		s.Provider = ""
	default:
		return fail("auth.mechanism", "%v", form.Mechanism.Check(s.Mechanism))
	}
	return nil
}

// identity digests everything that makes a connection another connection.
// Limits and timeouts are not part of it: they apply in place.
func (t *SMTPTransport) identity(s *settings) string {
	h := sha256.New()
	for _, part := range []string{
		s.name, s.Address(), s.TLSMode, s.Mechanism, s.Provider, s.Hostname,
		s.SourceIP.String(), string(t.proxyRaw), string(t.caRaw),
		fmt.Sprint(s.Force),
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	if s.TLS != nil {
		h.Write([]byte(s.TLS.ServerName))
		for _, c := range s.TLS.Certificates {
			for _, der := range c.Certificate {
				h.Write(der)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// badName reports whether s can't stand for a host, name or port in a command.
func badName(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' })
}
