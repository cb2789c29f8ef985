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

package gmail

import (
	"io"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams.transports.gmail",
		New: func() caddy.Module { return new(Transport) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Transport) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, t) }

// Provision checks the configuration and loads what it needs.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.logger = printable.Logger(ctx.Logger())
	t.storage = ctx.Storage()
	var err error
	if t.tokens, err = mailapi.Tokens(ctx); err != nil {
		return err
	}
	if err := t.fill(); err != nil {
		return err
	}
	if t.TrustPoolRaw != nil {
		if t.roots, err = mailapi.LoadTrustPool(ctx, t, "TrustPoolRaw"); err != nil {
			return err
		}
	}
	return nil
}

// Bind implements relay.Transport.
func (t *Transport) Bind(name string) error {
	t.Upstream = &mailapi.Upstream{
		Kind: "gmail", Endpoint: t.Endpoint, Provider: t.Provider, Scopes: t.Scopes, Ledger: t.Ledger,
		Limits: accounts.Limits{
			MaxConns: t.MaxConnsPerAccount, Rate: t.RatePerAccount, Messages: t.MessagesPerAccount, Recipients: t.RecipientsPerAccount,
		},
		MaxWait: time.Duration(t.MaxWait), Timeout: time.Duration(t.Timeout), MaxSize: t.MaxSize, NullSender: t.NullSender,
		MaxRecipients: t.MaxRecipients,
		Roots:         t.roots, Storage: t.storage, Tokens: t.tokens, Logger: t.logger,
		URL: t.url, ContentType: "message/rfc822", Prepare: t.prepare, Read: read,
		Probe: "Subject: test\r\n\r\n", Allowed: noRecipients,
	}
	if !t.DomainWide {
		t.Identity, t.Also = t.identity, []string{t.UserinfoURL}
	}
	return t.Upstream.Bind(name)
}

// url names the mailbox, so that Gmail refuses another user's token.
func (t *Transport) url(a *accounts.Account) string {
	return t.Endpoint + "/upload/gmail/v1/users/" + url.PathEscape(a.Mailbox) + "/messages/send?uploadType=media&fields=id,threadId"
}

// foreign is what becomes of a From field that is not the mailbox.
const foreign = "Gmail puts the mailbox's default address there unless it is one of its aliases"

// prepare reads the header and makes it fit the envelope; the rest is read as it
// leaves.
func (t *Transport) prepare(a *accounts.Account, rcpts []string, body io.Reader) (*mailapi.Body, *relay.Reply) {
	whole, reply := t.Fit(a, rcpts, body, t.Rewrite, foreign)
	if reply != nil {
		return nil, reply
	}
	return mailapi.Stream(whole), nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*Transport)(nil)
	_ relay.Transport   = (*Transport)(nil)
	_ relay.Dependent   = (*Transport)(nil)
	_ relay.OAuthUser   = (*Transport)(nil)
	_ relay.Reporter    = (*Transport)(nil)
	_ relay.Verifier    = (*Transport)(nil)
	_ relay.Warmer      = (*Transport)(nil)
	_ relay.Reacher     = (*Transport)(nil)
)
