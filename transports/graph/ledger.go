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
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

const (
	// lingering is how long a request without a clear answer keeps its place:
	// it may be running yet at the provider and count there.
	lingering = time.Minute
	// maxWaiting bounds the messages of a mailbox that wait.
	maxWaiting = 100
)

// ledger is what the mailboxes of one upstream have used. It lives as long as
// the process, so that a reload forgets nothing; a restart does.
type ledger struct {
	mu      sync.Mutex
	boxes   map[string]*box
	sweepAt int
}

var (
	ledgersMu sync.Mutex
	ledgers   = make(map[string]*ledger)
)

// ledgerOf returns the ledger of an upstream.
func ledgerOf(upstream string) *ledger {
	ledgersMu.Lock()
	defer ledgersMu.Unlock()
	l := ledgers[upstream]
	if l == nil {
		l = &ledger{boxes: make(map[string]*box), sweepAt: 1024}
		ledgers[upstream] = l
	}
	return l
}

// box is one mailbox. The ledger's lock covers it: nothing under it waits.
type box struct {
	busy  int
	held  time.Time     // nothing is sent until then
	log   []*event      // oldest first
	keep  time.Duration // the longest period of a limit: how far back log goes
	queue []*waiter     // in the order of arrival
}

// event is a message that counts, with its recipients.
type event struct {
	at    time.Time
	rcpts int64
}

// waiter is a message that waits; it is woken when it may have become the first
// or when a place is free.
type waiter struct{ wake chan struct{} }

// rules are the limits of one account at its mailbox. The account's own apply
// on top of the upstream's.
type rules struct {
	conns           int
	messages, rcpts []accounts.Rate
}

func (t *Transport) rules(a *accounts.Account) rules {
	r := rules{
		conns:    t.MaxConnsPerAccount,
		messages: []accounts.Rate{t.RatePerAccount, t.MessagesPerAccount},
		rcpts:    []accounts.Rate{t.RecipientsPerAccount},
	}
	if l := a.Limits; l != nil {
		if l.MaxConns > 0 {
			r.conns = min(r.conns, l.MaxConns)
		}
		r.messages = append(r.messages, l.Rate, l.Messages)
		r.rcpts = append(r.rcpts, l.Recipients)
	}
	none := func(r accounts.Rate) bool { return r.IsZero() }
	r.messages, r.rcpts = slices.DeleteFunc(r.messages, none), slices.DeleteFunc(r.rcpts, none)
	return r
}

// place is a message's place at its mailbox.
type place struct {
	l    *ledger
	b    *box
	e    *event
	rule rules
}

// box returns the mailbox of a; the caller holds the lock.
func (l *ledger) box(a *accounts.Account) *box {
	key := strings.ToLower(a.Mailbox)
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
		if n := len(b.log); b.busy == 0 && len(b.queue) == 0 && now.After(b.held) && (n == 0 || now.Sub(b.log[n-1].at) > b.keep) {
			delete(l.boxes, key)
		}
	}
	l.sweepAt = 2*len(l.boxes) + 1024
}

// enter waits for a place of the mailbox, no longer than max_wait.
func (l *ledger) enter(ctx context.Context, t *Transport, a *accounts.Account) (*place, time.Duration, error) {
	start := time.Now()
	deadline := start.Add(time.Duration(t.MaxWait))
	rule := t.rules(a)
	l.mu.Lock()
	b := l.box(a)
	for _, limit := range slices.Concat(rule.messages, rule.rcpts) {
		b.keep = max(b.keep, limit.Per)
	}
	if len(b.queue) >= maxWaiting {
		l.mu.Unlock()
		return nil, 0, relay.ReplyNoConnection
	}
	w := &waiter{wake: make(chan struct{}, 1)}
	b.queue = append(b.queue, w)
	for {
		now := time.Now()
		until := deadline
		if b.queue[0] == w {
			free, reply := b.free(rule, now)
			switch {
			case !free.After(now) && b.busy < rule.conns:
				p := &place{l: l, b: b, e: &event{at: now}, rule: rule}
				b.busy++
				b.log = append(b.log, p.e)
				l.dequeue(b, w)
				l.mu.Unlock()
				return p, now.Sub(start), nil
			case free.After(deadline):
				l.dequeue(b, w)
				l.mu.Unlock()
				return nil, now.Sub(start), reply
			case free.After(now):
				until = free
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
			l.dequeue(b, w)
			l.mu.Unlock()
			return nil, time.Since(start), relay.ReplyNoConnection
		}
	}
}

// dequeue takes a waiter out and wakes who is the first now.
func (l *ledger) dequeue(b *box, w *waiter) {
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

// free says when the next message may go, and why not now.
func (b *box) free(r rules, now time.Time) (time.Time, *relay.Reply) {
	if b.held.After(now) {
		return b.held, relay.ReplyQuota("The provider asked this mailbox to wait; its allowance is", b.held.Sub(now))
	}
	at, what := now, ""
	for _, limit := range r.messages {
		if next := b.next(limit, now, func(*event) int64 { return 1 }, 1); next.After(at) {
			at, what = next, "Message limit "+limit.String()
		}
	}
	for _, limit := range r.rcpts {
		if next := b.next(limit, now, (*event).recipients, 1); next.After(at) {
			at, what = next, "Recipient limit "+limit.String()
		}
	}
	return at, relay.ReplyQuota(what, at.Sub(now))
}

func (e *event) recipients() int64 { return e.rcpts }

// next says when n more fit under the limit.
func (b *box) next(limit accounts.Rate, now time.Time, count func(*event) int64, n int64) time.Time {
	b.forget(now)
	var used int64
	for i := len(b.log) - 1; i >= 0; i-- {
		e := b.log[i]
		if now.Sub(e.at) >= limit.Per {
			break
		}
		if used += count(e); used+n > limit.Count {
			return e.at.Add(limit.Per)
		}
	}
	return now
}

// forget drops what no limit can count any longer.
func (b *box) forget(now time.Time) {
	i := 0
	for i < len(b.log) && now.Sub(b.log[i].at) > b.keep {
		i++
	}
	b.log = slices.Delete(b.log, 0, i)
}

// recipient counts one more, or says why not.
func (p *place) recipient() *relay.Reply {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	now := time.Now()
	for _, limit := range p.rule.rcpts {
		if at := p.b.next(limit, now, (*event).recipients, 1); at.After(now) {
			return relay.ReplyQuota("Recipient limit "+limit.String(), at.Sub(now))
		}
	}
	p.e.rcpts++
	return nil
}

// leave gives the place back. A message that was not sent does not count.
func (p *place) leave(out outcome) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if !out.sent && !out.unknown {
		p.b.log = slices.DeleteFunc(p.b.log, func(e *event) bool { return e == p.e })
	}
	if out.hold > 0 {
		if until := time.Now().Add(out.hold); until.After(p.b.held) {
			p.b.held = until
		}
	}
	if out.unknown {
		time.AfterFunc(lingering, func() {
			p.l.mu.Lock()
			defer p.l.mu.Unlock()
			p.b.busy--
			p.b.wake()
		})
	} else {
		p.b.busy--
	}
	p.b.wake()
}

// fill adds what the upstream's status says of all mailboxes.
func (l *ledger) fill(st *relay.UpstreamStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.Accounts = len(l.boxes)
	for _, b := range l.boxes {
		st.Connections.Busy += b.busy
		st.Waiting += len(b.queue)
	}
}

// account adds what is left to an account.
func (l *ledger) account(t *Transport, a *accounts.Account, st *relay.AccountStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boxes[strings.ToLower(a.Mailbox)]
	if b == nil {
		b = new(box)
	}
	now := time.Now()
	rule := t.rules(a)
	st.Connections.Busy, st.Waiting, st.MaxConns, st.Concurrency = b.busy, len(b.queue), rule.conns, rule.conns
	if b.held.After(now) {
		held := b.held
		st.LoginsResume = &held
	}
	add := func(what string, limits []accounts.Rate, count func(*event) int64) {
		for _, limit := range limits {
			s := relay.LimitStatus{Counts: what, Limit: limit}
			for _, e := range b.log {
				if now.Sub(e.at) < limit.Per {
					s.Used += count(e)
				}
			}
			s.Remaining = max(0, limit.Count-s.Used)
			if s.Remaining == 0 {
				next := b.next(limit, now, count, 1)
				s.NextFree = &next
			}
			st.Limits = append(st.Limits, s)
		}
	}
	add("messages", rule.messages, func(*event) int64 { return 1 })
	add("recipients", rule.rcpts, (*event).recipients)
}
