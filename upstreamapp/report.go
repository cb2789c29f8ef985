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
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/limits/fleet"
	"github.com/caddymail/mailgateway/relay"
)

type (
	// ConnCounts is relay.ConnCounts.
	ConnCounts = relay.ConnCounts
	// UpstreamStatus is relay.UpstreamStatus.
	UpstreamStatus = relay.UpstreamStatus
	// AccountStatus is relay.AccountStatus.
	AccountStatus = relay.AccountStatus
	// LimitStatus is relay.LimitStatus.
	LimitStatus = relay.LimitStatus
)

var (
	// ErrNoUpstream says that no upstream of that name is configured.
	ErrNoUpstream = errors.New("no such upstream")
	// ErrUnsupported says that the upstream's transport can't do that.
	ErrUnsupported = errors.New("the upstream's transport does not support this")
)

// Status returns the state of every upstream, in the order of their names.
func (a *App) Status() []UpstreamStatus {
	list := make([]UpstreamStatus, 0, len(a.transports))
	for _, name := range a.Names() {
		st := UpstreamStatus{Name: name, Transport: fmt.Sprintf("%T", a.transports[name])}
		if r, ok := a.transports[name].(relay.Reporter); ok {
			st = r.Status()
		}
		list = append(list, st)
	}
	return list
}

// AccountStatus returns the state of the account at its upstream, with what is
// left of each limit.
func (a *App) AccountStatus(acct *accounts.Account) (AccountStatus, error) {
	t, ok := a.transports[acct.Upstream]
	if !ok {
		return AccountStatus{}, fmt.Errorf("%w: '%s'", ErrNoUpstream, acct.Upstream)
	}
	r, ok := t.(relay.Reporter)
	if !ok {
		return AccountStatus{}, ErrUnsupported
	}
	return r.AccountStatus(acct), nil
}

// Drain closes the upstream's connections, each after its message.
func (a *App) Drain(upstream string) error {
	t, ok := a.transports[upstream]
	if !ok {
		return fmt.Errorf("%w: '%s'", ErrNoUpstream, upstream)
	}
	d, ok := t.(relay.Drainer)
	if !ok {
		return ErrUnsupported
	}
	d.Drain()
	return nil
}

// VerifyStep is relay.VerifyStep.
type VerifyStep = relay.VerifyStep

// Verify tries the way of a message of the account, up to a successful login,
// and, if from is not empty, to a MAIL command that is taken back. It sends no
// message. Each step is reported when it is over; the error is the failed one's.
func (a *App) Verify(ctx context.Context, acct *accounts.Account, from string, step func(VerifyStep)) error {
	t, ok := a.transports[acct.Upstream]
	if !ok {
		return fmt.Errorf("%w: '%s'", ErrNoUpstream, acct.Upstream)
	}
	v, ok := t.(relay.Verifier)
	if !ok {
		return ErrUnsupported
	}
	return v.Verify(ctx, acct, from, step)
}

// Reach asks whether the provider of an upstream answers, if its transport can ask.
func (a *App) Reach(ctx context.Context, name string) (said string, asked bool, err error) {
	t, ok := a.transports[name].(relay.Reacher)
	if !ok {
		return "", false, nil
	}
	said, err = t.Reach(ctx)
	return said, true, err
}

// Examine asks each transport, and what counts the limits, if it has something to
// say of itself.
func (a *App) Examine(ctx context.Context) (out []checkup.Finding) {
	for _, name := range a.Names() {
		if e, ok := a.transports[name].(checkup.Examiner); ok {
			out = append(out, e.Examine(ctx)...)
		}
	}
	if e, ok := a.sharing.(checkup.Examiner); ok {
		out = append(out, e.Examine(ctx)...)
	}
	return out
}

// Nodes returns the nodes that count the same limits; none if nothing is shared.
func (a *App) Nodes(ctx context.Context) ([]limits.Node, error) {
	if a.sharing == nil {
		return nil, nil
	}
	return a.sharing.Nodes(ctx)
}

// Lends reports whether messages may leave, as far as shared limits decide that.
// It asks nobody.
func (a *App) Lends() bool { return a.sharing == nil || a.sharing.Lends() }

// Keeps reports whether an upstream is a spool: it takes what cannot leave.
func (a *App) Keeps() bool {
	for _, t := range a.transports {
		if _, ok := t.(relay.Spool); ok {
			return true
		}
	}
	return false
}

// nodeDrains reports whether this node gives back what it holds of shared limits.
// It is the process's: a reload changes nothing about it.
var nodeDrains atomic.Bool

// DrainNode has this node give back what it holds of shared limits, until it is
// called with false. Where nothing is shared there is nothing to do.
func (a *App) DrainNode(on bool) {
	nodeDrains.Store(on)
	if a.sharing != nil {
		a.sharing.Drain(on)
	}
}

// AskNode has another node taken out of service, or put into service again.
func (a *App) AskNode(ctx context.Context, id string, drain bool) error {
	if a.sharing == nil {
		return fleet.ErrNoNode
	}
	return a.sharing.Ask(ctx, id, drain)
}

// UseFront implements relay.FrontUser.
func (a *App) UseFront(f relay.Front) {
	if a.sharing != nil {
		a.sharing.Attend(attended{f})
	}
}

// attended notes what another node asked for, as if it had been asked for here.
type attended struct{ relay.Front }

func (f attended) HandOn(on bool) {
	nodeDrains.Store(on)
	f.Front.HandOn(on)
}

// ViaProxy reports whether an upstream is reached through a proxy, so that a
// connection made without it says nothing.
func (a *App) ViaProxy(name string) bool {
	t, ok := a.transports[name].(relay.Proxied)
	return ok && t.ViaProxy()
}

// Provider returns the name of the OAuth provider that an upstream's tokens
// come from; empty if there is no such upstream, or if it uses none.
func (a *App) Provider(upstream string) string {
	if t, ok := a.transports[upstream].(relay.OAuthUser); ok {
		return t.OAuthProvider()
	}
	return ""
}
