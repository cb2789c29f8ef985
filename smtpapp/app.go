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
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/internal/presence"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/history"
)

func init() {
	caddy.RegisterModule(new(App))
}

const defaultDrainTimeout = 2 * time.Minute

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp",
		New: func() caddy.Module { return new(App) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, a) }

// Provision sets up the app. It binds and changes nothing: it also runs for
// configurations that never go live.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = printable.Logger(ctx.Logger())
	a.storage = ctx.Storage()
	if a.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("hostname: not set, and the system's is unknown: %w", err)
		}
		a.Hostname = name
	} else if _, err := netip.ParseAddr(a.Hostname); err != nil {
		if err := form.Hostname.Check(a.Hostname); err != nil {
			return fmt.Errorf("hostname: %w", err)
		}
	}
	if a.DrainTimeout == 0 {
		a.DrainTimeout = caddy.Duration(defaultDrainTimeout)
	}
	if a.Tracing != nil {
		if err := a.Tracing.provision(); err != nil {
			return fmt.Errorf("tracing: %w", err)
		}
	}
	if a.Messages != nil {
		if err := a.Messages.Provision(); err != nil {
			return fmt.Errorf("messages: %w", err)
		}
	}
	if err := a.provisionAccounts(ctx); err != nil {
		return err
	}
	up, err := ctx.App("smtp_upstreams")
	if err != nil {
		return fmt.Errorf("getting the smtp_upstreams app: %w", err)
	}
	upstream, ok := up.(relay.Upstream)
	if !ok {
		return fmt.Errorf("the smtp_upstreams app is a %T, which sends no mail", up)
	}
	a.upstream = upstream
	if in, ok := up.(relay.Introducer); ok {
		in.IntroduceAs(a.Hostname)
	}
	if err := a.checkUpstreams(); err != nil {
		return err
	}
	if err := processMetrics.register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	manage := false
	for name, srv := range a.Servers {
		if srv == nil {
			return fmt.Errorf("server %q: empty", name)
		}
		needsCert, err := srv.provision(ctx, a, name)
		if err != nil {
			return fmt.Errorf("server %q: %w", name, err)
		}
		manage = manage || needsCert
	}
	if manage {
		return a.provisionCertificate(ctx)
	}
	return nil
}

func (a *App) provisionAccounts(ctx caddy.Context) error {
	var sources []accounts.Source
	if a.AccountsRaw != nil {
		mods, err := ctx.LoadModule(a, "AccountsRaw")
		if err != nil {
			return fmt.Errorf("loading account sources: %w", err)
		}
		for _, m := range mods.([]any) {
			s, ok := m.(accounts.Source)
			if !ok {
				return fmt.Errorf("module %T is no account source", m)
			}
			sources = append(sources, s)
		}
	}
	a.directory = accounts.NewDirectory(sources, a.logger.Named("accounts"))
	return nil
}

// checkUpstreams looks for accounts whose upstream is not there. In the
// configuration itself that is a mistake; elsewhere the accounts may be ahead
// of it, and it is said.
func (a *App) checkUpstreams() error {
	known, ok := a.upstream.(interface {
		Has(name string) bool
		Names() []string
	})
	if !ok {
		return nil
	}
	lacking := func(upstream string) bool { return !known.Has(upstream) }
	a.directory.CheckEdits(func(r accounts.Record) error {
		if !lacking(r.Upstream) {
			return nil
		}
		names := known.Names()
		return &accounts.FieldError{Account: r.Name, Field: "upstream", Err: fmt.Errorf("there is no upstream '%s', only %s%s",
			r.Upstream, strings.Join(names, ", "), nearest.Hint(r.Upstream, names))}
	})
	if !slices.ContainsFunc(a.directory.Upstreams(), lacking) {
		return nil // as ever: a reload does not go through the accounts
	}
	type lack struct {
		accounts int
		example  string
	}
	lacks := make(map[string]*lack)
	all, _ := a.directory.List(accounts.Filter{}, "", 0)
	for _, acct := range all {
		switch {
		case !lacking(acct.Upstream):
		case acct.Source == "inline":
			return fmt.Errorf("account %q: upstream: '%s' is not configured in smtp_upstreams", acct.Name, acct.Upstream)
		case lacks[acct.Upstream] == nil:
			lacks[acct.Upstream] = &lack{1, acct.Name}
		default:
			lacks[acct.Upstream].accounts++
		}
	}
	for name, l := range lacks {
		a.logger.Warn("accounts name an upstream that is not configured",
			zap.String("upstream", name), zap.Int("accounts", l.accounts), zap.String("account", l.example))
	}
	return nil
}

// Validate checks what one server's options do not show.
func (a *App) Validate() error {
	if a.DrainTimeout < 0 {
		return errors.New("drain_timeout: must not be negative")
	}
	taken := make(map[string]string)
	for name, srv := range a.Servers {
		for i, addr := range srv.prov.addrs {
			for off := range addr.PortRangeSize() {
				key := front.ListenerKey(addr, off)
				if other, ok := taken[key]; ok {
					return fmt.Errorf("server %q: listen %s: address in use by server %q", name, srv.Listen[i], other)
				}
				taken[key] = name
			}
		}
	}
	return nil
}

// Start attaches the servers to their sockets and opens the new ones.
func (a *App) Start() error {
	// A storage that puts its preparation off, so that validating a configuration
	// changes nothing, has to be good before the configuration is in force.
	if s, ok := a.storage.(interface{ Ready(context.Context) error }); ok {
		if err := s.Ready(context.Background()); err != nil {
			return fmt.Errorf("storage: %w", err)
		}
	}
	if err := a.directory.Start(); err != nil {
		return err
	}
	if u, ok := a.upstream.(relay.AccountUser); ok {
		u.UseAccounts(a.directory.Lookup)
	}
	if err := a.startTracing(); err != nil {
		a.directory.Stop()
		return err
	}
	a.startMessages()
	a.stopHistory = history.Process.Keep(a.storage, a.logger.Named("history"))
	a.enterStorage()
	for name, srv := range a.Servers {
		if err := a.attach(name, srv); err != nil {
			a.detachAll()
			a.directory.Stop()
			a.stopTracing()
			a.stopMessages()
			a.stopHistory()
			a.leaveStorage()
			return fmt.Errorf("server %q: %w", name, err)
		}
		a.logger.Info("server running", zap.String("server", name),
			zap.Strings("listen", srv.Listen), zap.String("tls", srv.TLS.Mode))
	}
	if u, ok := a.upstream.(relay.FrontUser); ok {
		u.UseFront(a)
	}
	if f, ok := a.upstream.(relay.AccountFollower); ok {
		a.unfollow = accounts.Changes.Follow(func() { f.AccountsChanged(a.directory.Known) })
	}
	return nil
}

// Stop detaches the servers. Where another configuration has attached to the
// same sockets, their sessions go on under it; the others are drained. Only
// when the process exits does Stop wait for that.
func (a *App) Stop() error {
	a.stop(caddy.Exiting())
	return nil
}

func (a *App) stop(wait bool) {
	a.detachAll()
	if a.unfollow != nil {
		a.unfollow()
	}
	a.directory.Stop()
	if r := a.legacyRSA.Swap(nil); r != nil {
		r.Stop()
	}
	if wait {
		// Those of earlier configurations are waited for as well.
		front.AwaitDrains()
	}
	a.stopTracing()
	a.stopMessages()
	if a.stopHistory != nil {
		a.stopHistory()
	}
	a.leaveStorage()
}

// enterStorage shows other processes on the storage that this one is there.
func (a *App) enterStorage() {
	var listen []string
	for _, srv := range a.Servers {
		listen = append(listen, srv.Listen...)
	}
	slices.Sort(listen)
	release, err := presence.Enter(a.storage, listen)
	if err != nil {
		a.logger.Warn("another process on this storage could not be told that this one is there", zap.Error(err))
		return
	}
	a.leave = release
}

func (a *App) leaveStorage() {
	if a.leave != nil {
		a.leave()
		a.leave = nil
	}
}

// Directory returns the app's accounts.
func (a *App) Directory() *accounts.Directory { return a.directory }

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ caddy.Validator   = (*App)(nil)
)
