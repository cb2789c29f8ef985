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
	"sync"
	"time"

	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/upstreampool/pace"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// pool holds the connections of one mailbox at one upstream, what was learned
// of it, and the messages that wait for a connection. Accounts that send
// through one mailbox share it, as they share the provider's patience. Its lock
// is held for a few memory operations and never over I/O; the limiter's locks
// are taken under it.
type pool struct {
	up  *upstream
	key string // the mailbox, folded

	lim    limits.Account
	holder limits.Holder

	mu   sync.Mutex
	dead bool // dropped from the shard; look it up again
	pins int  // uses under way
	cfg  *settings

	only *account            // of most mailboxes there is one
	more map[string]*account // the others

	// Idle connections, most recently used first.
	idleHead, idleTail *conn
	nIdle              int
	conns              int // open, opening and closing
	live               smtpclient.Live
	dialing            int
	renewed            int64 // connections opened until then are not lent again

	waitHead, waitTail *waiter
	nWait              int
	places             []*waiter // who will open a connection itself
	making             int       // connections that close for those
	owed               bool      // the next that comes back is another's

	adapt    pace.Pace
	starving bool // in the upstream's starved list
	timer    *time.Timer
	timerAt  int64
	wake     func()

	recalled bool // other nodes need connections
	kept     int  // those that stay meanwhile

	warmedAt int64
}

func newPool(u *upstream, key string) *pool {
	p := &pool{up: u, key: key}
	p.wake = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.dead {
			return
		}
		p.yield()
		p.dispatch(clock())
	}
	return p
}

// recall closes idle connections until no more than keep are open, and has busy
// ones closed when they come back; a negative number ends that.
func (p *pool) recall(keep int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	if p.recalled = keep >= 0; !p.recalled {
		p.dispatch(clock())
		return
	}
	p.kept = keep
	over := p.conns - keep
	p.dropIdle(func(*conn) bool { over--; return over >= 0 })
}

// find returns the account of that name, nil if it has not sent yet.
func (p *pool) find(name string) *account {
	if p.only != nil && p.only.name == name {
		return p.only
	}
	return p.more[name]
}

func (p *pool) keep(ac *account) {
	switch {
	case p.only == nil:
		p.only, p.lim = ac, ac.lim
		p.holder = ac.lim.Holder()
		p.holder.OnRecall(p.recall)
		p.holder.OnEnd(p.live.Cut)
	case p.more == nil:
		p.more = map[string]*account{ac.name: ac}
	default:
		p.more[ac.name] = ac
	}
}

// size returns the number of accounts that have sent.
func (p *pool) size() int {
	if p.only == nil {
		return 0
	}
	return 1 + len(p.more)
}

// configure takes over another configuration.
func (p *pool) configure(s *settings) {
	changed := p.cfg != nil && p.cfg.identity != s.identity
	p.cfg = s
	if p.lim != nil {
		p.adapt.Configure(p.lim.MaxConns())
	}
	if changed {
		p.adapt.Forgive()
		p.dropIdle(func(c *conn) bool { return c.identity != s.identity })
	}
}

// renew has every connection that is open now replaced: the credentials are
// others.
func (p *pool) renew(now int64) {
	p.renewed = now
	p.adapt.Forgive()
	p.dropIdle(func(*conn) bool { return true })
}

// unused reports whether the pool may be dropped, as far as its own lock shows.
func (p *pool) unused() bool { return p.pins == 0 && p.conns == 0 && p.nWait == 0 }

// empty reports whether the pool holds nothing that a new one would not.
func (p *pool) empty(now int64) bool {
	return p.unused() && !p.starving && len(p.places) == 0 && p.adapt.Calm(now)
}

// close gives the limiter's handles back. The pool is dead.
func (p *pool) close() {
	p.stopTimer()
	if p.only != nil {
		p.holder.Close()
		p.only.lim.Close()
	}
	for _, ac := range p.more {
		ac.lim.Close()
	}
}

// pushIdle makes c the first connection to be lent.
func (p *pool) pushIdle(c *conn) {
	c.prev, c.next = nil, p.idleHead
	if p.idleHead != nil {
		p.idleHead.prev = c
	} else {
		p.idleTail = c
	}
	p.idleHead = c
	c.idle = true
	p.nIdle++
	c.armExpiry(p.cfg.idleTimeout)
}

func (p *pool) unlink(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		p.idleHead = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		p.idleTail = c.prev
	}
	c.prev, c.next = nil, nil
	c.idle = false
	p.nIdle--
}

// popIdle takes the most recently used connection that may still be lent to the
// account.
func (p *pool) popIdle(ac *account, now int64) *conn {
	for c := p.idleHead; c != nil; {
		next := c.next
		if !p.lendable(c, now) {
			p.unlink(c)
			p.retire(c)
		} else if ac.fits(c) {
			p.unlink(c)
			return c
		}
		c = next
	}
	return nil
}

func (p *pool) lendable(c *conn, now int64) bool {
	return now < c.retireAt && now-c.idleSince < int64(p.cfg.idleTimeout) &&
		c.messages < p.cfg.maxMessages && c.opened > p.up.drained.Load() &&
		c.identity == p.cfg.identity && c.opened > p.renewed
}

// dropIdle retires the idle connections that match.
func (p *pool) dropIdle(match func(*conn) bool) {
	for c := p.idleHead; c != nil; {
		next := c.next
		if match(c) {
			p.unlink(c)
			p.retire(c)
		}
		c = next
	}
}

// retire closes a connection politely, off the caller's path. Its slots are
// free when the provider has nothing left to count.
func (p *pool) retire(c *conn) {
	u := p.up
	u.closing.Begin()
	select {
	case u.quits <- struct{}{}:
		go func() {
			defer u.closing.End()
			c.Quit(u.quitWithin())
			<-u.quits
			p.closed(c)
		}()
	default:
		// Too many wait for their 221: this one goes without.
		go func() {
			defer u.closing.End()
			c.Abandon()
			p.closed(c)
		}()
	}
}

// discard closes a connection that is broken or in doubt.
func (p *pool) discard(c *conn) {
	c.Abandon()
	p.closed(c)
}

// closed gives back the slots of a connection that is closed.
func (p *pool) closed(c *conn) {
	c.stopExpiry()
	p.leave()
}

// yield closes a connection for others of the mailbox, here or in another process,
// as soon as there is one that no message needs.
func (p *pool) yield() {
	debt := p.holder.Yield()
	if debt == limits.NoDebt {
		return
	}
	if c := p.idleTail; c != nil {
		p.unlink(c)
		p.retire(c)
		return
	}
	p.owed = p.owed || debt == limits.OwesOne
}

// left gives back the place of a connection that is closed.
func (p *pool) left() {
	p.holder.Free()
	p.mu.Lock()
	p.conns--
	p.making = max(0, p.making-1)
	p.owed = false
	p.dispatch(clock())
	drop := p.unused()
	p.mu.Unlock()
	if drop {
		p.up.forget(p)
	}
}

// expired runs when the connection's timer fires.
func (p *pool) expired(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.timerArmed = false
	if !c.idle {
		return
	}
	now := clock()
	left := min(c.retireAt, c.idleSince+int64(p.cfg.idleTimeout)) - now
	if left <= 0 || p.up.current.Load() == nil {
		p.unlink(c)
		p.retire(c)
		return
	}
	c.armExpiry(time.Duration(left))
}

// wakeAt has dispatch run at a time.
func (p *pool) wakeAt(at, now int64) {
	if p.timerAt != 0 && p.timerAt <= at && p.timerAt > now {
		return
	}
	p.timerAt = at
	d := time.Duration(max(at-now, 0))
	if p.timer == nil {
		p.timer = time.AfterFunc(d, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.timerAt = 0
			if p.dead {
				return
			}
			p.dispatch(clock())
			if p.unused() {
				go p.up.forget(p) // which takes the shard's lock first
			}
		})
		return
	}
	p.timer.Reset(d)
}

func (p *pool) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
		p.timerAt = 0
	}
}
