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

package oauthtoken

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

func init() {
	caddy.RegisterModule(App{})
	caddy.OnExit(failExit)
}

type appState struct {
	ctx     caddy.Context
	logger  *zap.Logger
	records *tokenstore.Records
	events  emitter
	served  map[string]*served // of use after Cleanup as well: sessions outlive a configuration
	loaded  []*served
	started bool
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens", New: func() caddy.Module { return new(App) }}
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, a) }

// Provision sets up the app. The app is usable from here on.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, printable.Logger(ctx.Logger())
	if a.RefreshAhead == 0 {
		a.RefreshAhead = caddy.Duration(10 * time.Minute)
	}
	if a.RefreshAhead < 0 {
		return fmt.Errorf("refresh_ahead must not be negative")
	}
	if a.KeepAlive == 0 {
		a.KeepAlive = caddy.Duration(7 * 24 * time.Hour)
	}
	if err := a.provisionStore(ctx); err != nil {
		return err
	}
	if err := a.provisionEvents(ctx); err != nil {
		return err
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	a.served = make(map[string]*served, len(a.Providers))
	for name, p := range a.Providers {
		if p == nil {
			p = new(authserver.Provider)
			a.Providers[name] = p
		}
		if err := p.Provision(ctx, name); err != nil {
			return fmt.Errorf("provider '%s': %w", name, err)
		}
		s, err := a.serve(p)
		if err != nil {
			return err
		}
		a.served[name] = s
		a.loaded = append(a.loaded, s)
	}
	return nil
}

func (a *App) provisionStore(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		d := new(tokenstore.StorageStore)
		a.records = tokenstore.NewRecords(d)
		return d.Provision(ctx)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store module: %w", err)
	}
	s, ok := mod.(tokenstore.Store)
	if !ok {
		return fmt.Errorf("store module %T is not a token store", mod)
	}
	a.records = tokenstore.NewRecords(s)
	return nil
}

// Start puts this configuration in force.
func (a *App) Start() error {
	for _, p := range a.loaded {
		p.man.attach(p)
		p.LogWarnings(time.Now())
	}
	a.started = true
	return nil
}

// Stop takes it back. Refreshes under way go on.
func (a *App) Stop() error {
	if a.started {
		for _, p := range a.loaded {
			p.man.detach(p)
		}
		a.started = false
	}
	return nil
}

// Cleanup gives back the token managers.
func (a *App) Cleanup() error {
	_ = a.Stop()
	for _, p := range a.loaded {
		_, _ = managers.Delete(p.key)
		p.CloseIdleConnections()
	}
	a.loaded = nil
	if a.records != nil {
		a.records.Rooms.Close()
	}
	return nil
}

// SealKeys returns the keys that the records are sealed with, for others that
// keep what is as secret (the spool). They are nil without any.
func (a *App) SealKeys() *seal.Keys {
	if a.records == nil || a.records.Seal == nil {
		return nil
	}
	return a.records.Seal.Keys
}

// Provider returns a configured provider.
func (a *App) Provider(name string) (*authserver.Provider, bool) {
	p, ok := a.Providers[name]
	return p, ok
}

// HasProvider reports whether a provider of that name is configured.
func (a *App) HasProvider(name string) bool {
	return a.Providers[name] != nil
}

// Cloud returns the Microsoft cloud that a provider's endpoints are in, if any.
func (a *App) Cloud(name string) string { return a.Providers[name].MicrosoftCloud() }

// ObjectID returns Microsoft's ID of the mailbox's own user, if consent said it.
func (a *App) ObjectID(r grant.Request) string {
	if p, ok := a.served[r.Provider]; ok && p.UsesStore() {
		return tokenstore.ObjectID(p.man.owner(r.Owner()))
	}
	return ""
}

// Token returns an access token. The token is shared: it must not be changed.
//
// An error that a new consent alone can mend has a method ReauthRequired that
// returns true; all others are temporary. A call that finds a valid token
// takes no lock and allocates nothing; any other waits for the grant's one
// refresh, at most as long as ctx.
func (a *App) Token(ctx context.Context, r grant.Request) (*oauth2.Token, error) {
	p, ok := a.served[r.Provider]
	if !ok {
		return nil, &authserver.Error{Provider: r.Provider, Account: r.Account, Description: "no such provider is configured", Class: authserver.ClassTemporary}
	}
	if p.Grant == authserver.GrantExternal {
		return p.ExternalToken()
	}
	return p.man.token(ctx, p.want(r))
}

// Fresh returns an access token that the provider issued after the call, to
// find out whether it still does: the token in memory says nothing of a client
// secret that was replaced since. It asks whatever was refused before. The
// token in use stays in use until there is another.
func (a *App) Fresh(ctx context.Context, r grant.Request) (*oauth2.Token, error) {
	p, ok := a.served[r.Provider]
	if !ok || p.Grant == authserver.GrantExternal {
		return a.Token(ctx, r)
	}
	return p.man.fresh(ctx, p.want(r))
}

// Warm begins what Token would have to wait for, and does not wait.
func (a *App) Warm(r grant.Request) {
	p, ok := a.served[r.Provider]
	if !ok || p.Grant == authserver.GrantExternal {
		return
	}
	p.man.warm(p.want(r))
}

// Reject says that the upstream refused t. If it is still the current token,
// the next call of Token gets another one. It does so once a minute at most: a
// mailbox that refuses whatever it gets must not cause a refresh for every
// message.
func (a *App) Reject(r grant.Request, t *oauth2.Token) {
	if p, ok := a.served[r.Provider]; ok && p.Grant != authserver.GrantExternal {
		p.man.reject(p.want(r), t)
	}
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ grant.Source       = (*App)(nil)
)
