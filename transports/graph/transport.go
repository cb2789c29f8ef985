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

package graph

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams.transports.graph",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision checks the configuration and loads what it needs.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.logger = ctx.Logger()
	t.storage = ctx.Storage()
	if err := t.fill(); err != nil {
		return err
	}
	if t.TrustPoolRaw != nil {
		mod, err := ctx.LoadModule(t, "TrustPoolRaw")
		if err != nil {
			return fmt.Errorf("loading trust_pool module: %w", err)
		}
		ca, ok := mod.(caddytls.CA)
		if !ok {
			return fmt.Errorf("trust_pool module %T is no certificate pool", mod)
		}
		t.roots = ca.CertPool()
	}
	mod, err := ctx.AppIfConfigured("oauth_tokens")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return fmt.Errorf("loading app oauth_tokens: %w", err)
	}
	t.tokens, _ = mod.(grant.Source)
	return nil
}

// Bind implements relay.Transport.
func (t *Transport) Bind(name string) error {
	if t.tokens == nil || !t.tokens.HasProvider(t.Provider) {
		return fmt.Errorf("upstream '%s': provider: OAuth provider '%s' is not configured in oauth_tokens", name, t.Provider)
	}
	t.name = name
	t.client = newClient(t)
	return nil
}

// Attach implements relay.Transport. Nothing is taken: what a mailbox has used
// belongs to the process, and a message that comes earlier finds it too.
func (t *Transport) Attach() error {
	ledgerOf(t).attach(t)
	return nil
}

// Detach implements relay.Transport. Requests that are under way finish.
func (t *Transport) Detach() error {
	t.client.http.CloseIdleConnections()
	ledgerOf(t).detach(t)
	return nil
}

// OAuthProvider implements relay.OAuthUser.
func (t *Transport) OAuthProvider() string { return t.Provider }

// Begin implements relay.Upstream. What the provider could refuse of MAIL is
// refused here, before anything is taken.
func (t *Transport) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	if reply := t.check(from, opts); reply != nil {
		return nil, reply
	}
	p, waited, err := ledgerOf(t).enter(ctx, t, a)
	if err != nil {
		return nil, err
	}
	return &transaction{t: t, acct: a, place: p, info: relay.Info{Upstream: t.name, Wait: waited}}, nil
}

// check reports what of the envelope Graph cannot carry.
func (t *Transport) check(from string, opts *smtp.MailOptions) *relay.Reply {
	if from == "" && !t.NullSender {
		return relay.ReplyAPINull
	}
	if opts == nil {
		return nil
	}
	switch {
	case opts.Return != "" || opts.EnvelopeID != "":
		return relay.ReplyAPIDSN
	case opts.Size > t.MaxSize:
		return relay.ReplyAPITooBig(t.MaxSize)
	}
	return nil
}

// request is what the token source is asked with.
func (t *Transport) request(a *accounts.Account) grant.Request {
	return grant.Request{Provider: t.Provider, Account: a.Name, Mailbox: a.Mailbox, Seed: a.RefreshToken, Scopes: t.Scopes}
}

// Status implements relay.Reporter.
func (t *Transport) Status() relay.UpstreamStatus {
	st := relay.UpstreamStatus{Name: t.name, Transport: "graph", Dial: t.Endpoint, Mechanism: "bearer", Provider: t.Provider}
	ledgerOf(t).fill(&st)
	return st
}

// AccountStatus implements relay.Reporter.
func (t *Transport) AccountStatus(a *accounts.Account) relay.AccountStatus {
	st := relay.AccountStatus{Account: a.Name, Upstream: t.name}
	ledgerOf(t).account(a, &st)
	return st
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Interface guards
var (
	_ caddy.Provisioner = (*Transport)(nil)
	_ relay.Transport   = (*Transport)(nil)
	_ relay.OAuthUser   = (*Transport)(nil)
	_ relay.Reporter    = (*Transport)(nil)
)
