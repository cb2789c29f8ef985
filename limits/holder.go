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

import "slices"

// holder is one user of a mailbox's connections. The mailbox's lock is its own.
type holder struct {
	m     *mailbox
	n     int // connections
	wake  func()
	keep  func(n int) // closes idle ones
	end   func()      // closes all, those in use too
	waits bool        // it found none free

	// It has none and waits since then, at least until then: others leave it one.
	since, starves int64
	// What others of this process want; owes until a connection is closed.
	debt      Debt
	owes      bool
	keepUntil int64
}

// Holder implements Account.
func (a *account) Holder() Holder {
	m := a.m
	h := &holder{m: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refs++
	m.holders = append(m.holders, h)
	return h
}

// Close implements Holder.
func (h *holder) Close() {
	m := h.m
	m.mu.Lock()
	m.holders = slices.DeleteFunc(m.holders, func(o *holder) bool { return o == h })
	m.refs--
	drop := m.refs == 0
	m.mu.Unlock()
	if drop {
		m.sh.forget(m)
	}
}

// Take implements Holder.
func (h *holder) Take(wake func()) bool {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	now := Now()
	h.wake = wake
	taken := h.turn(now)
	switch {
	case !taken:
	case m.set.Lender != nil:
		taken = m.takeShare(now)
	default:
		taken = m.takePlace(now)
	}
	if h.waits = !taken; !taken {
		h.ask(now)
		return false
	}
	if h.n == 0 {
		h.keepUntil = now + int64(keepFor)
	}
	h.n++
	h.since, h.starves = 0, 0
	return true
}

// turn reports whether a free connection is not another's who has none and was here
// before.
func (h *holder) turn(now int64) bool {
	if now >= h.starves {
		h.since = now
	}
	free := h.m.maxConns() - h.m.conns.n
	for _, o := range h.m.holders {
		if o != h && o.n == 0 && now < o.starves && (h.n > 0 || o.since < h.since) {
			free--
		}
	}
	return free > 0
}

// ask has other holders of this process give up what they do not need, or one of
// them whatever it has if this one has none. It is repeated as long as this one
// wants a connection.
func (h *holder) ask(now int64) {
	if len(h.m.holders) < 2 {
		return
	}
	debt := OwesIdle
	if h.n == 0 {
		debt, h.starves = OwesOne, now+int64(wantFor)
	}
	var from *holder
	due := false // one is on its way
	for _, o := range h.m.holders {
		switch {
		case o == h || o.n == 0:
		case debt == OwesIdle && o.keep == nil: // it keeps none idle
		case debt == OwesOne && o.owes:
			due = true
		case debt == OwesOne && now < o.keepUntil:
		case from == nil || o.n > from.n:
			from = o
		}
	}
	if from != nil && !due && from.debt < debt {
		from.debt = debt
		go from.wake()
	}
	h.m.conns.wantUntil = max(h.m.conns.wantUntil, now+int64(wantFor))
	h.m.local.sharing.add(h.m.local, h.m)
}

// Dials implements Holder.
func (h *holder) Dials() bool {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	return m.set.Lender == nil || m.ofShare(Now())
}

// Free implements Holder.
func (h *holder) Free() {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	h.n--
	h.owes, h.debt = false, NoDebt
	// It may have been taken as a place before a reload brought shares.
	m.freePlace(Now())
	m.stray = max(0, m.stray-1)
	if m.set.Lender != nil && int64(m.conns.n) >= m.connShare {
		m.set.Lender.Due(m.name) // another node waits for it
	}
	m.lacksConn = false
	m.wakeConns(false)
}

// Yield implements Holder.
func (h *holder) Yield() Debt {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	c, debt := &h.m.conns, h.debt
	h.debt = NoDebt
	if h.n == 0 {
		c.yield = c.yield && c.n > 0
		return NoDebt
	}
	if c.yield {
		c.yield, c.owes, debt = false, true, OwesOne
	}
	h.owes = h.owes || debt == OwesOne
	return debt
}

// Wanted implements Holder.
func (h *holder) Wanted() bool {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	c := &h.m.conns
	return h.owes || h.debt == OwesOne || c.yield || c.owes
}

// OnRecall implements Holder.
func (h *holder) OnRecall(f func(keep int)) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.keep = f
}

// OnEnd implements Holder.
func (h *holder) OnEnd(f func()) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.end = f
}

func (m *mailbox) recall(n int) {
	for _, h := range m.holders {
		if h.keep != nil {
			go h.keep(n)
		}
	}
}

// wakeConns has those looked for that found no connection free, or all.
func (m *mailbox) wakeConns(all bool) {
	for _, h := range m.holders {
		if h.wake != nil && (h.waits || all) {
			go h.wake()
			h.waits = false
		}
	}
}

// Interface guard
var _ Holder = (*holder)(nil)
