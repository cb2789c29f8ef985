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
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// Defaults of a server's options.
const (
	defaultMaxMessageSize  = 25 << 20
	defaultMaxRecipients   = 100
	defaultMaxConns        = 10_000
	defaultMaxConnsPerIP   = 1000
	defaultCommandTimeout  = 5 * time.Minute
	defaultLoginTimeout    = 30 * time.Second
	defaultBodyIdleTimeout = 3 * time.Minute
	defaultBodyTimeout     = 30 * time.Minute
	defaultAuthMax         = 5
	defaultAuthWindow      = 10 * time.Minute
	defaultAuthBan         = 15 * time.Minute
	defaultAuthDelay       = 250 * time.Millisecond
	maxAuthTries           = 3

	// patience is how long a transaction may be without progress while others
	// wait for its connection to the provider.
	patience = 30 * time.Second

	// minGuests keeps a server for few clients from crowding them out when
	// they all come at once.
	minGuests = 100
)

// bareNewlines are the values of bare_newline.
var bareNewlines = map[string]smtpserver.BareNewline{
	"":          smtpserver.BareAuto,
	"reject":    smtpserver.BareReject,
	"normalize": smtpserver.BareNormalize,
}

// provisioned is what becomes of a server's options.
type provisioned struct {
	policy   *policy
	addrs    []caddy.NetworkAddress
	wrappers []caddy.ListenerWrapper
}

// provision compiles the options. It reports whether the server needs a
// certificate for the app's hostname.
func (s *Server) provision(ctx caddy.Context, a *App, name string) (needsCert bool, err error) {
	s.defaults()
	if err := s.check(); err != nil {
		return false, err
	}
	p := &policy{
		Config: smtpserver.Config{
			Hostname: a.Hostname, MaxSize: s.MaxMessageSize, MaxRecipients: s.MaxRecipients,
			BareNewline:    bareNewlines[s.BareNewline],
			Strict:         s.Strict,
			LoginTimeout:   time.Duration(s.LoginTimeout),
			Patience:       patience,
			CommandTimeout: time.Duration(s.CommandTimeout),
			BodyIdle:       time.Duration(s.BodyIdleTimeout),
			BodyTimeout:    time.Duration(s.BodyTimeout),
			MaxAuthTries:   maxAuthTries,
			OneFlight:      s.Envelope != "deferred",
		},
		maxConns: s.MaxConns, maxPerIP: s.MaxConnsPerIP, maxGuests: s.MaxConnsBeforeLogin,
		deferred: s.Envelope == "deferred", replyID: s.ReplyID,
		guard: front.GuardPolicy{
			Max:    s.AuthFailures.Max,
			Window: time.Duration(s.AuthFailures.Window),
			Ban:    time.Duration(s.AuthFailures.Ban),
			Delay:  time.Duration(s.AuthFailures.Delay),
		},
	}
	s.prov = &provisioned{policy: p}
	for _, l := range s.Listen {
		if err := form.ListenHost.Check(l); err != nil {
			return false, fmt.Errorf("listen: %w", err)
		}
		addr, err := caddy.ParseNetworkAddressWithDefaults(l, "tcp", 587)
		if err != nil {
			return false, fmt.Errorf("listen: %w", err)
		}
		s.prov.addrs = append(s.prov.addrs, addr)
	}
	if p.plaintextAuth, err = front.ParsePrefixes(s.PlaintextAuth); err != nil {
		return false, fmt.Errorf("plaintext_auth: %w", err)
	}
	if p.lfOnly, err = front.ParsePrefixes(s.LFOnly); err != nil {
		return false, fmt.Errorf("lf_only: %w", err)
	}
	for _, t := range s.Trust {
		prefixes, err := front.ParsePrefixes(t.Networks)
		if err != nil {
			return false, fmt.Errorf("trust: %w", err)
		}
		if t.Account == "" && !t.Submitter || len(prefixes) == 0 {
			return false, errors.New("trust: needs networks, as in 192.0.2.7 or 192.0.2.0/24, and an account in whose name their mail leaves, or submitter")
		}
		if err := form.Text.Check(t.Account); err != nil {
			return false, fmt.Errorf("trust: account: %w", err)
		}
		for _, prefix := range prefixes {
			p.trust = append(p.trust, trustedNet{prefix: prefix, account: t.Account, submitter: t.Submitter})
		}
	}
	if p.guard.Exempt, err = s.AuthFailures.exempt(); err != nil {
		return false, fmt.Errorf("auth_failures: exempt: %w", err)
	}
	for _, t := range p.trust {
		p.guard.Exempt = append(p.guard.Exempt, t.prefix)
	}
	if s.ListenerWrappersRaw != nil {
		mods, err := ctx.LoadModule(s, "ListenerWrappersRaw")
		if err != nil {
			return false, fmt.Errorf("listener_wrappers: %w", err)
		}
		for _, m := range mods.([]any) {
			s.prov.wrappers = append(s.prov.wrappers, m.(caddy.ListenerWrapper))
		}
	}
	needsCert, err = s.TLS.provision(ctx, a, name, p)
	if err != nil {
		return false, fmt.Errorf("tls: %w", err)
	}
	p.Prepare()
	return needsCert, nil
}

func (s *Server) defaults() {
	def(&s.MaxMessageSize, defaultMaxMessageSize)
	def(&s.MaxRecipients, defaultMaxRecipients)
	def(&s.MaxConns, defaultMaxConns)
	def(&s.MaxConnsPerIP, defaultMaxConnsPerIP)
	def(&s.MaxConnsBeforeLogin, max(s.MaxConns/2, minGuests))
	def(&s.Envelope, "faithful")
	def(&s.Spool, accounts.SpoolOff)
	def(&s.CommandTimeout, caddy.Duration(defaultCommandTimeout))
	def(&s.LoginTimeout, caddy.Duration(defaultLoginTimeout))
	def(&s.BodyIdleTimeout, caddy.Duration(defaultBodyIdleTimeout))
	def(&s.BodyTimeout, caddy.Duration(defaultBodyTimeout))
	if s.TLS == nil {
		s.TLS = new(TLS)
	}
	def(&s.TLS.Mode, "starttls")
	if s.AuthFailures == nil {
		s.AuthFailures = new(AuthFailures)
	}
	def(&s.AuthFailures.Max, defaultAuthMax)
	def(&s.AuthFailures.Window, caddy.Duration(defaultAuthWindow))
	def(&s.AuthFailures.Ban, caddy.Duration(defaultAuthBan))
	def(&s.AuthFailures.Delay, caddy.Duration(defaultAuthDelay))
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (s *Server) check() error {
	for _, o := range []struct {
		name  string
		value int64
	}{
		{"max_message_size", s.MaxMessageSize},
		{"max_recipients", int64(s.MaxRecipients)},
		{"max_conns", int64(s.MaxConns)},
		{"max_conns_per_ip", int64(s.MaxConnsPerIP)},
		{"max_conns_before_login", int64(s.MaxConnsBeforeLogin)},
		{"command_timeout", int64(s.CommandTimeout)},
		{"login_timeout", int64(s.LoginTimeout)},
		{"body_idle_timeout", int64(s.BodyIdleTimeout)},
		{"body_timeout", int64(s.BodyTimeout)},
		{"auth_failures: max", int64(s.AuthFailures.Max)},
		{"auth_failures: window", int64(s.AuthFailures.Window)},
		{"auth_failures: ban", int64(s.AuthFailures.Ban)},
	} {
		if o.value < 0 {
			return fmt.Errorf("%s: must not be negative", o.name)
		}
	}
	if _, ok := bareNewlines[s.BareNewline]; !ok {
		return fmt.Errorf("bare_newline: %w", form.OneOf("reject", "normalize").Check(s.BareNewline))
	}
	switch s.Spool {
	case accounts.SpoolOff, accounts.SpoolOn, accounts.SpoolAlways:
	default:
		return fmt.Errorf("spool: %w", form.OneOf(accounts.SpoolOn, accounts.SpoolAlways, accounts.SpoolOff).Check(s.Spool))
	}
	if s.Envelope != "faithful" && s.Envelope != "deferred" {
		return fmt.Errorf("envelope: %w", form.OneOf("faithful", "deferred").Check(s.Envelope))
	}
	return nil
}

// exempt returns the networks that are never banned.
func (f *AuthFailures) exempt() ([]netip.Prefix, error) {
	list := f.Exempt
	if len(list) > 0 && list[0] == "none" {
		list = list[1:]
	} else {
		list = append([]string{"127.0.0.0/8", "::1"}, list...)
	}
	return front.ParsePrefixes(list)
}
