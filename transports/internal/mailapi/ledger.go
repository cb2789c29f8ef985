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

package mailapi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
// limiter's, which stores it and has the connections: each request is one. The
// order of messages, and who was asked to wait, are kept here: across reloads, but
// no longer than the process.
type ledger struct {
	gens generation.Stack[*Upstream]

	// own is the limiter, unless the counts are those of another upstream.
	ownMu sync.Mutex
	own   *limits.Local
	// uploads count octets, unless they are another upstream's too.
	uploads *limits.Local

	mu      sync.Mutex
	boxes   map[string]*box
	held    time.Time // no mailbox sends until then
	sweepAt int

	contact atomic.Value // of relay.Contact: what the last request came to
}

var (
	ledgersMu sync.Mutex
	ledgers   = make(map[string]*ledger)
)

func newLedger() *ledger { return &ledger{boxes: make(map[string]*box), sweepAt: 1024} }

// ledgerOf returns the ledger of an upstream.
func ledgerOf(name string) *ledger {
	ledgersMu.Lock()
	defer ledgersMu.Unlock()
	l := ledgers[name]
	if l == nil {
		l = newLedger()
		ledgers[name] = l
	}
	return l
}

// limits is what the limiter needs to know.
func (u *Upstream) limits() limits.Config {
	return limits.Config{Limits: u.Limits, Storage: u.Storage, Lender: u.lender, Logger: u.Logger}
}

// limiter returns what counts for u: the limiter of the upstream whose ledger it
// shares, which is nil as long as that has not started, or its own.
func (l *ledger) limiter(u *Upstream) limits.Limiter {
	if u.shared != nil {
		return u.shared.Limiter()
	}
	l.ownMu.Lock()
	defer l.ownMu.Unlock()
	if l.own == nil {
		l.own = limits.NewLocal(u.name, u.limits())
	}
	return l.own
}

// attach puts the limits of u in force.
func (l *ledger) attach(u *Upstream) {
	l.gens.Attach(u, func(bool) { l.enforce(u) })
}

// detach takes u back. With the last generation what is counted is stored; it
// stays, should the upstream be configured again.
func (l *ledger) detach(u *Upstream) {
	l.gens.Detach(u, func(now *Upstream, last bool) {
		if !last {
			l.enforce(now)
			return
		}
		l.ownMu.Lock()
		own, uploads := l.own, l.uploads
		l.ownMu.Unlock()
		for _, lim := range []*limits.Local{own, uploads} {
			if lim != nil {
				lim.Shut()
			}
		}
	})
}

// enforce puts the limits of u in force where they are its own.
func (l *ledger) enforce(u *Upstream) {
	if u.shared == nil {
		l.limiter(u).Configure(u.limits())
	}
	if u.Upload > 0 {
		l.uploadLimiter(u).Configure(u.uploadLimits())
	}
}

// box is one mailbox. The ledger's lock covers it: nothing under it waits.
type box struct {
	busy      int
	reserving int       // messages that ask the limiter
	held      time.Time // nothing is sent until then
	strikes   int       // how often in a row that was asked
	refused   string    // the last answer that was about the mailbox, until a message is taken
	queue     []*waiter // in the order of arrival
	seat      *seat     // nil: no message is here
}

// seat is a mailbox as its limiter knows it. There is one as long as messages of the
// mailbox are here; after a reload with another limiter there may be two for a
// while.
type seat struct {
	limits.Holder
	of       limits.Limiter
	users    int
	requests map[*place]context.CancelCauseFunc // under way
}

// waiter is a message that waits; it is woken when it may have become the first
// or when a place is free.
type waiter struct{ wake chan struct{} }

// place is a message's place at its mailbox.
type place struct {
	l     *ledger
	b     *box
	seat  *seat
	acct  limits.Account
	slot  limits.Slot
	rcpts int64
	visit bool
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

// heldUntil is when the mailbox may send again; the caller holds the lock.
func (l *ledger) heldUntil(b *box) time.Time {
	if l.held.After(b.held) {
		return l.held
	}
	return b.held
}

// sweep drops the mailboxes that have nothing to remember; the caller holds the
// lock.
func (l *ledger) sweep() {
	now := time.Now()
	for key, b := range l.boxes {
		if b.busy+b.reserving == 0 && len(b.queue) == 0 && b.seat == nil && now.After(b.held) && b.refused == "" {
			delete(l.boxes, key)
		}
	}
	l.sweepAt = 2*len(l.boxes) + 1024
}

// enter waits for the limits and for a place of the mailbox, no longer than
// max_wait. The limits come first: a message that waits for its account's own
// must not keep a place from those of others.
func (l *ledger) enter(ctx context.Context, u *Upstream, a *accounts.Account) (*place, time.Duration, error) {
	return l.take(ctx, u, a, false)
}

// visit waits for a place of a request that is no message, and so no matter of
// limits. It is for the question whether the mailbox may send, and so does not wait
// where the mailbox was asked to.
func (l *ledger) visit(ctx context.Context, u *Upstream, a *accounts.Account) (*place, error) {
	p, _, err := l.take(ctx, u, a, true)
	return p, err
}

func (l *ledger) take(ctx context.Context, u *Upstream, a *accounts.Account, visit bool) (*place, time.Duration, error) {
	start := time.Now()
	maxWait := relay.MaxWait(ctx, u.MaxWait)
	deadline := start.Add(maxWait)
	lim := l.limiter(u)
	if lim == nil {
		return nil, 0, relay.ReplyNoConnection
	}
	l.mu.Lock()
	b := l.box(a)
	if held := l.heldUntil(b); held.After(deadline) && !visit {
		l.mu.Unlock()
		return nil, 0, replyHeld(held.Sub(start))
	}
	queued := len(b.queue)
	if queued >= maxWaiting {
		l.mu.Unlock()
		return nil, 0, relay.ReplyNoConnection
	}
	b.reserving++
	l.mu.Unlock()

	p := &place{l: l, b: b, visit: visit, acct: lim.Account(boxKey(a), strings.ToLower(a.Name), a.Limits)}
	var reply *relay.Reply
	if !visit {
		var err error
		if p.slot, err = p.acct.Reserve(ctx, limits.Request{MaxWait: maxWait, MaxWaiting: maxWaiting - queued}); err != nil {
			reply = limitReply(err)
		}
	}
	l.mu.Lock()
	b.reserving--
	if reply == nil {
		p.seat = l.sit(b, lim, p.acct)
		if reply = l.wait(ctx, p, u.Limits.MaxConns, deadline); reply != nil {
			b.rise(p.seat)
		}
	}
	l.mu.Unlock()
	if reply != nil {
		p.acct.Cancel(p.slot)
		p.acct.Close()
		return nil, time.Since(start), reply
	}
	return p, time.Since(start), nil
}

// sit returns the mailbox's seat at the limiter; the caller holds the ledger's lock.
func (l *ledger) sit(b *box, lim limits.Limiter, acct limits.Account) *seat {
	if b.seat == nil || b.seat.of != lim {
		s := &seat{Holder: acct.Holder(), of: lim, requests: make(map[*place]context.CancelCauseFunc)}
		s.OnEnd(func() { l.cut(s) })
		b.seat = s
	}
	b.seat.users++
	return b.seat
}

// rise ends what sit began; the caller holds the ledger's lock.
func (b *box) rise(s *seat) {
	if s.users--; s.users > 0 {
		return
	}
	s.Close()
	if b.seat == s {
		b.seat = nil
	}
}

// wait takes one of the mailbox's places, and a connection with it; the caller holds
// the lock, which is free while the message waits.
func (l *ledger) wait(ctx context.Context, p *place, places int, deadline time.Time) *relay.Reply {
	b, w := p.b, &waiter{wake: make(chan struct{}, 1)}
	b.queue = append(b.queue, w)
	defer b.dequeue(w)
	wake := func() {
		// No request keeps its connection: what is owed is paid at its end.
		p.seat.Yield()
		l.mu.Lock()
		defer l.mu.Unlock()
		b.wake()
	}
	for {
		now := time.Now()
		until := deadline
		if b.queue[0] == w {
			held := l.heldUntil(b)
			if p.visit {
				held = now
			}
			switch {
			case held.After(deadline):
				return replyHeld(held.Sub(now))
			case held.After(now):
				until = held
			case b.busy < places && p.seat.Take(wake):
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
	case errors.Is(err, limits.ErrNoShare):
		return relay.ReplyLimitsElsewhere
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

// lends reports whether the message may be sent yet, and over a connection. It is
// asked right before each request leaves.
func (p *place) lends() bool { return (p.visit || p.acct.Lends(&p.slot)) && p.seat.Dials() }

// wanted reports whether others wait for the place.
func (p *place) wanted() bool {
	p.l.mu.Lock()
	waits := len(p.b.queue) > 0
	p.l.mu.Unlock()
	return waits || p.seat.Wanted()
}

// leave gives the place back. A message that was not sent does not count.
func (p *place) leave(out Outcome) {
	p.learn(out)
	if out.Unknown {
		// The provider may count it until then.
		time.AfterFunc(lingering, func() { p.end(true) })
		return
	}
	p.end(out.Sent)
}

func (p *place) end(sent bool) {
	if sent {
		p.acct.Commit(p.slot, p.rcpts)
	} else {
		p.acct.Cancel(p.slot)
	}
	p.l.mu.Lock()
	p.seat.Free()
	p.b.rise(p.seat)
	p.b.busy--
	p.b.wake()
	p.l.mu.Unlock()
	p.acct.Close()
}

// fill adds what the upstream's status says of all mailboxes.
func (l *ledger) fill(st *relay.UpstreamStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.Accounts, st.Contact = len(l.boxes), relay.ContactNone
	if c, ok := l.contact.Load().(relay.Contact); ok {
		st.Contact = c
	}
	for _, b := range l.boxes {
		st.Connections.Busy += b.busy
		st.Waiting += b.reserving + len(b.queue)
	}
}

// account adds what is left to an account.
func (l *ledger) account(u *Upstream, a *accounts.Account, st *relay.AccountStatus) {
	lim := l.limiter(u)
	if lim == nil {
		return
	}
	acct := lim.Account(boxKey(a), strings.ToLower(a.Name), a.Limits)
	defer acct.Close()
	counted := acct.Status(context.Background())
	st.MaxConns = min(u.Limits.MaxConns, counted.MaxConns)
	st.Concurrency = st.MaxConns
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
	st.Connections.Busy, st.Waiting, st.LastError = b.busy, b.reserving+len(b.queue), b.refused
	if held := l.heldUntil(b); held.After(time.Now()) {
		st.LoginsResume = &held
	}
}
