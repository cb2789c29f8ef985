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
	"slices"
	"time"
)

// lane is the messages of one account, in the order in which they came.
type lane struct {
	account string
	queue   []*message
	busy    bool
	last    time.Time // the end of its last turn
	until   time.Time // nothing is tried before: it was the account's trouble
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
			e.suspects.busy, e.alone = true, true
			e.running++
			due = append(due, e.suspects)
		}
		return due, wait
	}
	var waiting []*lane
	for name, l := range e.lanes {
		if l.busy {
			continue
		}
		if len(l.queue) == 0 {
			delete(e.lanes, name)
			continue
		}
		switch m, at := e.first(l, now); {
		case m == nil:
		case at.After(now):
			wait = min(wait, at.Sub(now))
		default:
			waiting = append(waiting, l)
		}
	}
	// Whose last turn is longest ago is next; the lane that ends wakes the loop.
	slices.SortFunc(waiting, func(a, b *lane) int { return a.last.Compare(b.last) })
	n := min(len(waiting), maxAttempts-e.running)
	e.crowded = len(waiting) > n
	for _, l := range waiting[:n] {
		l.busy = true
		e.running++
	}
	return append(due, waiting[:n]...), wait
}

// suspect returns a lane whose next message was under way when a process ended. It
// is tried alone, so that what dies of it is known: messages that were only under
// way beside it are not to be held for that.
func (e *engine) suspect(now time.Time) *lane {
	for _, l := range e.lanes {
		if l.busy {
			continue
		}
		if m, at := e.first(l, now); m != nil && m.open > 0 && !at.After(now) {
			return l
		}
	}
	return nil
}

// first returns the lane's next message, and when it is due: of those that are due now
// the one that came first. The lock is held.
func (e *engine) first(l *lane, now time.Time) (first *message, at time.Time) {
	for _, m := range l.queue {
		if m.held != "" || m.gone || m.trying {
			continue
		}
		due := e.dueIn(l, m)
		if !due.After(now) {
			return m, due
		}
		if first == nil || due.Before(at) {
			first, at = m, due
		}
		if !at.After(l.until) {
			break // nothing is earlier, and those in front go first
		}
	}
	return first, at
}

// dueIn is when a message of a lane is due. The account's trouble makes it wait, but
// not past the time at which it is given up.
func (e *engine) dueIn(l *lane, m *message) time.Time {
	due := m.due()
	if end := e.expiry(m); l.until.After(due) && (l.until.Before(end) || due.After(end)) {
		return l.until
	} else if l.until.After(due) {
		return end
	}
	return due
}

// serve tries what is due of one lane, one message after the other, until others
// wait for the place.
func (e *engine) serve(ctx context.Context, l *lane) {
	defer func() {
		e.mu.Lock()
		l.busy, l.last = false, time.Now()
		e.running--
		if e.suspects == l {
			e.suspects, e.alone = nil, false
		}
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
		m.trying = true
		e.mu.Unlock()
		until := e.attempt(ctx, t, m)
		e.mu.Lock()
		m.trying = false
		if until.After(l.until) {
			l.until = until
		}
		e.mu.Unlock()
		if m.gone {
			e.unlink(m)
		}
		if e.store.Illness() != nil {
			return
		}
	}
}
