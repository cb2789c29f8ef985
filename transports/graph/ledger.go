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

package graph

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

const (
	// lingering is how long a request without a clear answer keeps its place:
	// it may be running yet at the provider and count there.
	lingering = time.Minute
	// maxWaiting bounds the messages of a mailbox that wait.
	maxWaiting = 100
)

// ledger is what the mailboxes of one upstream have used. What counts is the
// limiter's, which stores it. The requests under way, and who was asked to wait,
// are kept here: across reloads, but no longer than the process.
type ledger struct {
	limits *limits.Local
	gens   generation.Stack[*Transport]

	mu      sync.Mutex
	boxes   map[string]*box
	sweepAt int
}

var (
	ledgersMu sync.Mutex
	ledgers   = make(map[string]*ledger)
)

func newLedger(t *Transport) *ledger {
	return &ledger{limits: limits.NewLocal(t.name, t.limits()), boxes: make(map[string]*box), sweepAt: 1024}
}

// ledgerOf returns the ledger of an upstream.
func ledgerOf(t *Transport) *ledger {
	ledgersMu.Lock()
	defer ledgersMu.Unlock()
	l := ledgers[t.name]
	if l == nil {
		l = newLedger(t)
		ledgers[t.name] = l
	}
	return l
}

// limits is what the limiter needs to know.
func (t *Transport) limits() limits.Config {
	return limits.Config{
		Limits: accounts.Limits{
			MaxConns: t.MaxConnsPerAccount, Rate: t.RatePerAccount, Messages: t.MessagesPerAccount, Recipients: t.RecipientsPerAccount,
		},
		Storage: t.storage,
		Logger:  t.logger,
	}
}

// attach puts the limits of t in force.
func (l *ledger) attach(t *Transport) {
	l.gens.Attach(t, func(bool) { l.limits.Configure(t.limits()) })
}

// detach takes t back. With the last generation what is counted is stored; it
// stays, should the upstream be configured again.
func (l *ledger) detach(t *Transport) {
	l.gens.Detach(t, func(now *Transport, last bool) {
		if last {
			l.limits.Shut()
			return
		}
		l.limits.Configure(now.limits())
	})
}

// box is one mailbox. The ledger's lock covers it: nothing under it waits.
type box struct {
	busy      int
	reserving int       // messages that ask the limiter
	held      time.Time // nothing is sent until then
	queue     []*waiter // in the order of arrival
}

// waiter is a message that waits; it is woken when it may have become the first
// or when a place is free.
type waiter struct{ wake chan struct{} }

// place is a message's place at its mailbox.
type place struct {
	l     *ledger
	b     *box
	acct  limits.Account
	slot  limits.Slot
	rcpts int64
}

func boxKey(a *accounts.Account) string { return strings.ToLower(a.Mailbox) }

// box returns the mailbox of a; the caller holds the lock.
func (l *ledger) box(a *accounts.Account) *box {
	key := boxKey(a)
	b := l.boxes[key]
	if b == nil {
		if len(l.boxes) >= l.sweepAt {
			l.sweep()
		}
		b = new(box)
		l.boxes[key] = b
	}
	return b
}

// sweep drops the mailboxes that have nothing to remember; the caller holds the
// lock.
func (l *ledger) sweep() {
	now := time.Now()
	for key, b := range l.boxes {
		if b.busy+b.reserving == 0 && len(b.queue) == 0 && now.After(b.held) {
			delete(l.boxes, key)
		}
	}
	l.sweepAt = 2*len(l.boxes) + 1024
}

// enter waits for the limits and for a place of the mailbox, no longer than
// max_wait. The limits come first: a message that waits for its account's own
// must not keep a place from those of others.
func (l *ledger) enter(ctx context.Context, t *Transport, a *accounts.Account) (*place, time.Duration, error) {
	start := time.Now()
	deadline := start.Add(time.Duration(t.MaxWait))
	l.mu.Lock()
	b := l.box(a)
	if b.held.After(deadline) {
		l.mu.Unlock()
		return nil, 0, replyHeld(b.held.Sub(start))
	}
	queued := len(b.queue)
	if queued >= maxWaiting {
		l.mu.Unlock()
		return nil, 0, relay.ReplyNoConnection
	}
	b.reserving++
	l.mu.Unlock()

	p := &place{l: l, b: b, acct: l.limits.Account(boxKey(a), a.Name, a.Limits)}
	var err error
	p.slot, err = p.acct.Reserve(ctx, limits.Request{MaxWait: time.Duration(t.MaxWait), MaxWaiting: maxWaiting - queued})
	var reply *relay.Reply
	if err != nil {
		reply = limitReply(err)
	}
	l.mu.Lock()
	b.reserving--
	if reply == nil {
		reply = l.wait(ctx, b, t.MaxConnsPerAccount, deadline)
	}
	l.mu.Unlock()
	if reply != nil {
		p.acct.Cancel(p.slot)
		p.acct.Close()
		return nil, time.Since(start), reply
	}
	return p, time.Since(start), nil
}

// wait takes one of the places at b; the caller holds the lock, which is free
// while the message waits.
func (l *ledger) wait(ctx context.Context, b *box, places int, deadline time.Time) *relay.Reply {
	w := &waiter{wake: make(chan struct{}, 1)}
	b.queue = append(b.queue, w)
	defer b.dequeue(w)
	for {
		now := time.Now()
		until := deadline
		if b.queue[0] == w {
			switch {
			case b.held.After(deadline):
				return replyHeld(b.held.Sub(now))
			case b.held.After(now):
				until = b.held
			case b.busy < places:
				b.busy++
				return nil
			}
		}
		l.mu.Unlock()
		timer := time.NewTimer(time.Until(until))
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		l.mu.Lock()
		if ctx.Err() != nil || !time.Now().Before(deadline) {
			return relay.ReplyNoConnection
		}
	}
}

// dequeue takes a waiter out and wakes who is the first now.
func (b *box) dequeue(w *waiter) {
	b.queue = slices.DeleteFunc(b.queue, func(o *waiter) bool { return o == w })
	b.wake()
}

// wake lets the first one in the queue look again.
func (b *box) wake() {
	if len(b.queue) > 0 {
		select {
		case b.queue[0].wake <- struct{}{}:
		default:
		}
	}
}

func replyHeld(d time.Duration) *relay.Reply {
	return relay.ReplyQuota("The provider asked this mailbox to wait; its allowance is", d)
}

// limitReply says to the client what the limiter refused.
func limitReply(err error) *relay.Reply {
	if e, ok := errors.AsType[*limits.QuotaError](err); ok {
		return relay.ReplyQuota(e.What, e.Wait)
	}
	switch {
	case errors.Is(err, limits.ErrNotStored):
		return relay.ReplyLimitsNotStored
	case errors.Is(err, limits.ErrClosed):
		return relay.ReplyShuttingDown
	}
	return relay.ReplyNoConnection
}

// recipient counts one more, or says why not.
func (p *place) recipient(ctx context.Context) *relay.Reply {
	if err := p.acct.Recipients(ctx, &p.slot, 1); err != nil {
		return limitReply(err)
	}
	p.rcpts++
	return nil
}

// leave gives the place back. A message that was not sent does not count.
func (p *place) leave(out outcome) {
	if out.hold > 0 {
		p.l.mu.Lock()
		if until := time.Now().Add(out.hold); until.After(p.b.held) {
			p.b.held = until
		}
		p.l.mu.Unlock()
	}
	if out.unknown {
		// The provider may count it until then.
		time.AfterFunc(lingering, func() { p.end(true) })
		return
	}
	p.end(out.sent)
}

func (p *place) end(sent bool) {
	if sent {
		p.acct.Commit(p.slot, p.rcpts)
	} else {
		p.acct.Cancel(p.slot)
	}
	p.acct.Close()
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.b.busy--
	p.b.wake()
}

// fill adds what the upstream's status says of all mailboxes.
func (l *ledger) fill(st *relay.UpstreamStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.Accounts = len(l.boxes)
	for _, b := range l.boxes {
		st.Connections.Busy += b.busy
		st.Waiting += b.reserving + len(b.queue)
	}
}

// account adds what is left to an account.
func (l *ledger) account(a *accounts.Account, st *relay.AccountStatus) {
	acct := l.limits.Account(boxKey(a), a.Name, a.Limits)
	defer acct.Close()
	counted := acct.Status(context.Background())
	st.MaxConns, st.Concurrency = counted.MaxConns, counted.MaxConns
	for _, c := range counted.Limits {
		s := relay.LimitStatus{Counts: c.Counts, Limit: c.Limit, Used: c.Used, Remaining: c.Remaining}
		if c.Next > 0 {
			next := time.Unix(0, c.Next)
			s.NextFree = &next
		}
		st.Limits = append(st.Limits, s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boxes[boxKey(a)]
	if b == nil {
		return
	}
	st.Connections.Busy, st.Waiting = b.busy, b.reserving+len(b.queue)
	if b.held.After(time.Now()) {
		held := b.held
		st.LoginsResume = &held
	}
}
