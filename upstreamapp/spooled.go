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
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// spoolModule is the transport that servers and accounts with `spool` get in front
// of their upstreams. It is a guest like the others: a build may lack it.
const spoolModule = "smtp_upstreams.transports.spool"

// spoolName is what it is called where an upstream's name would stand.
const spoolName = "spool"

var errNoSpool = errors.New("this build has no spool (module " + spoolModule + ")")

// provisionSpool loads the spool of accounts, which sends through each account's
// own upstream.
func (a *App) provisionSpool(ctx caddy.Context) error {
	if _, err := caddy.GetModule(spoolModule); err != nil {
		if a.SpoolRaw != nil {
			return errNoSpool
		}
		return nil
	}
	mod, err := ctx.LoadModuleByID(spoolModule, a.SpoolRaw)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s, ok := mod.(relay.Spool)
	if !ok {
		return fmt.Errorf("spool: module %T is no spool", mod)
	}
	if err := s.Bind(spoolName); err != nil {
		return err
	}
	if d, ok := s.(relay.Dependent); ok {
		if len(d.DependsOn()) > 0 {
			return errors.New("spool: upstream: it sends through each account's own; name one with `transport spool` instead")
		}
		if err := d.Join(a.transports); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	a.spool, a.spoolAlways = s, s.Always()
	return nil
}

// upstreamOf returns what carries an account's mail, if the server's mode is this
// one. An upstream that is a spool itself has no other in front.
func (a *App) upstreamOf(acct *accounts.Account, mode string) (relay.Upstream, error) {
	t, ok := a.transports[acct.Upstream]
	if !ok {
		return nil, relay.ReplyNoUpstream
	}
	mode = cmp.Or(acct.Spool, mode)
	if mode == "" || mode == accounts.SpoolOff || a.spool == nil {
		return t, nil
	}
	if own, ok := t.(relay.Spool); ok {
		if mode == accounts.SpoolAlways {
			return own.Always(), nil
		}
		return t, nil
	}
	if mode == accounts.SpoolAlways {
		return a.spoolAlways, nil
	}
	return a.spool, nil
}

// Spooled implements relay.Spooler.
func (a *App) Spooled(mode string) (relay.Upstream, error) {
	if a.spool == nil {
		return nil, errNoSpool
	}
	return &spooled{a, mode}, nil
}

// spooled is the upstreams as the accounts of a server with `spool` see them.
type spooled struct {
	*App
	mode string
}

// Begin implements relay.Upstream.
func (s *spooled) Begin(ctx context.Context, acct *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	u, err := s.upstreamOf(acct, s.mode)
	if err != nil {
		return nil, err
	}
	return u.Begin(ctx, acct, from, opts)
}

// Send implements relay.SingleFlight.
func (s *spooled) Send(ctx context.Context, acct *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	u, err := s.upstreamOf(acct, s.mode)
	if err != nil {
		return relay.Reply{}, relay.Info{Refused: true}, err
	}
	return relay.Send(ctx, u, acct, from, opts, to, body)
}

// Interface guards
var (
	_ relay.Spooler      = (*App)(nil)
	_ relay.Upstream     = (*spooled)(nil)
	_ relay.SingleFlight = (*spooled)(nil)
)
