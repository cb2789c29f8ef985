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

package upstreampool

import (
	"context"
	"errors"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/meter"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// grant is what a waiting message gets: a connection, or the reply that says why
// not.
type grant struct {
	c   *conn
	err *relay.Reply
}

// waiter is a message that waits for a connection.
type waiter struct {
	ac         *account
	ch         chan grant // capacity 1: who grants never blocks
	prev, next *waiter
	queued     bool
	behind     bool // it stands behind those that are not
}

func (p *pool) enqueue(w *waiter, front bool) {
	w.queued = true
	p.nWait++
	if front {
		if w.prev, w.next = nil, p.waitHead; p.waitHead != nil {
			p.waitHead.prev = w
		} else {
			p.waitTail = w
		}
		p.waitHead = w
		return
	}
	if !w.behind {
		// What no client waits for lets it pass.
		last := p.waitTail
		for last != nil && last.behind {
			last = last.prev
		}
		if last != p.waitTail {
			p.enqueueAfter(last, w)
			return
		}
	}
	if w.prev, w.next = p.waitTail, nil; p.waitTail != nil {
		p.waitTail.next = w
	} else {
		p.waitHead = w
	}
	p.waitTail = w
}

// enqueueAfter puts a message behind another that is not the last; nil is the
// head.
func (p *pool) enqueueAfter(last, w *waiter) {
	if last == nil {
		w.prev, w.next = nil, p.waitHead
		p.waitHead = w
	} else {
		w.prev, w.next = last, last.next
		last.next = w
	}
	w.next.prev = w
}

func (p *pool) dequeue(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		p.waitHead = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		p.waitTail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	p.nWait--
}

// acquire takes a slot of every limit and a connection for one message. It
// waits in order of arrival, at most max_wait. forced asks for a certain answer
// whether a connection is alive that carried nothing yet. What it returns ends with release,
// giveBack or lost.
func (u *upstream) acquire(ctx context.Context, a *accounts.Account, forced bool) (*account, *conn, time.Duration, error) {
	s := u.current.Load()
	if s == nil {
		return nil, nil, 0, relay.ReplyShuttingDown
	}
	ac := u.account(a, s)
	began := clock()
	wait := relay.MaxWait(ctx, s.maxWait)
	if relay.IsBehind(ctx) {
		wait = 0 // a slot that it waited for would be taken from fresh mail
	}
	slot, err := ac.lim.Reserve(ctx, limits.Request{MaxWait: wait, MaxWaiting: s.maxWaiting})
	if err != nil {
		ac.done()
		return nil, nil, slot.Waited, u.limitReply(err)
	}
	c, reply := ac.lease(ctx, s, began, forced)
	waited := time.Duration(0)
	if c == nil || slot.Waited > 0 || c.waited {
		waited = time.Duration(clock() - began)
	}
	u.metrics.Wait(waited)
	if c == nil {
		ac.lim.Cancel(slot)
		ac.done()
		return nil, nil, waited, reply
	}
	if slot.Limited {
		u.metrics.Limited(meter.Waited)
	}
	c.lend(s, slot)
	return ac, c, waited, nil
}

// limitReply says to the client what the limiter refused.
func (u *upstream) limitReply(err error) *relay.Reply {
	if e, ok := errors.AsType[*limits.QuotaError](err); ok {
		u.metrics.Limited(meter.Refused)
		return relay.ReplyQuota(e.What, e.Wait)
	}
	switch {
	case errors.Is(err, limits.ErrQueueFull):
		u.metrics.Limited(meter.QueueFull)
		return relay.ReplyNoConnection
	case errors.Is(err, limits.ErrNotStored):
		return relay.ReplyLimitsNotStored
	case errors.Is(err, limits.ErrNoShare):
		return relay.ReplyLimitsElsewhere
	case errors.Is(err, limits.ErrClosed):
		return relay.ReplyShuttingDown
	}
	return relay.ReplyNoConnection
}

// lease takes a connection.
func (ac *account) lease(ctx context.Context, s *settings, began int64, forced bool) (*conn, *relay.Reply) {
	for {
		c := ac.idleConn(clock())
		if c == nil {
			return ac.wait(ctx, s, began, forced)
		}
		if c.usable(clock(), forced) {
			c.waited = false
			return c, nil
		}
		// The provider closed it while it was idle: no message knows.
		ac.discard(c)
	}
}

// idleConn takes an idle connection, unless others were here before.
func (ac *account) idleConn(now int64) *conn {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if ac.nWait > 0 {
		return nil
	}
	return ac.popIdle(ac, now)
}

// queue lets a message wait for a connection, unless that is in vain.
func (ac *account) queue(s *settings, now int64, behind bool) (*waiter, *relay.Reply) {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if ac.nWait >= s.maxWaiting {
		ac.up.metrics.Limited(meter.QueueFull)
		return nil, relay.ReplyNoConnection
	}
	if reply := ac.adapt.Refusal(now); reply != nil && ac.conns == 0 {
		ac.up.metrics.Limited(meter.Backoff)
		return nil, reply
	}
	w := &waiter{ac: ac, ch: make(chan grant, 1), behind: behind}
	ac.enqueue(w, false)
	ac.dispatch(now)
	return w, nil
}

// wait waits for a connection, until max_wait after the message's beginning.
func (ac *account) wait(ctx context.Context, s *settings, began int64, forced bool) (*conn, *relay.Reply) {
	now := clock()
	w, reply := ac.queue(s, now, relay.IsBehind(ctx))
	if reply != nil {
		return nil, reply
	}
	timeout := time.NewTimer(time.Duration(began + int64(relay.MaxWait(ctx, s.maxWait)) - now))
	defer timeout.Stop()
	renewed, late := false, false
	for {
		var g grant
		select {
		case g = <-w.ch:
		case <-timeout.C:
			late = true
			g = ac.withdraw(w, clock())
		case <-ctx.Done():
			g = ac.withdraw(w, clock())
			if g.c != nil {
				ac.putBack(g.c)
				g.c = nil
			}
			g.err = relay.ReplyNoConnection
		}
		if g.err != nil {
			return nil, g.err
		}
		if g.c.usable(clock(), forced) {
			g.c.waited = true
			return g.c, nil
		}
		// Dead: the same message is the next in turn. But a provider that ends
		// what it has just let in is not to be flooded with logins, and the
		// timer fires once only.
		opened := g.c.messages == 0 && g.c.opened >= now
		reply := ac.again(w, opened && renewed, late)
		ac.discard(g.c) // dispatches
		if reply != nil {
			return nil, reply
		}
		renewed = renewed || opened
	}
}

// again puts a message back to the head of the queue, or says why not.
func (ac *account) again(w *waiter, ended, late bool) *relay.Reply {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	switch {
	case ac.up.current.Load() == nil:
		return relay.ReplyShuttingDown
	case ended:
		ac.adapt.Failed(&smtpclient.Error{Class: smtpclient.FailLost, Stage: "ready", Reply: relay.ReplyUpstreamDown}, ac.conns-ac.dialing-1, clock())
		return relay.ReplyUpstreamDown
	case late:
		return relay.ReplyNoConnection
	}
	ac.enqueue(w, true)
	return nil
}

// withdraw takes the message out of the queue. A grant that crossed its
// decision is returned.
func (ac *account) withdraw(w *waiter, now int64) grant {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if !w.queued {
		return <-w.ch
	}
	ac.dequeue(w)
	if reply := ac.adapt.LastReply(now); reply != nil {
		return grant{err: reply}
	}
	return grant{err: relay.ReplyNoConnection}
}

// giveBack returns a connection and its slots unused.
func (ac *account) giveBack(c *conn) {
	slot := c.slot
	ac.putBack(c)
	ac.lim.Cancel(slot)
	ac.done()
}

func (p *pool) putBack(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(c, clock())
}

// usage is what a message took of its limits.
type usage struct {
	sent  bool  // MAIL left, which is when a message counts
	rcpts int64 // recipients that count
}

// release returns a connection after a message. Its connection comes back before
// its slots: a message that waits for both finds it.
func (ac *account) release(c *conn, use usage, sound bool) {
	slot := c.slot
	if sound {
		ac.putBack(c)
		ac.settle(slot, use)
	} else {
		ac.settle(slot, use)
		ac.discard(c)
	}
	ac.done()
}

// lost ends a message whose connection is gone and was not replaced.
func (ac *account) lost(slot limits.Slot, use usage) {
	ac.settle(slot, use)
	ac.leave()
	ac.done()
}

func (ac *account) settle(slot limits.Slot, use usage) {
	if use.sent {
		ac.lim.Commit(slot, use.rcpts)
	} else {
		ac.lim.Cancel(slot)
	}
}

// put makes a sound connection available again.
func (p *pool) put(c *conn, now int64) {
	c.idleSince = now
	if len(p.places) > p.making && p.conns >= p.adapt.Limit(now) {
		p.making++
		p.retire(c)
		return
	}
	if p.recalled && p.conns > p.kept {
		p.retire(c)
		return
	}
	starved := p.up.nStarved.Load() > 0 && p.nWait == 0
	if p.owed || starved || p.up.current.Load() == nil || !p.lendable(c, now) || p.orphan(c) || p.conns > p.adapt.Limit(now) && p.nWait == 0 {
		p.retire(c)
		return
	}
	p.pushIdle(c)
	if p.nWait > 0 {
		p.dispatch(now)
	}
}
