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
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/outproxy"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/meter"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

func init() {
	caddy.RegisterModule(new(SMTPTransport))
}

// CaddyModule returns the Caddy module information.
func (*SMTPTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smtp_upstreams.transports.smtp", New: func() caddy.Module { return new(SMTPTransport) }}
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *SMTPTransport) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, t) }

// Provision loads the guest modules. What depends on the upstream's name is
// checked in Bind.
func (t *SMTPTransport) Provision(ctx caddy.Context) error {
	t.logger = printable.Logger(ctx.Logger())
	if err := meter.Register(ctx.GetMetricsRegistry(), connections); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	t.storage = ctx.Storage()
	repl := caddy.NewReplacer()
	for _, f := range []struct {
		name  string
		value *string
	}{
		{"dial", &t.Dial}, {"hostname", &t.Hostname}, {"source_ip", &t.SourceIP},
	} {
		if *f.value == "" {
			continue
		}
		v, err := repl.ReplaceOrErr(*f.value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, form.Unresolved(err))
		}
		*f.value = v
	}
	if t.TLS != nil && t.TLS.CARaw != nil {
		t.caRaw = append([]byte(nil), t.TLS.CARaw...)
		mod, err := ctx.LoadModule(t.TLS, "CARaw")
		if err != nil {
			return fmt.Errorf("loading tls trust_pool module: %w", err)
		}
		ca, ok := mod.(caddytls.CA)
		if !ok {
			return fmt.Errorf("tls trust_pool module %T is no certificate pool", mod)
		}
		t.roots = ca.CertPool()
	}
	if err := t.loadCertificate(); err != nil {
		return err
	}
	if t.NetworkProxyRaw != nil {
		t.proxyRaw = append([]byte(nil), t.NetworkProxyRaw...)
		if err := outproxy.Module(t.proxyRaw); err != nil {
			return fmt.Errorf("network_proxy: %w", err)
		}
		mod, err := ctx.LoadModule(t, "NetworkProxyRaw")
		if err != nil {
			return fmt.Errorf("loading network_proxy module: %w", err)
		}
		p, ok := mod.(caddy.ProxyFuncProducer)
		if !ok {
			return fmt.Errorf("network_proxy module %T is no proxy", mod)
		}
		t.proxy = p.ProxyFunc()
	}
	// Only a provisioned app counts; whether this upstream needs it shows in
	// Bind. An absent one has no providers.
	mod, err := ctx.AppIfConfigured("oauth_tokens")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return fmt.Errorf("loading app oauth_tokens: %w", err)
	}
	if err == nil {
		tokens, ok := mod.(TokenSource)
		if !ok {
			return fmt.Errorf("app oauth_tokens (%T) is no token source", mod)
		}
		t.tokens = tokens
	}
	return nil
}

// loadCertificate reads the certificate that is shown to the provider, if one is
// configured.
func (t *SMTPTransport) loadCertificate() error {
	if t.TLS == nil || t.TLS.ClientCertificate == "" && t.TLS.ClientKey == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(t.TLS.ClientCertificate, t.TLS.ClientKey)
	if err != nil {
		return fmt.Errorf("tls.client_certificate: %w", err)
	}
	t.certificates = []tls.Certificate{pair}
	return nil
}

// Bind implements relay.Transport.
func (t *SMTPTransport) Bind(name string) error {
	s, err := t.resolve(name)
	if err != nil {
		return err
	}
	if s.OAuth() && (t.tokens == nil || !t.tokens.HasProvider(s.Provider)) {
		return fmt.Errorf("upstream '%s': auth.provider: OAuth provider '%s' is not configured in oauth_tokens", name, s.Provider)
	}
	s.Tokens, s.storage, s.Proxy, s.Logger = t.tokens, t.storage, t.proxy, t.logger
	t.name, t.bound, t.started = name, s, make(chan struct{})
	return nil
}

// IntroduceAs implements relay.Introducer. Providers refuse a short name.
func (t *SMTPTransport) IntroduceAs(hostname string) {
	if s := t.bound; !s.Named && smtpclient.Qualified(hostname) && !badName(hostname) {
		s.Hostname = hostname
		s.identity = t.identity(s)
	}
}

// Attach implements relay.Transport.
func (t *SMTPTransport) Attach() error {
	t.upstream = attach(t.bound)
	close(t.started)
	return nil
}

// ready returns the upstream. Caddy starts apps in any order, so a message may
// be here first: it waits as it would for a connection.
func (t *SMTPTransport) ready(ctx context.Context) (*upstream, error) {
	select {
	case <-t.started:
		return t.upstream, nil
	default:
	}
	timeout := time.NewTimer(t.bound.maxWait)
	defer timeout.Stop()
	select {
	case <-t.started:
		return t.upstream, nil
	case <-timeout.C:
	case <-ctx.Done():
	}
	return nil, relay.ReplyNoConnection
}

// Detach implements relay.Transport.
func (t *SMTPTransport) Detach() error {
	if t.upstream == nil {
		return nil
	}
	t.upstream.detach(t.bound)
	return nil
}

// Begin implements relay.Upstream.
func (t *SMTPTransport) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	u, err := t.ready(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := u.begin(ctx, a, from, opts)
	if err != nil {
		return nil, err // a nil *transaction must not become a non-nil interface
	}
	return tx, nil
}

// Warm implements relay.Warmer.
func (t *SMTPTransport) Warm(a *accounts.Account) {
	select {
	case <-t.started:
		t.upstream.warm(a)
	default:
	}
}

// Send implements relay.SingleFlight.
func (t *SMTPTransport) Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	u, err := t.ready(ctx)
	if err != nil {
		return relay.Reply{}, relay.Info{Upstream: t.name, Refused: true}, err
	}
	return u.send(ctx, a, from, opts, to, body)
}

// OAuthProvider implements relay.OAuthUser.
func (t *SMTPTransport) OAuthProvider() string {
	if t.bound == nil {
		return ""
	}
	return t.bound.Provider
}

// ViaProxy implements relay.Proxied.
func (t *SMTPTransport) ViaProxy() bool { return t.proxyRaw != nil }

// Interface guards
var (
	_ caddy.Provisioner  = (*SMTPTransport)(nil)
	_ relay.Transport    = (*SMTPTransport)(nil)
	_ relay.Warmer       = (*SMTPTransport)(nil)
	_ relay.Introducer   = (*SMTPTransport)(nil)
	_ relay.SingleFlight = (*SMTPTransport)(nil)
	_ relay.Proxied      = (*SMTPTransport)(nil)
)
