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
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// Mailbox is what is counted of one mailbox: the upstream's limits, for all of
// its accounts together, and on top each account's own.
type Mailbox struct {
	ledger *Ledger
	name   string

	mu   sync.Mutex
	dead bool // dropped from the ledger; look it up again
	refs int  // handles in use: pools, transports
	set  *set // in force
	all  layer
	list []*Account

	maxConns, conns int
	wakes           []func() // who found no connection free

	nWait  int
	order  uint64 // of the last message that began to wait
	timer  *time.Timer
	waking int64 // when timer fires; 0: not armed

	ahead reservation
}

// Account is one account of a mailbox. Messages are reserved through it.
type Account struct {
	m    *Mailbox
	name string
	own  *accounts.Limits // as configured, to see a change
	max  int              // messages at a time; 0: no limit of its own
	busy int
	layer

	head, tail *waiter
	nWait      int
}

// Account returns the account of that name with its own limits in force; nil
// for none.
func (m *Mailbox) Account(name string, own *accounts.Limits) *Account {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	var a *Account
	for _, have := range m.list {
		if have.name == name {
			a = have
		}
	}
	fresh := a == nil
	if fresh {
		a = &Account{m: m, name: name}
		m.list = append(m.list, a)
	}
	if fresh || a.own != own {
		a.configure(own)
		m.restore(a)
		m.countConns()
		m.dispatch(Now())
	}
	return a
}

// configure puts the account's own limits in force. A limit that it did not
// have begins with what is known of the mailbox.
func (a *Account) configure(own *accounts.Limits) {
	a.own = own
	var none accounts.Limits
	if own == nil {
		own = &none
	}
	a.max = own.MaxConns
	had := len(a.msgs)+len(a.rcpts) > 0
	a.layer.configure([]accounts.Limits{*own})
	if !had {
		for _, w := range a.msgs {
			w.inherit(a.m.all.msgs)
		}
		for _, w := range a.rcpts {
			w.inherit(a.m.all.rcpts)
		}
	}
}

// refresh takes over other limits of the ledger.
func (m *Mailbox) refresh() {
	s := m.ledger.set.Load()
	if m.set == s {
		return
	}
	m.set = s
	m.all.configure(s.limits)
	m.countConns()
}

// countConns sets the number of connections: the ledger's, or what the account
// that may use most of them may use.
func (m *Mailbox) countConns() {
	most := 0
	for _, a := range m.list {
		if a.max == 0 || a.max >= m.set.conns {
			m.maxConns = m.set.conns
			return
		}
		most = max(most, a.max)
	}
	m.maxConns = most
	if most == 0 {
		m.maxConns = m.set.conns
	}
}

// MaxConns returns the number of connections that the mailbox may have.
func (m *Mailbox) MaxConns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	return m.maxConns
}

// TakeConn takes one of the mailbox's connections. If none is free, wake is
// called, once and on a goroutine of its own, when one may be.
func (m *Mailbox) TakeConn(wake func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	if m.conns < m.maxConns {
		m.conns++
		return true
	}
	if wake != nil {
		m.wakes = append(m.wakes, wake)
	}
	return false
}

// FreeConn gives a connection back.
func (m *Mailbox) FreeConn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns--
	m.connFreed()
}

func (m *Mailbox) connFreed() {
	for _, wake := range m.wakes {
		go wake()
	}
	m.wakes = nil
	m.dispatch(Now())
}

// Name returns the mailbox's name, folded.
func (m *Mailbox) Name() string { return m.name }

// Close gives the handle back. What is counted stays for as long as it counts.
func (m *Mailbox) Close() {
	m.ledger.release(m, true)
}

// empty reports whether nothing would be lost with the mailbox.
func (m *Mailbox) empty(now int64) bool {
	if m.refs > 0 || m.conns > 0 || m.nWait > 0 || m.ahead.busy() || !m.all.empty(now) {
		return false
	}
	for _, a := range m.list {
		if a.busy > 0 || !a.empty(now) {
			return false
		}
	}
	return true
}

func (m *Mailbox) lasts(now int64) time.Duration {
	d := m.all.lasts(now)
	for _, a := range m.list {
		d = max(d, a.lasts(now))
	}
	return d
}

// wakeAt has the waiting messages looked at again at a time.
func (m *Mailbox) wakeAt(at, now int64) {
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
		forget := m.refs == 0
		m.mu.Unlock()
		if forget {
			m.ledger.release(m, false)
		}
	})
}
