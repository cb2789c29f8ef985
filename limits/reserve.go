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
	"math"
	"time"

	"github.com/caddymail/mailgateway/limits/internal/window"
)

const (
	// idleAfter is how long a mailbox keeps a reservation that it does not
	// use.
	idleAfter = 30 * time.Second
	// quick and slow are the times that a reservation should last. One that is
	// used up sooner is the next time twice as large, one that lasts longer half
	// as large.
	quick = 30 * time.Second
	slow  = 5 * time.Minute
	// From small messages on one that is used up grows to what had lasted, at most
	// leap times, lest a busy start is a row of writes; below, a crash is to cost little.
	small, leap = 10, 16
)

// reservation is what may be sent before the next write. It keeps one
// invariant: what is stored, stamps and reserved together, is never less than
// what has been sent, what is under way and what is left to lend. left grows
// only after a write that says so.
type reservation struct {
	left, rcpts int64

	size, sizeRcpts int64 // to store at a time
	grown           int64 // when it grew last
	used            int64 // when it was used last

	asked     bool         // a write is under way or due
	wantRcpts int64        // of one message, more than size
	next      []chan error // of those who wait for the next write
	stored    bool         // the last write left a reservation or a stamp
}

// durable reports whether slots are lent out of a reservation only.
func (m *mailbox) durable() bool {
	if m.set.Lender != nil {
		return m.countsLong()
	}
	if m.set.Storage == nil {
		return false
	}
	if len(m.all.msgs)+len(m.all.rcpts) > 0 {
		return true
	}
	for _, a := range m.list {
		if len(a.msgs)+len(a.rcpts) > 0 {
			return true
		}
	}
	return false
}

// lends reports whether a message with one recipient is stored ahead.
func (m *mailbox) lends(now int64) bool {
	if m.ahead.left > 0 && (m.ahead.rcpts > 0 || !m.countsRcpts()) && m.local.valid(now) {
		return true
	}
	return !m.durable() && (m.set.Lender == nil || m.local.valid(now))
}

func (m *mailbox) countsRcpts() bool {
	if len(m.all.rcpts) > 0 {
		return true
	}
	for _, a := range m.list {
		if len(a.rcpts) > 0 {
			return true
		}
	}
	return false
}

// take lends out of the reservation.
func (m *mailbox) take(now, msgs, rcpts int64) {
	r := &m.ahead
	r.left -= msgs
	r.rcpts -= rcpts
	r.used = now
	if r.asked || r.size == 0 {
		return
	}
	// The next one is stored before this one is used up.
	if msgs > 0 && r.left == r.size/2 || rcpts > 0 && r.rcpts <= r.sizeRcpts/2 && r.rcpts+rcpts > r.sizeRcpts/2 {
		m.want(0)
	}
}

// untake gives back what was lent and not sent.
func (m *mailbox) untake(msgs, rcpts int64) {
	m.ahead.left += msgs
	m.ahead.rcpts += rcpts
}

// want has a reservation stored, with at least that many recipients.
func (m *mailbox) want(rcpts int64) {
	m.ahead.wantRcpts = max(m.ahead.wantRcpts, rcpts)
	if m.set.Lender != nil && !m.durable() {
		m.kick() // it is the lease that ended
		return
	}
	if m.ahead.asked || !m.durable() {
		return
	}
	m.ahead.asked = true
	if lender := m.set.Lender; lender != nil {
		lender.Due(m.name)
		return
	}
	m.kick()
}

// grow returns by how much the reservation grows with the next write.
func (m *mailbox) grow(now int64) (msgs, rcpts int64) {
	r := &m.ahead
	if !r.asked {
		return 0, 0
	}
	first, most, free := m.bounds(now, func(l *layer) ([]*window.Window, int64) { return l.msgs, l.heldMsgs + l.theirMsgs })
	r.size = r.resize(r.size, first, most, now)
	msgs = max(0, min(r.size, m.polite(free))-r.left)
	if m.countsRcpts() {
		first, most, free = m.bounds(now, func(l *layer) ([]*window.Window, int64) { return l.rcpts, l.heldRcpts + l.theirRcpts })
		r.sizeRcpts = r.resize(r.sizeRcpts, first, most, now)
		// What one message needs, the other processes cannot have half of.
		rcpts = max(0, max(min(r.sizeRcpts, m.polite(free)), min(r.wantRcpts, free))-r.rcpts)
	}
	return msgs, rcpts
}

func (r *reservation) resize(size, first, most, now int64) int64 {
	switch lasted := now - r.grown; {
	case size == 0:
		size = first
	case lasted < int64(quick) && size < small:
		size *= 2
	case lasted < int64(quick):
		size *= max(2, min(leap, int64(quick)/max(1, lasted)))
	case lasted > int64(slow):
		size /= 2
	}
	return max(first, min(size, most))
}

// bounds returns the size of a first reservation, of the largest, and what the
// limits leave for one. A crash costs the largest at most: a hundredth of a
// quota, ten if that is less. Of a rate it costs more, since that is over in a
// moment.
func (m *mailbox) bounds(now int64, of func(*layer) ([]*window.Window, int64)) (first, most, free int64) {
	first, most, free = math.MaxInt64, math.MaxInt64, math.MaxInt64
	add := func(l *layer, shared bool) {
		windows, held := of(l)
		for _, w := range windows {
			c := w.Rate.Count
			if w.Rate.Per < longPeriod {
				first, most = min(first, max(1, c/4)), min(most, max(1, c/4))
			} else {
				first, most = min(first, max(1, min(10, c/50))), min(most, max(10, c/100))
			}
			if shared {
				free = min(free, w.Free(now, held))
			}
		}
	}
	add(&m.all, true)
	if first == math.MaxInt64 {
		for _, a := range m.list {
			add(&a.layer, false)
		}
	}
	if first == math.MaxInt64 {
		// Only other kinds of limits: the number is of no account.
		first, most = 100, 10000
	}
	return first, most, free
}

// polite is what of free slots this process stores ahead: others may want some too.
func (m *mailbox) polite(free int64) int64 {
	if m.foreign != nil && free < math.MaxInt64 {
		return (free + 1) / 2
	}
	return free
}

// grewBy takes over what a write has stored ahead, and serves who waits.
func (m *mailbox) grewBy(msgs, rcpts, now int64) {
	r := &m.ahead
	if msgs > 0 || rcpts > 0 {
		r.grown, r.used = now, now
	}
	r.left += msgs
	r.rcpts += rcpts
	m.answer(nil)
	m.dispatch(now)
}

// answer ends the wait for a write.
func (m *mailbox) answer(err error) {
	r := &m.ahead
	r.asked, r.wantRcpts = false, 0
	for _, ch := range r.next {
		ch <- err
	}
	r.next = nil
}

// refuse answers the messages that wait for a write that failed.
func (m *mailbox) refuse(err error, now int64) {
	m.answer(err)
	if m.lends(now) {
		return
	}
	for a := m.first(now); a != nil; a = m.first(now) {
		w := a.head
		a.dequeue(w)
		w.ch <- err
	}
}
