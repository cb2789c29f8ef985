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

package upstreamapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/outproxy"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// App holds the upstreams that accounts send through.
type App struct {
	// UpstreamsRaw are the upstreams by name. The `transport` key selects
	// the kind. Default: `smtp`.
	UpstreamsRaw map[string]json.RawMessage `json:"upstreams,omitempty" caddy:"namespace=smtp_upstreams.transports inline_key=transport"`

	// SpoolRaw is the spool of servers and accounts that say `spool`: it sends
	// through each account's own upstream, and has the other options of the
	// transport `spool`. Default: one with those options' defaults.
	SpoolRaw json.RawMessage `json:"spool,omitempty"`

	// LimitsRaw is where the limits of mailboxes are counted. The `kind` key
	// selects the module. Default: in Caddy's storage, for processes of one
	// machine.
	LimitsRaw json.RawMessage `json:"limits,omitempty" caddy:"namespace=smtp_upstreams.limits inline_key=kind"`

	sharing     limits.Sharing // nil: no other node counts the same mailboxes
	transports  map[string]relay.Transport
	order       []string       // of attaching: siblings first
	spool       relay.Spool    // of accounts; nil if the build has none
	spoolAlways relay.Upstream // it, for clients that do not wait
	logger      *zap.Logger
}

func init() {
	caddy.RegisterModule(new(App))
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams",
		New: func() caddy.Module { return new(App) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, a) }

// Provision loads the upstreams. It changes no shared state, and dials nothing but
// the database that limits are counted in.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = printable.Logger(ctx.Logger())
	for name, raw := range a.UpstreamsRaw {
		if name == "" || strings.ContainsFunc(name, unsafe) {
			return fmt.Errorf("malformed upstream name '%s'", name)
		}
		withKind, err := defaultTransport(raw)
		if err != nil {
			return fmt.Errorf("upstream '%s': %w", name, err)
		}
		a.UpstreamsRaw[name] = withKind
	}
	a.transports = make(map[string]relay.Transport, len(a.UpstreamsRaw))
	if err := a.loadLimits(ctx); err != nil {
		return err
	}
	if len(a.UpstreamsRaw) == 0 {
		return a.provisionSpool(ctx)
	}
	mods, err := ctx.LoadModule(a, "UpstreamsRaw")
	if err != nil {
		return fmt.Errorf("loading upstreams: %w", err)
	}
	for name, mod := range mods.(map[string]any) {
		t, ok := mod.(relay.Transport)
		if !ok {
			return fmt.Errorf("upstream '%s': module %T is not an upstream transport", name, mod)
		}
		if err := t.Bind(name); err != nil {
			return err
		}
		if u, ok := t.(limitsSharer); ok && a.sharing != nil {
			u.ShareLimits(a.sharing)
		}
		a.transports[name] = t
	}
	if err := a.join(); err != nil {
		return err
	}
	return a.provisionSpool(ctx)
}

// limitsSharer is a transport whose mailboxes can be counted with other nodes'.
type limitsSharer interface {
	ShareLimits(s limits.Sharing)
}

// loadLimits finds what counts with other nodes, if that is configured.
func (a *App) loadLimits(ctx caddy.Context) error {
	if a.LimitsRaw == nil {
		return nil
	}
	mod, err := ctx.LoadModule(a, "LimitsRaw")
	if err != nil {
		return fmt.Errorf("loading limits: %w", err)
	}
	s, ok := mod.(limits.Sharing)
	if !ok {
		return fmt.Errorf("limits: module %T does not count limits", mod)
	}
	a.sharing = s
	return nil
}

// defaultTransport adds the inline key that selects the kind where it is missing.
func defaultTransport(raw json.RawMessage) (json.RawMessage, error) {
	fields := make(map[string]json.RawMessage)
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, err
		}
		if fields == nil { // the upstream is null
			fields = make(map[string]json.RawMessage)
		}
	}
	if _, ok := fields["transport"]; ok {
		return raw, nil
	}
	fields["transport"] = json.RawMessage(`"smtp"`)
	return json.Marshal(fields)
}

// IntroduceAs implements relay.Introducer.
func (a *App) IntroduceAs(hostname string) {
	for _, t := range a.all() {
		if in, ok := t.(relay.Introducer); ok {
			in.IntroduceAs(hostname)
		}
	}
}

// Start makes the configuration effective.
func (a *App) Start() error {
	if a.sharing != nil {
		if err := a.sharing.Attach(context.Background()); err != nil {
			return err
		}
		if nodeDrains.Load() {
			a.sharing.Drain(true) // it may be another one than before
		}
	}
	if err := outproxy.Environment(); err != nil {
		a.logger.Error("the proxy that the environment names for https cannot be used: requests to providers go out directly, or fail", zap.Error(err))
	}
	all := a.all()
	for i, t := range all {
		if err := t.Attach(); err != nil {
			// Caddy doesn't call Stop when Start fails.
			for _, started := range slices.Backward(all[:i]) {
				_ = started.Detach()
			}
			if i < len(a.order) {
				return fmt.Errorf("upstream '%s': %w", a.order[i], err)
			}
			return fmt.Errorf("spool: %w", err)
		}
	}
	return nil
}

// Stop gives back what Start took.
func (a *App) Stop() error {
	var errs []error
	for _, t := range slices.Backward(a.all()) {
		errs = append(errs, t.Detach())
	}
	return errors.Join(errs...)
}

// all returns every transport in the order in which they are attached. The spool
// of accounts needs all others.
func (a *App) all() []relay.Transport {
	list := make([]relay.Transport, 0, len(a.order)+1)
	for _, name := range a.order {
		list = append(list, a.transports[name])
	}
	if a.spool != nil {
		list = append(list, a.spool)
	}
	return list
}

// Begin implements relay.Upstream for the account's own upstream.
func (a *App) Begin(ctx context.Context, acct *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	u, err := a.upstreamOf(acct, "")
	if err != nil {
		return nil, err
	}
	return u.Begin(ctx, acct, from, opts)
}

// Warm implements relay.Warmer.
func (a *App) Warm(acct *accounts.Account) {
	if w, ok := a.transports[acct.Upstream].(relay.Warmer); ok {
		w.Warm(acct)
	}
}

// UseAccounts implements relay.AccountUser.
func (a *App) UseAccounts(lookup func(name string) (*accounts.Account, bool)) {
	for _, t := range a.all() {
		if u, ok := t.(relay.AccountUser); ok {
			u.UseAccounts(lookup)
		}
	}
}

// AccountsChanged implements relay.AccountFollower.
func (a *App) AccountsChanged(known func(name string) (*accounts.Account, bool)) {
	for _, t := range a.all() {
		if f, ok := t.(relay.AccountFollower); ok {
			f.AccountsChanged(known)
		}
	}
}

// Send implements relay.SingleFlight.
func (a *App) Send(ctx context.Context, acct *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	u, err := a.upstreamOf(acct, "")
	if err != nil {
		return relay.Reply{}, relay.Info{Refused: true}, err
	}
	return relay.Send(ctx, u, acct, from, opts, to, body)
}

// Names returns the configured upstreams in order.
func (a *App) Names() []string {
	names := make([]string, 0, len(a.transports))
	for name := range a.transports {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Has reports whether an upstream of that name is configured.
func (a *App) Has(name string) bool {
	_, ok := a.transports[name]
	return ok
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ relay.Upstream    = (*App)(nil)
	_ relay.Warmer      = (*App)(nil)
	_ relay.AccountUser = (*App)(nil)

	_ relay.AccountFollower = (*App)(nil)
	_ relay.SingleFlight    = (*App)(nil)
)

// unsafe reports whether a rune cannot stand in the name of an upstream, which
// appears in log lines and in commands.
func unsafe(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' }
