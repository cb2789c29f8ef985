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
	"strings"
	"time"

	"github.com/caddymail/mailgateway/limits/fleet"
	"github.com/caddymail/mailgateway/limits/internal/window"
)

// Sharing has lenders for upstreams. It is what a module in the namespace
// smtp_upstreams.limits provides.
type Sharing interface {
	// Attach begins to share, for a configuration that comes into force. It may be
	// called again, by each of them.
	Attach(ctx context.Context) error
	// Lender returns the upstream's lender: the same for every configuration
	// that says the same.
	Lender(upstream string) Lender
	// Lends reports whether anything can be lent now: a node may lend for a while
	// after it has heard of the others. It asks nobody.
	Lends() bool
	// Nodes returns the nodes that share limits, and those that did lately.
	Nodes(ctx context.Context) ([]Node, error)
	// Drain has this node give back what is not in use, and take nothing that
	// no message waits for, until it is called with false.
	Drain(on bool)
	// Ask has another node drained, or not. [fleet.ErrNoNode]: it does not live.
	Ask(ctx context.Context, id string, on bool) error
	// Attend names the clients' side of this node, which other nodes may ask for.
	Attend(f fleet.Front)
}

// Node is one of the nodes that share limits.
type Node = fleet.Node

// Lender says what a process may lend where other nodes lend for the same
// mailboxes. Its methods are called under locks: they neither block nor call
// back.
type Lender interface {
	// Adopt has the lender look after a limiter. It does so until Release.
	Adopt(l *Local)
	// Release gives back what the limiter has, with what is counted. It
	// returns when that is stored or cannot be; unlike the others it is called
	// under no lock.
	Release(l *Local)
	// Until is when the right to lend ends, on the scale of Now. It is on the
	// way of every message: an atomic load.
	Until() int64
	// Lacks says that a message of the mailbox waits for what the node does
	// not have.
	Lacks(mailbox string)
	// Due says that something has to be stored ahead, or can be given up: unlike what the
	// mailbox lacks, that is the node's own to do.
	Due(mailbox string)
	// Dropped says that nothing of the mailbox is counted here any more.
	Dropped(mailbox string)
}

// Stamp says that N events occupy their slots until one period after At.
type Stamp struct{ At, N int64 }

// Item is one limit of a mailbox, as it stands.
type Item struct {
	// Key is the same on every node: what is counted, the period, and the
	// account whose own limit it is.
	Key string
	// Limit is that of the configuration.
	Limit int64
	// Per is the limit's period; 0: it counts what is open.
	Per time.Duration
	// Used is what is in use of it.
	Used int64
	// Ahead is how much may be sent before the next look; of what is held it
	// knows too. It counts only for limits that are written ahead.
	Ahead int64
	// Grow is what Ahead is to grow by. That of connections is the messages', whether or
	// not one of their own limits is written ahead.
	Grow int64
	// Long reports whether the limit is written ahead.
	Long bool
	// Lacks reports whether messages wait for more of it.
	Lacks bool
	// Busy reports whether the mailbox sends.
	Busy bool
	// Stamps are those of the events, oldest first.
	Stamps []Stamp
}

// ConnsKey is the key of connections.
const ConnsKey = "conns"

// Book is a mailbox under its lock.
type Book struct {
	m   *mailbox
	now int64
}

// Look has f see a mailbox. It reports whether there is one.
func (l *Local) Look(name string, f func(b *Book)) bool {
	sh := l.shard(name)
	sh.mu.RLock()
	m := sh.mailboxes[name]
	sh.mu.RUnlock()
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return false
	}
	b := &Book{m: m, now: Now()}
	m.refresh()
	f(b)
	return true
}

// Forget ends what the lender let be lent: nothing is, until the mailboxes have a share again.
// What they have sent is counted elsewhere from now on. The caller has seen to
// it that Until is over.
func (l *Local) Forget(lender Lender) {
	if l.current().Lender != lender {
		return // another one counts what is counted here
	}
	l.epoch.Add(1)
	l.each(func(m *mailbox) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.forget()
		m.recall(0)
	})
}

func (m *mailbox) forget() {
	m.forgetCounts()
	m.answer(nil)
	m.connShare, m.stray = 0, m.conns.n
	m.windows(func(_ string, w *window.Window, _ int64, _ bool) { w.Share = 0 })
}

// Forget is Local.Forget for one mailbox, of which nothing is under way.
func (b *Book) Forget() { b.m.forget() }

// Recall has idle connections closed until no more than keep of each mailbox are
// open. A negative number takes that back.
func (l *Local) Recall(keep int) {
	l.each(func(m *mailbox) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.recall(keep)
	})
}

// Mailboxes calls f with the name of every mailbox.
func (l *Local) Mailboxes(f func(name string)) { l.each(func(m *mailbox) { f(m.name) }) }

// InUse calls f with the name of every mailbox that has connections or messages
// under way.
func (l *Local) InUse(f func(name string)) {
	l.each(func(m *mailbox) {
		m.mu.Lock()
		used := m.conns.n > 0 || m.all.heldMsgs > 0
		m.mu.Unlock()
		if used {
			f(m.name)
		}
	})
}

// End has the connections of a mailbox closed, whatever they carry.
func (l *Local) End(name string) {
	l.Look(name, func(b *Book) {
		for _, h := range b.m.holders {
			if h.end != nil {
				go h.end()
			}
		}
	})
}

// kick has somebody look what the mailbox needs.
func (m *mailbox) kick() {
	if lender := m.set.Lender; lender != nil {
		lender.Lacks(m.name)
		return
	}
	m.sh.kick(m.local)
}

// countsLong reports, for each message, whether a limit is written ahead.
func (m *mailbox) countsLong() bool {
	long := false
	m.layers(func(l *layer, _ string) {
		l.each(func(w *window.Window, _ int64, _ bool) { long = long || w.Rate.Per >= longPeriod })
	})
	return long
}

// layers calls f for the mailbox's limits, and for each account's own.
func (m *mailbox) layers(f func(l *layer, account string)) {
	f(&m.all, "")
	for _, a := range m.list {
		f(&a.layer, a.name)
	}
}

// windows calls f for each limit, with its key.
func (m *mailbox) windows(f func(key string, w *window.Window, held int64, rcpts bool)) {
	m.layers(func(l *layer, account string) {
		l.each(func(w *window.Window, held int64, rcpts bool) {
			key := "messages/"
			if rcpts {
				key = "recipients/"
			}
			key += w.Rate.Per.String()
			if account != "" {
				key += " " + account
			}
			f(key, w, held, rcpts)
		})
	})
}

// Items returns the limits. The reservations that they ask for are to be
// written, and then taken over by Grew.
func (b *Book) Items() []Item {
	m, now := b.m, b.now
	busy := m.nWait > 0 || m.all.heldMsgs > 0 || m.ahead.used != 0 && now-m.ahead.used < int64(2*time.Second)
	list := []Item{{
		Key: ConnsKey, Limit: int64(m.maxConns()), Used: int64(m.conns.n), Busy: busy,
		Lacks: m.lacksConn && int64(m.conns.n) >= m.connShare && m.conns.n < m.maxConns(),
	}}
	var msgs, rcpts int64
	if m.durable() && (m.ahead.asked || m.ahead.wantRcpts > 0) {
		m.ahead.asked = true
		msgs, rcpts = m.grow(now)
	}
	list[0].Grow = msgs
	m.windows(func(key string, w *window.Window, held int64, isRcpts bool) {
		it := Item{Key: key, Limit: w.Rate.Count, Per: w.Rate.Per, Busy: busy, Long: w.Rate.Per >= longPeriod}
		need := int64(1)
		if isRcpts {
			need = max(1, m.ahead.wantRcpts)
		}
		it.Used = w.Used(now) + held
		w.Each(func(s window.Stamp) { it.Stamps = append(it.Stamps, Stamp{s.At, s.N}) })
		// Of an account's own limit any part of the mailbox's reservation may become it.
		it.Ahead, it.Grow = held+m.ahead.left, msgs
		if isRcpts {
			it.Ahead, it.Grow = held+m.ahead.rcpts, rcpts
		}
		it.Lacks = (m.nWait > 0 || m.ahead.wantRcpts > 0) && w.Free(now, held) < need && w.Rate.Count-it.Used >= need
		list = append(list, it)
	})
	return list
}

// Allow sets what the node may use of a limit. If that is more than before, who
// waits is served by Serve.
func (b *Book) Allow(key string, n int64) {
	m := b.m
	if key == ConnsKey {
		switch {
		case n < m.connShare && int64(m.conns.n) > n:
			m.recall(int(n))
		case n > m.connShare:
			m.recall(-1)
		}
		m.connShare = n
		return
	}
	m.windows(func(k string, w *window.Window, _ int64, _ bool) {
		if k == key {
			w.Share = n
		}
	})
}

// Lower is Allow, unless that is more than the node has.
func (b *Book) Lower(key string, n int64) {
	if key == ConnsKey {
		b.Allow(key, min(n, b.m.connShare))
		return
	}
	b.m.windows(func(k string, w *window.Window, _ int64, _ bool) {
		if k == key {
			w.Share = min(w.Share, n)
		}
	})
}

// Merge counts what was sent elsewhere under a limit, or may be until a time to come.
func (b *Book) Merge(key string, stamps []Stamp) {
	b.m.windows(func(k string, w *window.Window, _ int64, _ bool) {
		if k != key {
			return
		}
		for _, s := range stamps {
			w.Insert(b.now, s.At, s.N)
		}
	})
}

// Grew takes over reservations that are written.
func (b *Book) Grew(items []Item) {
	var msgs, rcpts int64
	for _, it := range items {
		switch {
		case it.Key == ConnsKey:
			msgs = it.Grow
		case strings.HasPrefix(it.Key, "recipients/"):
			rcpts = it.Grow
		}
	}
	b.m.grewBy(msgs, rcpts, b.now)
}

// Serve has those look again who wait.
func (b *Book) Serve() {
	b.m.lacksConn = false
	b.m.wakeConns(false)
	b.m.dispatch(b.now)
}

// takeShare takes a connection of those that this node may have.
func (m *mailbox) takeShare(now int64) bool {
	if m.conns.n >= m.maxConns() {
		return false
	}
	if int64(m.conns.n) >= m.connShare || !m.local.valid(now) {
		m.lacksConn = true
		m.kick()
		return false
	}
	m.conns.n++
	m.lacksConn, m.stray = false, 0
	return true
}

// ofShare reports whether the connections that are taken are this node's to open.
// Those that the lender has lowered the share by are until they are closed, those
// of a right that has ended are not.
func (m *mailbox) ofShare(now int64) bool {
	if !m.local.valid(now) {
		return false
	}
	if int64(m.conns.n) <= m.connShare {
		m.stray = 0
	}
	return m.stray == 0
}
