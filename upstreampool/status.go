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
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/meter"
)

var contacts = map[breaker.Outcome]relay.Contact{
	breaker.Neither: relay.ContactNone, breaker.Up: relay.ContactAnswered, breaker.Down: relay.ContactFailed,
}

// Status implements relay.Reporter.
func (t *SMTPTransport) Status() relay.UpstreamStatus {
	s := t.bound
	st := relay.UpstreamStatus{
		Name: t.name, Transport: "smtp", Dial: s.Address(), TLS: s.TLSMode,
		Mechanism: s.Mechanism, Provider: s.Provider, MaxConns: s.maxConns,
	}
	u := t.live()
	if st.Contact = relay.ContactNone; u == nil {
		return st
	}
	u.eachPool(func(p *pool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		st.Accounts += p.size()
		st.Waiting += p.nWait
		addConns(&st.Connections, p)
	})
	st.Breaker = string(u.dialer.Breaker.State(clock()))
	if derr := u.dialer.Refused(); derr != nil {
		st.Refused = derr.Err.Error()
	}
	st.Contact = contacts[u.dialer.Breaker.Last()]
	return st
}

// relay.AccountStatus implements relay.Reporter.
func (t *SMTPTransport) AccountStatus(a *accounts.Account) relay.AccountStatus {
	st := relay.AccountStatus{Account: a.Name, Upstream: t.name}
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
	ac.fill(&st)
	if st.LastError == "" {
		source := s.SourceIP
		if own := a.SourceAddr(); own.IsValid() {
			source = own
		}
		st.LastError = unbindable(source)
	}
	return st
}

// fill adds what is known of the account's mailbox.
func (ac *account) fill(st *relay.AccountStatus) {
	lim := ac.lim.Status(context.Background())
	ac.mu.Lock()
	defer ac.mu.Unlock()
	now := clock()
	addConns(&st.Connections, ac.pool)
	st.Waiting = ac.nWait + lim.Waiting
	st.MaxConns, st.Concurrency = lim.MaxConns, min(ac.adapt.Limit(now), lim.MaxConns)
	if r := ac.adapt.LastReply(now); r != nil {
		st.LastError = r.Error()
	}
	if ac.adapt.Refusal(now) != nil {
		at := wallTime(ac.adapt.NextDial(now))
		st.LoginsResume = &at
	}
	for _, l := range lim.Limits {
		out := relay.LimitStatus{Counts: l.Counts, Limit: l.Limit, Used: l.Used, Remaining: l.Remaining}
		if l.Next != 0 {
			at := wallTime(l.Next)
			out.NextFree = &at
		}
		st.Limits = append(st.Limits, out)
	}
}

// unbindable says why no connection can be opened from an address; empty if one can.
// Nothing is sent. Where this machine is short of sockets, nothing is known of it.
func unbindable(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err == nil {
		_ = c.Close()
		return ""
	}
	if se, ok := errors.AsType[*os.SyscallError](err); !ok || se.Syscall != "bind" {
		return ""
	}
	return "source_ip " + ip.String() + ": cannot assign requested address"
}

// Drain implements relay.Drainer.
func (t *SMTPTransport) Drain() {
	if u := t.live(); u != nil {
		u.drain()
	}
}

// AccountsChanged implements relay.AccountFollower.
func (t *SMTPTransport) AccountsChanged(known func(name string) (*accounts.Account, bool)) {
	if u := t.live(); u != nil {
		u.eachPool(func(p *pool) { p.follow(known) })
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

// ShareLimits has the mailboxes counted with other nodes'. It is called after
// Bind.
func (t *SMTPTransport) ShareLimits(s limits.Sharing) { t.bound.lender = s.Lender(t.name) }

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

func addConns(n *relay.ConnCounts, p *pool) {
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

// connections counts those of all upstreams, for metrics.
func connections() (all []meter.Connections) {
	for _, u := range live() {
		n := u.count()
		all = append(all, meter.Connections{Upstream: u.name, Idle: n.Idle, Busy: n.Busy, Opening: n.Opening})
	}
	return all
}

func (u *upstream) count() relay.ConnCounts {
	var n relay.ConnCounts
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

	_ relay.AccountFollower = (*SMTPTransport)(nil)
)
