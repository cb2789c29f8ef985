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
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// These are relay's: every kind of upstream reports the same.
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

// Status implements relay.Reporter.
func (t *SMTPTransport) Status() UpstreamStatus {
	s := t.bound
	st := UpstreamStatus{
		Name: t.name, Transport: "smtp", Dial: s.Address(), TLS: s.TLSMode,
		Mechanism: s.Mechanism, Provider: s.provider, MaxConns: s.maxConns,
	}
	u := t.live()
	if u == nil {
		return st
	}
	u.eachPool(func(p *pool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		st.Accounts += p.size()
		st.Waiting += p.nWait
		addConns(&st.Connections, p)
	})
	st.Breaker = string(u.breaker.State(clock()))
	return st
}

// AccountStatus implements relay.Reporter.
func (t *SMTPTransport) AccountStatus(a *accounts.Account) AccountStatus {
	st := AccountStatus{Account: a.Name, Upstream: t.name}
	u := t.live()
	if u == nil {
		return st
	}
	s := u.current.Load()
	if s == nil {
		return st
	}
	ac := u.account(a, s)
	defer ac.done()
	lim := ac.lim.Status(context.Background())
	ac.mu.Lock()
	defer ac.mu.Unlock()
	now := clock()
	addConns(&st.Connections, ac.pool)
	st.Waiting = ac.nWait + lim.Waiting
	st.MaxConns, st.Concurrency = lim.MaxConns, min(ac.adapt.limit(now), lim.MaxConns)
	if r := ac.adapt.lastReply(now); r != nil {
		st.LastError = r.Error()
	}
	if ac.adapt.refusal(now) != nil {
		at := wallTime(ac.adapt.dialAt)
		st.LoginsResume = &at
	}
	for _, l := range lim.Limits {
		out := LimitStatus{Counts: l.Counts, Limit: l.Limit, Used: l.Used, Remaining: l.Remaining}
		if l.Next != 0 {
			at := wallTime(l.Next)
			out.NextFree = &at
		}
		st.Limits = append(st.Limits, out)
	}
	return st
}

// Drain implements relay.Drainer.
func (t *SMTPTransport) Drain() {
	if u := t.live(); u != nil {
		u.drain()
	}
}

// live returns the upstream, nil before Start.
func (t *SMTPTransport) live() *upstream {
	select {
	case <-t.started:
		return t.upstream
	default:
		return nil
	}
}

// Limiter returns what counts the upstream's mailboxes, for upstreams that send
// from the same ones; nil before Attach.
func (t *SMTPTransport) Limiter() limits.Limiter {
	if u := t.live(); u != nil {
		return u.limits
	}
	return nil
}

// drain keeps every connection that is open now from being lent again.
func (u *upstream) drain() {
	u.drained.Store(clock())
	u.eachPool(func(p *pool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dropIdle(func(*conn) bool { return true })
	})
}

// wallTime turns a reading of the clock into a time to show.
func wallTime(at int64) time.Time { return time.Unix(0, at).UTC().Truncate(time.Second) }

func addConns(n *ConnCounts, p *pool) {
	n.Idle += p.nIdle
	n.Opening += p.dialing
	n.Busy += p.conns - p.nIdle - p.dialing
}

// live returns the upstreams that are configured or have connections, in the
// order of their names.
func live() []*upstream {
	upstreamsMu.Lock()
	defer upstreamsMu.Unlock()
	list := make([]*upstream, 0, len(upstreams))
	for _, u := range upstreams {
		if u.current.Load() != nil || u.conns.Load() > 0 {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b *upstream) int { return cmp.Compare(a.name, b.name) })
	return list
}

func (u *upstream) count() ConnCounts {
	var n ConnCounts
	u.eachPool(func(p *pool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		addConns(&n, p)
	})
	return n
}

// Interface guards
var (
	_ relay.Reporter = (*SMTPTransport)(nil)
	_ relay.Drainer  = (*SMTPTransport)(nil)
)
