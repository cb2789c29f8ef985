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

package limits

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits/internal/window"
	"github.com/caddymail/mailgateway/limits/record"
)

// mailbox is what is counted of one mailbox: the upstream's limits, for all of
// its accounts together, and each account's own.
type mailbox struct {
	// First what each message touches: with many mailboxes, lines of memory count.
	mu       sync.Mutex
	dead     bool // dropped from the shard; look it up again
	loaded   bool // what is stored is counted
	taken    bool // firstOne, of most mailboxes the only account, is
	refs     int  // handles in use
	nWait    int
	local    *Local
	set      *Config
	all      layer
	ahead    reservation
	firstOne account
	list     []*account
	sh       *shard
	name     string

	holders   []*holder
	conns     conns
	connShare int64 // of those that all nodes may have, if there are others
	lacksConn bool  // one was asked for, and others have it
	// Connections that were taken before the right to lend ended: those that
	// are not open yet may have been given to others since.
	stray int

	order  uint64 // of the last message that began to wait
	timer  *time.Timer
	waking int64 // when timer fires; 0: not armed

	// Stored of accounts that were not used since.
	rest     map[string]record.Counts
	imported map[string]bool // accounts whose counts of an earlier version are in
	foreign  *record.Record  // what other processes have stored
}

// account is one account of a mailbox, as it is counted.
type account struct {
	m    *mailbox
	max  int // messages at a time; 0: no limit of its own
	busy int
	layer

	head, tail *waiter
	nWait      int

	name string
	refs int
}

// loadPatience is how long a question waits for what is stored.
const loadPatience = 2 * time.Second

// Account implements Limiter.
func (l *Local) Account(name, acct string, own *accounts.Limits) Account {
	l.openPlaces()
	sh := l.shard(name)
	for {
		m := sh.mailbox(l, name)
		if a := m.open(acct, own); a != nil {
			return a
		}
	}
}

// open returns a handle on an account; nil if the mailbox has been dropped.
func (m *mailbox) open(name string, own *accounts.Limits) *account {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil
	}
	m.refs++
	m.refresh()
	for _, a := range m.list {
		if a.name == name {
			a.refs++
			a.narrow(own)
			return a
		}
	}
	a := &m.firstOne
	if m.taken { // for good: a handle may outlive its place in the list
		a = new(account)
	}
	m.taken = true
	a.m, a.name, a.refs = m, name, 1
	m.list = append(m.list, a)
	a.configure(own)
	m.restoreAccount(a, Now())
	return a
}

// Narrow implements Account.
func (a *account) Narrow(own *accounts.Limits) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.narrow(own)
}

func (a *account) narrow(own *accounts.Limits) {
	m := a.m
	hadMsgs, hadRcpts := len(a.msgs) > 0, len(a.rcpts) > 0
	a.configure(own)
	// What the account sent was not counted apart: all of the mailbox's may
	// have been its.
	if !hadMsgs {
		for _, w := range a.msgs {
			w.Inherit(m.all.msgs)
		}
	}
	if !hadRcpts {
		for _, w := range a.rcpts {
			w.Inherit(m.all.rcpts)
		}
	}
	m.seeOthers(Now())
	m.dispatch(Now())
}

func (a *account) configure(own *accounts.Limits) {
	if own == nil {
		own = new(accounts.Limits)
	}
	a.max = own.MaxConns
	a.layer.configure(own)
	a.shareOf(a.m.set.Lender != nil)
}

// refresh takes over other limits of the upstream.
func (m *mailbox) refresh() {
	if s := m.local.current(); s != m.set {
		m.set = s
		m.all.configure(&s.Limits)
		m.layers(func(l *layer, _ string) { l.shareOf(s.Lender != nil) })
		m.seeOthers(Now())
	}
}

// maxConns is the upstream's limit. If every account has one of its own, they
// can't use more than the sum.
func (m *mailbox) maxConns() int {
	sum := 0
	for _, a := range m.list {
		if a.refs > 0 && a.max == 0 {
			return m.set.Limits.MaxConns
		}
		if a.refs > 0 {
			sum += a.max
		}
	}
	if sum == 0 {
		return m.set.Limits.MaxConns
	}
	return min(sum, m.set.Limits.MaxConns)
}

// MaxConns implements Account.
func (a *account) MaxConns() int {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.refresh()
	return a.m.maxConns()
}

// Status implements Account.
func (a *account) Status(ctx context.Context) Status {
	m := a.m
	m.waitLoaded(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	now := Now()
	st := Status{MaxConns: m.maxConns(), Waiting: m.nWait, Messages: a.heldMsgs, Recipients: a.heldRcpts}
	if a.max > 0 {
		st.MaxConns = min(st.MaxConns, a.max)
	}
	st.Limits = m.all.status(st.Limits, now)
	st.Limits = a.layer.status(st.Limits, now)
	return st
}

func (l *layer) status(list []LimitStatus, now int64) []LimitStatus {
	for _, k := range [...]struct {
		counts  string
		windows []*window.Window
		held    int64
	}{{"messages", l.msgs, l.heldMsgs + l.theirMsgs}, {"recipients", l.rcpts, l.heldRcpts + l.theirRcpts}} {
		for _, w := range k.windows {
			st := LimitStatus{Counts: k.counts, Limit: w.Rate, Used: w.Used(now) + k.held, Remaining: w.Free(now, k.held)}
			if st.Remaining == 0 {
				st.Next = w.When(now, 1, k.held)
			}
			list = append(list, st)
		}
	}
	return list
}

// Close implements Account.
func (a *account) Close() {
	m := a.m
	m.mu.Lock()
	a.refs--
	m.refs--
	if a.refs == 0 && a.busy == 0 && len(a.msgs)+len(a.rcpts) == 0 {
		m.list = slices.DeleteFunc(slices.Clone(m.list), func(other *account) bool { return other == a })
	}
	drop := m.refs == 0
	m.mu.Unlock()
	if drop {
		m.sh.forget(m)
	}
}

// empty reports whether nothing would be lost with the mailbox.
func (m *mailbox) empty(now int64) bool {
	if m.refs > 0 || m.conns.n > 0 || m.nWait > 0 || m.ahead.stored || !m.all.empty(now) {
		return false
	}
	for _, a := range m.list {
		if a.busy > 0 || !a.empty(now) {
			return false
		}
	}
	return true
}

func (m *mailbox) lasts(now int64) time.Duration {
	d := m.all.lasts(now)
	for _, a := range m.list {
		d = max(d, a.lasts(now))
	}
	return d
}

// waitLoaded waits until what is stored is counted, a moment at most.
func (m *mailbox) waitLoaded(ctx context.Context) {
	m.mu.Lock()
	if m.loaded || !m.durable() || m.set.Lender != nil {
		m.mu.Unlock()
		return
	}
	written := make(chan error, 1)
	m.ahead.next = append(m.ahead.next, written)
	m.sh.kick(m.local)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	select {
	case <-written: //nolint:errcheck // what could not be read is refused when a slot is asked for
	case <-ctx.Done():
	}
}

// wakeAt has the waiting messages looked at again at a time.
func (m *mailbox) wakeAt(at, now int64) {
	if m.waking != 0 && m.waking <= at && m.waking > now {
		return
	}
	m.waking = at
	d := time.Duration(max(at-now, 0))
	if m.timer != nil {
		m.timer.Reset(d)
		return
	}
	m.timer = time.AfterFunc(d, func() {
		m.mu.Lock()
		m.waking = 0
		m.dispatch(Now())
		forget := m.refs == 0 && !m.dead
		m.mu.Unlock()
		if forget {
			m.sh.forget(m)
		}
	})
}

func (m *mailbox) stopTimer() {
	if m.timer != nil {
		m.timer.Stop()
		m.waking = 0
	}
}

// Interface guards
var (
	_ Limiter = (*Local)(nil)
	_ Account = (*account)(nil)
)
