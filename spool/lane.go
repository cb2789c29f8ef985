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

package spool

import (
	"context"
	"time"

	"github.com/caddymail/mailgateway/internal/order"
)

// lane is the messages of one account. Those that may be tried are in order, so that
// nobody looks at all of them: thousands of one account cost the others nothing.
type lane struct {
	account string
	count   int                  // messages, those that are held or tried too
	ready   order.Heap[*message] // due, in the order in which they came
	later   order.Heap[*message] // by when they are due
	ends    order.Heap[*message] // of both, by when they are given up: that waits for no account's trouble
	busy    bool
	last    time.Time // the end of its last turn
	until   time.Time // nothing is tried before: it was the account's trouble
	at      time.Time // when it has something to do, while it sleeps
	place   order.Place
}

func newLane(account string) *lane {
	return &lane{
		account: account,
		ready:   order.New(byArrival, func(m *message) *order.Place { return &m.inQueue }),
		later:   order.New(func(a, b *message) bool { return a.dueAt.Before(b.dueAt) }, func(m *message) *order.Place { return &m.inQueue }),
		ends:    order.New(func(a, b *message) bool { return a.since.Before(b.since) }, func(m *message) *order.Place { return &m.inEnds }),
	}
}

func byArrival(a, b *message) bool { return a.env.ID < b.env.ID }

// remove takes a message out of the order.
func (l *lane) remove(m *message) {
	if m.waits {
		l.later.Remove(m)
	} else {
		l.ready.Remove(m)
	}
	l.ends.Remove(m)
}

// insert puts a message in order. One that is due when its time is over already, since
// something else keeps it from being given up, waits for that alone.
func (l *lane) insert(m *message, end, now time.Time) {
	m.dueAt = m.due()
	if m.waits = m.dueAt.After(now); m.waits {
		l.later.Add(m)
	} else {
		l.ready.Add(m)
	}
	if !m.dueAt.After(end) {
		l.ends.Add(m)
	}
}

// due returns the lanes to serve now, marked as busy, and when to look again.
func (e *engine) due(now time.Time) (due []*lane, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait = time.Hour
	if e.closing || e.store.Illness() != nil || e.alone {
		return nil, wait
	}
	if e.suspects = e.suspect(now); e.suspects != nil {
		// The lanes at work end after their message.
		if e.running == 0 {
			e.alone = true
			due = append(due, e.occupy(e.suspects, now))
		}
		return due, wait
	}
	for l, ok := e.asleep.First(); ok && !l.at.After(now); l, ok = e.asleep.First() {
		e.settle(l, now)
	}
	// Whose last turn is longest ago is next; the lane that ends wakes the loop.
	for e.running < maxAttempts {
		l, ok := e.waiting.First()
		if !ok {
			break
		}
		due = append(due, e.occupy(l, now))
	}
	e.crowded = e.waiting.Len() > 0
	if l, ok := e.asleep.First(); ok {
		wait = min(wait, l.at.Sub(now))
	}
	return due, wait
}

// occupy marks a lane as busy. The lock is held.
func (e *engine) occupy(l *lane, now time.Time) *lane {
	l.busy = true
	e.running++
	e.settle(l, now)
	return l
}

// settle puts a lane among those that wait for their turn, or sleep until something of
// theirs is due. Every change of a lane ends here. The lock is held.
func (e *engine) settle(l *lane, now time.Time) {
	if l.at.IsZero() {
		e.waiting.Remove(l)
	} else {
		e.asleep.Remove(l)
		l.at = time.Time{}
	}
	if l.busy {
		return
	}
	if l.count == 0 {
		delete(e.lanes, l.account)
		return
	}
	switch m, at := e.first(l, now); {
	case m == nil: // all are held, or being tried
	case at.After(now):
		l.at = at
		e.asleep.Add(l)
	default:
		e.waiting.Add(l)
	}
}

// suspect returns a lane whose next message was under way when a process ended. It
// is tried alone, so that what dies of it is known: messages that were only under
// way beside it are not to be held for that. The lock is held.
func (e *engine) suspect(now time.Time) *lane {
	for m := range e.doubtful {
		if l := m.lane; !l.busy {
			if first, at := e.first(l, now); first == m && !at.After(now) {
				return l
			}
		}
	}
	return nil
}

// first returns the lane's next message, and when it is due: of those that are due now
// the one that came first. The account's trouble makes them wait, but not past the time
// at which they are given up. The lock is held.
func (e *engine) first(l *lane, now time.Time) (first *message, at time.Time) {
	for m, ok := l.later.First(); ok && !m.dueAt.After(now); m, ok = l.later.First() {
		l.later.Remove(m)
		m.waits = false
		l.ready.Add(m)
	}
	first, ok := l.ready.First()
	if !ok {
		if first, ok = l.later.First(); !ok {
			return nil, time.Time{}
		}
		at = first.dueAt
	}
	if !l.until.After(now) {
		return first, later(at, now)
	}
	end := l.until
	if m, ok := l.ends.First(); ok && e.expiry(m).Before(end) {
		first, end = m, e.expiry(m)
	}
	return first, later(later(at, end), now)
}

// serve tries what is due of one lane, one message after the other, until others
// wait for the place.
func (e *engine) serve(ctx context.Context, l *lane) {
	defer func() {
		e.mu.Lock()
		now := time.Now()
		l.busy, l.last = false, now
		e.running--
		if e.suspects == l {
			e.suspects, e.alone = nil, false
		}
		e.settle(l, now)
		e.mu.Unlock()
		e.wake()
	}()
	for first := true; ctx.Err() == nil; first = false {
		t, ok := e.gens.Current()
		if !ok {
			return
		}
		e.mu.Lock()
		now := time.Now()
		m, at := e.first(l, now)
		if m == nil || at.After(now) || e.closing || !first && (e.suspects != nil || e.crowded || m.open > 0) {
			e.mu.Unlock()
			return
		}
		e.occupied(m)
		e.mu.Unlock()
		until := e.attempt(ctx, t, m)
		e.mu.Lock()
		if until.After(l.until) {
			l.until = until
		}
		e.free(m)
		e.mu.Unlock()
		if e.store.Illness() != nil {
			return
		}
	}
}
