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
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/relay"
)

// grant is what a waiting message gets: a connection and a slot of every limit,
// or the reply that says why not.
type grant struct {
	c   *conn
	err *relay.Reply
}

// waiter is a message that waits for its turn.
type waiter struct {
	ch         chan grant // capacity 1: who grants never blocks
	prev, next *waiter
	queued     bool
}

func (ac *account) enqueue(w *waiter, front bool) {
	w.queued = true
	ac.nWait++
	if front {
		if w.prev, w.next = nil, ac.waitHead; ac.waitHead != nil {
			ac.waitHead.prev = w
		} else {
			ac.waitTail = w
		}
		ac.waitHead = w
		return
	}
	if w.prev, w.next = ac.waitTail, nil; ac.waitTail != nil {
		ac.waitTail.next = w
	} else {
		ac.waitHead = w
	}
	ac.waitTail = w
}

func (ac *account) dequeue(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		ac.waitHead = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		ac.waitTail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	ac.nWait--
}

// acquire takes a slot of every limit and a connection for one message. It
// waits in order of arrival, at most max_wait. forced asks for a certain answer
// whether an idle connection is alive.
func (u *upstream) acquire(ctx context.Context, a *accounts.Account, forced bool) (*account, *conn, time.Duration, error) {
	for {
		s := u.current.Load()
		if s == nil {
			return nil, nil, 0, relay.ReplyShuttingDown
		}
		ac := u.account(a, s)
		now := clock()
		if ac.nWait > 0 || !ac.limits.open(now) {
			return ac.wait(ctx, s, now, forced) // unlocks
		}
		c := ac.popIdle(now)
		if c == nil {
			return ac.wait(ctx, s, now, forced) // unlocks
		}
		ac.limits.hold()
		ac.mu.Unlock()
		if c.usable(now, forced) {
			c.s = s
			u.metrics.wait.Observe(0)
			return ac, c, 0, nil
		}
		// The provider closed it while it was idle: no message knows.
		ac.mu.Lock()
		ac.limits.cancel()
		ac.mu.Unlock()
		ac.discard(c)
	}
}

// wait queues the message. The account is locked, and unlocked on return.
func (ac *account) wait(ctx context.Context, s *settings, now int64, forced bool) (*account, *conn, time.Duration, error) {
	u := ac.up
	if ac.nWait >= s.maxWaiting {
		ac.mu.Unlock()
		u.metrics.limited(limitedQueueFull)
		return nil, nil, 0, relay.ReplyNoConnection
	}
	// A wait that is certain to be in vain burns nobody's time.
	if at, what := ac.limits.when(now, int64(ac.nWait)+1); at > now+int64(s.maxWait) {
		ac.mu.Unlock()
		u.metrics.limited(limitedRefused)
		return nil, nil, 0, quotaReply(what, at, now)
	}
	if reply := ac.adapt.refusal(now); reply != nil && ac.conns-ac.dialing == 0 {
		ac.mu.Unlock()
		u.metrics.limited(limitedBackoff)
		return nil, nil, 0, reply
	}

	w := &waiter{ch: make(chan grant, 1)}
	ac.enqueue(w, false)
	ac.dispatch(now)
	limited := w.queued && !ac.limits.open(now)
	ac.mu.Unlock()

	timeout := time.NewTimer(s.maxWait)
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
				ac.giveBack(g.c)
				g.c = nil
			}
			g.err = relay.ReplyNoConnection
		}
		if g.err != nil {
			if limited {
				u.metrics.limited(limitedRefused)
			}
			u.metrics.wait.Observe(time.Duration(clock() - now).Seconds())
			return nil, nil, time.Duration(clock() - now), g.err
		}
		if g.c.usable(clock(), forced) {
			if limited {
				u.metrics.limited(limitedWaited)
			}
			g.c.s = s
			waited := time.Duration(clock() - now)
			u.metrics.wait.Observe(waited.Seconds())
			return ac, g.c, waited, nil
		}
		// Dead: the same message is the next in turn. But a provider that ends
		// what it has just let in is not to be flooded with logins, and the
		// timer fires once only.
		reply := (*relay.Reply)(nil)
		opened := g.c.messages == 0 && g.c.opened >= now
		ac.mu.Lock()
		ac.limits.cancel()
		switch {
		case u.current.Load() == nil:
			reply = relay.ReplyShuttingDown
		case opened && renewed:
			reply = relay.ReplyUpstreamDown
			ac.adapt.failed(&dialError{class: failLost, stage: "ready", reply: reply}, ac.conns-ac.dialing-1, clock())
		case late:
			reply = relay.ReplyNoConnection
		}
		renewed = renewed || opened
		if reply != nil {
			ac.mu.Unlock()
			ac.discard(g.c)
			return nil, nil, time.Duration(clock() - now), reply
		}
		ac.enqueue(w, true)
		ac.mu.Unlock()
		ac.discard(g.c) // dispatches
	}
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
	if at, what := ac.limits.when(now, int64(ac.nWait)+1); at > now {
		return grant{err: quotaReply(what, at, now)}
	}
	if reply := ac.adapt.lastReply(now); reply != nil {
		return grant{err: reply}
	}
	return grant{err: relay.ReplyNoConnection}
}

// giveBack returns a connection and its slots unused.
func (ac *account) giveBack(c *conn) {
	ac.mu.Lock()
	ac.limits.cancel()
	ac.put(c, clock())
	ac.mu.Unlock()
}

// usage is what a message took of its limits.
type usage struct {
	sent  bool  // MAIL left, which is when a message counts
	held  int64 // recipient slots taken
	rcpts int64 // recipients that count
}

// release returns a connection after a message.
func (ac *account) release(c *conn, use usage, sound bool) {
	now := clock()
	ac.mu.Lock()
	ac.settle(now, use)
	if sound {
		ac.put(c, now)
		ac.mu.Unlock()
		return
	}
	ac.mu.Unlock()
	ac.discard(c)
}

// lost ends a message whose connection is gone and was not replaced.
func (ac *account) lost(use usage) {
	ac.up.unreserve()
	now := clock()
	ac.mu.Lock()
	ac.settle(now, use)
	ac.conns--
	ac.dispatch(now)
	drop := ac.conns == 0 && ac.nWait == 0
	ac.mu.Unlock()
	if drop {
		ac.up.forget(ac)
	}
}

func (ac *account) settle(now int64, use usage) {
	ac.limits.heldRcpts -= use.held
	if !use.sent {
		ac.limits.cancel()
		return
	}
	if ac.limits.stamp(now, use.rcpts) {
		ac.up.quota.used(ac, 1, use.rcpts, now)
	}
}

// put makes a sound connection available again.
func (ac *account) put(c *conn, now int64) {
	c.idleSince = now
	starved := ac.up.nStarved.Load() > 0 && ac.nWait == 0
	if starved || ac.up.current.Load() == nil || !ac.lendable(c, now) || ac.conns > ac.adapt.limit(now) && ac.nWait == 0 {
		ac.retire(c)
		return
	}
	ac.pushIdle(c, now)
	if ac.nWait > 0 {
		ac.dispatch(now)
	}
}

// dispatch serves waiting messages in order of arrival, as far as limits and
// connections go, and opens the connections that the rest will need. A
// connection that comes back first serves them first.
func (ac *account) dispatch(now int64) {
	for ac.waitHead != nil {
		if !ac.limits.open(now) {
			at, _ := ac.limits.when(now, 1)
			ac.wakeAt(at, now)
			return
		}
		c := ac.popIdle(now)
		if c == nil {
			break
		}
		w := ac.waitHead
		ac.dequeue(w)
		ac.limits.hold()
		w.ch <- grant{c: c}
	}
	if ac.waitHead == nil {
		return
	}
	s := ac.up.current.Load()
	if s == nil {
		ac.failWaiters(ac.nWait, relay.ReplyShuttingDown)
		return
	}
	want := min(int64(ac.nWait), ac.limits.free(now)) - int64(ac.dialing)
	for ; want > 0 && ac.conns < ac.adapt.limit(now); want-- {
		if at := ac.adapt.nextDial(now); at > now {
			ac.wakeAt(at, now)
			return
		}
		if !ac.up.reserve(ac, s.maxConns) {
			return
		}
		ac.conns++
		ac.dialing++
		go ac.open(s, ac.id)
	}
	if at := ac.adapt.recoversAt(now); at != 0 && want > 0 {
		ac.wakeAt(at, now)
	}
}

// open dials one connection, off every message's path.
func (ac *account) open(s *settings, id credentials) {
	u := ac.up
	c, err := u.connect(context.Background(), s, ac, id)
	now := clock()
	if err == nil {
		ac.mu.Lock()
		ac.dialing--
		ac.adapt.dialed(now)
		ac.put(c, now)
		ac.mu.Unlock()
		return
	}
	if c := s.logger.Check(zap.WarnLevel, "opening upstream connection failed"); c != nil {
		fields := []zap.Field{zap.String("upstream", u.name), zap.String("account", ac.name), zap.Error(err)}
		if e, ok := (explain.About{Account: ac.name}).Of(err.Error()); ok {
			fields = append(fields, zap.String("cause", e.Cause), zap.String("remedy", e.Remedy), zap.Bool("retry_helps", e.RetryHelps))
		}
		c.Write(fields...)
	}
	u.unreserve()
	ac.mu.Lock()
	ac.dialing--
	ac.conns--
	open := ac.conns - ac.dialing
	ac.adapt.failed(err, open, now)
	if open == 0 {
		// Nothing else can serve them but the dials still under way: this
		// one's share of those who wait gets its answer. Dialing on for them
		// would keep them here until their time is up.
		ac.failWaiters((ac.nWait+ac.dialing)/(ac.dialing+1), err.reply)
	} else {
		ac.dispatch(now)
	}
	drop := ac.conns == 0 && ac.nWait == 0
	ac.mu.Unlock()
	if drop {
		u.forget(ac)
	}
}
