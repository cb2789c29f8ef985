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
	"cmp"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/mscloud"
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
		ID:  "smtp_upstreams.transports.graph",
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
		Kind: "graph", Endpoint: t.Endpoint, Provider: t.Provider, Scopes: t.Scopes, Ledger: t.Ledger,
		Limits: accounts.Limits{
			MaxConns: t.MaxConnsPerAccount, Rate: t.RatePerAccount, Messages: t.MessagesPerAccount, Recipients: t.RecipientsPerAccount,
		},
		MaxWait: time.Duration(t.MaxWait), Timeout: time.Duration(t.Timeout), MaxSize: t.MaxSize, NullSender: t.NullSender,
		MaxRecipients: t.MaxRecipients, Upload: uploadLimit, UploadPer: uploadPer,
		Roots: t.roots, Storage: t.storage, Tokens: t.tokens, Logger: t.logger,
		URL: t.url, ContentType: "text/plain", RequestID: "client-request-id", Prepare: t.prepare, Read: read,
		Probe: mscloud.GraphProbe, Allowed: func(ans *mailapi.Answer) bool {
			return mscloud.ReadGraphError(ans.Body).Has(mscloud.GraphProbed)
		},
	}
	if t.User == "me" {
		t.Identity, t.IdentityAtAPI = t.identity, true
	}
	return t.Upstream.Bind(name)
}

// url is the mailbox's endpoint. A token of another user is refused there, but
// for `me`, for which identity asks.
func (t *Transport) url(a *accounts.Account) string {
	if t.User == "me" {
		return t.Endpoint + "/v1.0/me/sendMail"
	}
	return t.Endpoint + "/v1.0/users/" + url.PathEscape(t.user(a)) + "/sendMail"
}

// user is the mailbox as Graph knows it: by its object ID where its own user has
// consented, which outlives a new sign-in name, else as the account has it.
func (t *Transport) user(a *accounts.Account) string {
	return cmp.Or(t.objectID(a), a.Mailbox)
}

// objectID is that of the mailbox's own user, if the consent said it.
func (t *Transport) objectID(a *accounts.Account) string {
	ids, ok := t.tokens.(interface{ ObjectID(r grant.Request) string })
	if !ok || t.AppOnly {
		return ""
	}
	return ids.ObjectID(t.Request(a))
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
