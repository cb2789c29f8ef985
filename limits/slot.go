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
	"time"
)

// waiter is a message that waits for its turn.
type waiter struct {
	ch         chan error // capacity 1: dispatch never blocks
	prev, next *waiter
	order      uint64
	queued     bool
	epoch      uint64 // of the slot that was given
}

// Reserve implements Account.
func (a *account) Reserve(ctx context.Context, q Request) (Slot, error) {
	m := a.m
	m.mu.Lock()
	m.refresh()
	epoch, now := m.local.epoch.Load(), Now()
	if m.nWait == 0 && a.open(now) && m.lends(now) {
		a.hold(now)
		m.mu.Unlock()
		return Slot{held: true, epoch: epoch}, nil
	}
	if m.local.closed.Load() {
		m.mu.Unlock()
		return Slot{}, ErrClosed
	}
	if m.nWait >= q.MaxWaiting {
		m.mu.Unlock()
		return Slot{}, ErrQueueFull
	}
	if at, what := a.when(now, 1); at > now+int64(q.MaxWait) {
		m.mu.Unlock()
		return Slot{}, &QuotaError{What: what, Wait: time.Duration(at - now)}
	}
	wait := q.MaxWait
	if wait == 0 && (a.max == 0 || a.busy < a.max) {
		// The limits have room: it is the disk that is waited for, or what other
		// processes have of them. That takes nobody's slot.
		wait = storeTimeout
	}
	w := &waiter{ch: make(chan error, 1)}
	a.enqueue(w)
	m.dispatch(now)
	limited := w.queued && !a.open(now)
	m.mu.Unlock()

	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	var err error
	select {
	case err = <-w.ch:
	case <-timeout.C:
		err = a.withdraw(w)
	case <-ctx.Done():
		if err = a.withdraw(w); err == nil {
			// The grant crossed the end of the context.
			a.Cancel(Slot{held: true})
			err = ErrBusy
		}
	}
	return Slot{Waited: time.Duration(Now() - now), Limited: limited, held: err == nil, epoch: w.epoch}, err
}

// Lends implements Account.
func (a *account) Lends(s *Slot) bool {
	l := a.m.local
	lender := l.current().Lender
	return lender == nil || s.epoch == l.epoch.Load() && Now() < lender.Until()
}

// withdraw takes the message out of the queue and says why it has waited in
// vain; nil if it was granted in this moment.
func (a *account) withdraw(w *waiter) error {
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if !w.queued {
		return <-w.ch
	}
	a.dequeue(w)
	now := Now()
	if at, what := a.when(now, 1); at > now {
		return &QuotaError{What: what, Wait: time.Duration(at - now)}
	}
	if !m.lends(now) {
		return ErrNotStored
	}
	if m.set.Lender != nil && !a.open(now) {
		return ErrNoShare
	}
	return ErrBusy
}

// open reports whether the limits let a message of the account go now.
func (a *account) open(now int64) bool {
	return (a.max == 0 || a.busy < a.max) && a.m.all.open(now) && a.layer.open(now)
}

// when returns the earliest time at which the kth message from now that is not
// waiting yet can go, and the limit that decides.
func (a *account) when(now, k int64) (at int64, what string) {
	at, what = a.m.all.when(now, int64(a.m.nWait)+k)
	if t, w := a.layer.when(now, int64(a.nWait)+k); t > at {
		at, what = t, w
	}
	return at, what
}

func (a *account) hold(now int64) {
	a.busy++
	a.heldMsgs++
	a.m.all.heldMsgs++
	a.m.take(now, 1, 0)
}

func (a *account) enqueue(w *waiter) {
	m := a.m
	m.order++
	w.order, w.queued = m.order, true
	if w.prev = a.tail; a.tail != nil {
		a.tail.next = w
	} else {
		a.head = w
	}
	a.tail = w
	a.nWait++
	m.nWait++
}

func (a *account) dequeue(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		a.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		a.tail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	a.nWait--
	a.m.nWait--
}

// first returns the account whose message is the next in turn, of those that
// can go now.
func (m *mailbox) first(now int64) *account {
	var best *account
	for _, a := range m.list {
		if a.head != nil && (best == nil || a.head.order < best.head.order) && a.open(now) {
			best = a
		}
	}
	return best
}

// dispatch serves waiting messages as far as the limits go.
func (m *mailbox) dispatch(now int64) {
	if m.nWait == 0 {
		return
	}
	epoch := m.local.epoch.Load()
	for a := m.first(now); a != nil; a = m.first(now) {
		if !m.lends(now) {
			m.want(0)
			return
		}
		w := a.head
		a.dequeue(w)
		a.hold(now)
		w.epoch = epoch
		w.ch <- nil
	}
	var next int64
	for _, a := range m.list {
		if a.head == nil {
			continue
		}
		at, _ := m.all.when(now, 1)
		own, _ := a.layer.when(now, 1)
		at = max(at, own, m.all.ownWhen(now), a.ownWhen(now))
		if at > now && (next == 0 || at < next) {
			next = at
		}
		if m.set.Lender != nil && (m.all.lacks(now) || a.lacks(now)) {
			m.kick()
		}
	}
	if next != 0 {
		m.wakeAt(next, now)
	}
}

// fail answers every waiting message.
func (m *mailbox) fail(err error) {
	m.answer(err)
	for _, a := range m.list {
		for a.head != nil {
			w := a.head
			a.dequeue(w)
			w.ch <- err
		}
	}
}

// Recipients implements Account.
func (a *account) Recipients(ctx context.Context, s *Slot, n int64) error {
	for {
		written, err := a.takeRcpts(s, n)
		if written == nil {
			return err
		}
		deadline := time.NewTimer(storeTimeout)
		select {
		case err = <-written:
		case <-ctx.Done():
			err = ErrNotStored
		case <-deadline.C:
			err = ErrNotStored
		}
		deadline.Stop()
		if err != nil {
			return err
		}
	}
}

// takeRcpts takes the slots of n recipients. If more of them have to be stored
// ahead first, the channel says when that is done.
func (a *account) takeRcpts(s *Slot, n int64) (written chan error, err error) {
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all.rcpts) == 0 && len(a.rcpts) == 0 {
		return nil, nil
	}
	now := Now()
	if at := max(m.all.rcptsWhen(now, n), a.rcptsWhen(now, n)); at > now {
		return nil, &QuotaError{What: whatRecipients, Wait: time.Duration(at - now)}
	}
	if m.set.Lender != nil && (!m.all.rcptsFree(now, n) || !a.rcptsFree(now, n)) {
		// Other nodes have the rest. The message is under way and holds what it
		// has: the recipient is tried again later.
		m.ahead.wantRcpts = max(m.ahead.wantRcpts, n)
		m.kick()
		return nil, ErrNoShare
	}
	if m.durable() && !(m.local.valid(now) && m.ahead.rcpts >= n) {
		written = make(chan error, 1)
		m.ahead.next = append(m.ahead.next, written)
		m.want(n)
		return written, nil
	}
	m.all.heldRcpts += n
	a.heldRcpts += n
	s.rcpts += n
	m.take(now, 0, n)
	return nil, nil
}

// Commit implements Account.
func (a *account) Commit(s Slot, recipients int64) { a.end(s, true, recipients) }

// Cancel implements Account.
func (a *account) Cancel(s Slot) { a.end(s, false, 0) }

func (a *account) end(s Slot, sent bool, rcpts int64) {
	if !s.held {
		return
	}
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	now := Now()
	a.busy--
	a.heldMsgs--
	m.all.heldMsgs--
	a.heldRcpts -= s.rcpts
	m.all.heldRcpts -= s.rcpts
	if sent {
		m.all.stamp(now, rcpts)
		a.stamp(now, rcpts)
		if len(m.all.rcpts)+len(a.rcpts) > 0 {
			m.untake(0, s.rcpts-rcpts)
		}
	} else {
		m.untake(1, s.rcpts)
	}
	m.dispatch(now)
}
