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

// Request is what a message asks for.
type Request struct {
	// MaxWait is how long it may wait for its turn.
	MaxWait time.Duration
	// MaxWaiting is the number of messages of the mailbox that may wait.
	MaxWaiting int
	// Conn asks for one of the mailbox's connections too, for transports
	// that have no pool of them.
	Conn bool
}

// Slot is a slot of every limit, taken for one message. It is used by one
// goroutine, and ends with Commit or Cancel.
type Slot struct {
	a     *Account
	rcpts int64
	conn  bool
}

// waiter is a message that waits for its turn.
type waiter struct {
	ch         chan error // capacity 1: dispatch never blocks
	prev, next *waiter
	order      uint64
	conn       bool
	queued     bool
}

// Reserve takes a slot of every limit for one message. Messages of an account
// are served in order of arrival, and those of a mailbox too but for accounts
// whose own limits are used up. A wait that is certain to be in vain is refused
// at once. waited is zero for a message that found its slots free.
func (a *Account) Reserve(ctx context.Context, q Request) (s Slot, waited time.Duration, err error) {
	m := a.m
	m.mu.Lock()
	m.refresh()
	now := Now()
	if m.nWait == 0 && a.open(now, q.Conn) {
		a.hold(now, q.Conn)
		m.mu.Unlock()
		return Slot{a: a, conn: q.Conn}, 0, nil
	}
	if m.nWait >= q.MaxWaiting {
		m.mu.Unlock()
		return Slot{}, 0, ErrQueueFull
	}
	if at, what := a.when(now, 1); at > now+int64(q.MaxWait) {
		m.mu.Unlock()
		return Slot{}, 0, &QuotaError{What: what, Wait: time.Duration(at - now)}
	}
	w := &waiter{ch: make(chan error, 1), conn: q.Conn}
	a.enqueue(w)
	m.dispatch(now)
	m.mu.Unlock()

	timeout := time.NewTimer(q.MaxWait)
	defer timeout.Stop()
	select {
	case err = <-w.ch:
	case <-timeout.C:
		err = a.withdraw(w)
	case <-ctx.Done():
		if err = a.withdraw(w); err == nil {
			// The grant crossed the end of the context.
			(&Slot{a: a, conn: q.Conn}).Cancel()
			err = ErrBusy
		}
	}
	waited = time.Duration(Now() - now)
	if err != nil {
		return Slot{}, waited, err
	}
	return Slot{a: a, conn: q.Conn}, max(waited, 1), nil
}

// withdraw takes the message out of the queue and says why it has waited in
// vain; nil if it was granted in this moment.
func (a *Account) withdraw(w *waiter) error {
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
	if m.durable() && !m.aheadOpen(now) {
		return ErrNotStored
	}
	return ErrBusy
}

// open reports whether a message of the account can go now.
func (a *Account) open(now int64, conn bool) bool {
	m := a.m
	return (a.max == 0 || a.busy < a.max) && (!conn || m.conns < m.maxConns) &&
		m.all.open(now) && a.layer.open(now) && m.aheadOpen(now)
}

// when returns the earliest time at which the kth message from now that is not
// waiting yet can go, and the limit that decides.
func (a *Account) when(now, k int64) (at int64, what string) {
	at, what = a.m.all.when(now, int64(a.m.nWait)+k)
	if t, w := a.layer.when(now, int64(a.nWait)+k); t > at {
		at, what = t, w
	}
	return at, what
}

func (a *Account) hold(now int64, conn bool) {
	a.busy++
	a.heldMsgs++
	a.m.all.heldMsgs++
	if conn {
		a.m.conns++
	}
	a.m.aheadTake(now, 1, 0)
}

func (a *Account) enqueue(w *waiter) {
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

func (a *Account) dequeue(w *waiter) {
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
func (m *Mailbox) first(now int64) *Account {
	var best *Account
	for _, a := range m.list {
		if a.head != nil && (best == nil || a.head.order < best.head.order) && a.open(now, a.head.conn) {
			best = a
		}
	}
	return best
}

// dispatch serves waiting messages as far as the limits go.
func (m *Mailbox) dispatch(now int64) {
	if m.nWait == 0 {
		return
	}
	for a := m.first(now); a != nil; a = m.first(now) {
		w := a.head
		a.dequeue(w)
		a.hold(now, w.conn)
		w.ch <- nil
	}
	if m.nWait == 0 {
		return
	}
	m.aheadWant(1, 1)
	var next int64
	for _, a := range m.list {
		if a.head == nil {
			continue
		}
		at, _ := m.all.when(now, 1)
		own, _ := a.layer.when(now, 1)
		if at = max(at, own); at > now && (next == 0 || at < next) {
			next = at
		}
	}
	if next != 0 {
		m.wakeAt(next, now)
	}
}

// fail answers every waiting message.
func (m *Mailbox) fail(err error) {
	for _, a := range m.list {
		for a.head != nil {
			w := a.head
			a.dequeue(w)
			w.ch <- err
		}
	}
}

// Recipients takes the slots of n recipients. It waits for a write of the store
// at most, never for a slot.
func (s *Slot) Recipients(ctx context.Context, n int64) error {
	m := s.a.m
	for {
		m.mu.Lock()
		now := Now()
		if at := max(m.all.rcptsWhen(now, n), s.a.rcptsWhen(now, n)); at > now {
			m.mu.Unlock()
			return &QuotaError{What: whatRecipients, Wait: time.Duration(at - now)}
		}
		if !m.aheadRcpts() || m.ledger.store.lends(now) && m.ahead.rcpts >= n {
			m.all.heldRcpts += n
			s.a.heldRcpts += n
			s.rcpts += n
			m.aheadTake(now, 0, n)
			m.mu.Unlock()
			return nil
		}
		written := m.aheadNext(n)
		m.mu.Unlock()
		select {
		case err := <-written:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ErrNotStored
		case <-time.After(storeTimeout):
			return ErrNotStored
		}
	}
}

// Commit ends a message whose MAIL was sent, with the recipients that count.
func (s *Slot) Commit(rcpts int64) { s.end(true, rcpts) }

// Cancel gives the slots of a message back that was never sent.
func (s *Slot) Cancel() { s.end(false, 0) }

func (s *Slot) end(sent bool, rcpts int64) {
	a := s.a
	if a == nil {
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
		m.aheadBack(0, s.rcpts-rcpts)
	} else {
		m.aheadBack(1, s.rcpts)
	}
	s.a = nil
	if s.conn {
		m.conns--
		m.connFreed()
		return
	}
	m.dispatch(now)
}
