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

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
)

// account is the state of one account at one upstream: its idle connections,
// its counted limits, and the messages that wait for either. Its lock is held
// for a few memory operations and never over I/O.
type account struct {
	up   *upstream
	name string

	mu   sync.Mutex
	dead bool // dropped from the shard; look it up again
	cfg  *settings
	rec  *accounts.Account
	id   credentials

	// Idle connections, most recently used first.
	idleHead, idleTail *conn
	nIdle              int
	conns              int // open, opening and closing
	dialing            int

	waitHead, waitTail *waiter
	nWait              int

	limits   limits
	adapt    adaptive
	starving bool // in the upstream's starved list
	timer    *time.Timer
	timerAt  int64

	warmedAt int64
	stored   *storedAccount // counted by an earlier process, until the first use
	touched  int64          // first use of a stored limit since its last write; 0: none
	fresh    usage          // what was used since, messages in held
	hasLead  bool           // what is stored runs ahead
}

// credentials are what makes a connection this account's and no other's.
type credentials struct {
	name, mailbox, secret, seed, sourceIP string
}

// grant is what the token source is asked with.
func (id credentials) grant(provider string) oauthgrant.Request {
	return oauthgrant.Request{Provider: provider, Account: id.name, Mailbox: id.mailbox, Seed: id.seed}
}

func newAccount(u *upstream, name string) *account {
	ac := &account{up: u, name: name}
	if a, ok := u.quota.take(name); ok {
		ac.stored = &a
	}
	return ac
}

// refresh takes over another configuration or another version of the record
// (nil: the one it has).
func (ac *account) refresh(s *settings, a *accounts.Account) {
	if a == nil {
		if a = ac.rec; a == nil {
			ac.cfg = s
			return
		}
	}
	id := credentials{
		name: a.Name, mailbox: a.Mailbox, secret: a.Secret,
		seed: a.RefreshToken, sourceIP: a.SourceIP,
	}
	if id.mailbox == "" {
		id.mailbox = a.Name
	}
	changed := ac.cfg != nil && ac.cfg.identity != s.identity || ac.rec != nil && id != ac.id
	ac.cfg, ac.rec, ac.id = s, a, id
	ac.limits.configure(s, a.Limits)
	if ac.stored != nil {
		ac.limits.restore(*ac.stored)
		ac.stored = nil
	}
	ac.adapt.configure(ac.limits.conns)
	if changed {
		ac.adapt.forgive()
		ac.dropIdle(func(c *conn) bool { return !ac.fits(c) })
	}
}

// fits tells whether c was opened with the identity that is in force.
func (ac *account) fits(c *conn) bool {
	return c.identity == ac.cfg.identity && c.creds == ac.id
}

// empty tells whether the state holds nothing that a new one would not.
func (ac *account) empty(now int64) bool {
	return ac.conns == 0 && ac.nWait == 0 && !ac.starving && ac.touched == 0 && !ac.hasLead &&
		ac.limits.empty(now) && ac.adapt.calm(now)
}

// pushIdle makes c the first connection to be lent.
func (ac *account) pushIdle(c *conn, now int64) {
	c.idleSince = now
	c.prev, c.next = nil, ac.idleHead
	if ac.idleHead != nil {
		ac.idleHead.prev = c
	} else {
		ac.idleTail = c
	}
	ac.idleHead = c
	c.idle = true
	ac.nIdle++
	c.armExpiry(ac.cfg.idleTimeout)
}

func (ac *account) unlink(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		ac.idleHead = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		ac.idleTail = c.prev
	}
	c.prev, c.next = nil, nil
	c.idle = false
	ac.nIdle--
}

// popIdle takes the most recently used connection that may still be lent.
func (ac *account) popIdle(now int64) *conn {
	for c := ac.idleHead; c != nil; c = ac.idleHead {
		ac.unlink(c)
		if ac.lendable(c, now) {
			return c
		}
		ac.retire(c)
	}
	return nil
}

func (ac *account) lendable(c *conn, now int64) bool {
	return now < c.retireAt && now-c.idleSince < int64(ac.cfg.idleTimeout) &&
		c.messages < ac.cfg.maxMessages && c.opened > ac.up.drained.Load() && ac.fits(c)
}

// dropIdle retires the idle connections that match.
func (ac *account) dropIdle(match func(*conn) bool) {
	for c := ac.idleHead; c != nil; {
		next := c.next
		if match(c) {
			ac.unlink(c)
			ac.retire(c)
		}
		c = next
	}
}

// retire closes a connection politely, off the caller's path. Its slots are
// free when the provider has nothing left to count.
func (ac *account) retire(c *conn) {
	u := ac.up
	u.closing.begin()
	select {
	case u.quits <- struct{}{}:
		go func() {
			defer u.closing.end()
			c.quit(quitTimeout)
			<-u.quits
			ac.closed(c)
		}()
	default:
		// Too many wait for their 221: this one goes without.
		go func() {
			defer u.closing.end()
			c.abandon()
			ac.closed(c)
		}()
	}
}

// discard closes a connection that is broken or in doubt.
func (ac *account) discard(c *conn) {
	c.abandon()
	ac.closed(c)
}

// closed gives back the slots of a connection that is closed.
func (ac *account) closed(c *conn) {
	c.stopExpiry()
	ac.up.unreserve()
	ac.mu.Lock()
	ac.conns--
	ac.dispatch(clock())
	drop := ac.conns == 0 && ac.nWait == 0
	ac.mu.Unlock()
	if drop {
		ac.up.forget(ac)
	}
}

// expired runs when the connection's timer fires.
func (ac *account) expired(c *conn) {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	c.timerArmed = false
	if !c.idle {
		return
	}
	now := clock()
	left := min(c.retireAt, c.idleSince+int64(ac.cfg.idleTimeout)) - now
	if left <= 0 || ac.up.current.Load() == nil {
		ac.unlink(c)
		ac.retire(c)
		return
	}
	c.armExpiry(time.Duration(left))
}

// failWaiters answers the first n waiting messages.
func (ac *account) failWaiters(n int, err *relay.Reply) {
	for ; n > 0 && ac.waitHead != nil; n-- {
		w := ac.waitHead
		ac.dequeue(w)
		w.ch <- grant{err: err}
	}
}

// wakeAt has dispatch run at a time.
func (ac *account) wakeAt(at, now int64) {
	if ac.timerAt != 0 && ac.timerAt <= at && ac.timerAt > now {
		return
	}
	ac.timerAt = at
	d := time.Duration(max(at-now, 0))
	if ac.timer == nil {
		ac.timer = time.AfterFunc(d, func() {
			ac.mu.Lock()
			defer ac.mu.Unlock()
			ac.timerAt = 0
			if ac.dead {
				return
			}
			ac.dispatch(clock())
			if ac.conns == 0 && ac.nWait == 0 {
				go ac.up.forget(ac) // which takes the shard's lock first
			}
		})
		return
	}
	ac.timer.Reset(d)
}

func (ac *account) stopTimer() {
	if ac.timer != nil {
		ac.timer.Stop()
		ac.timerAt = 0
	}
}
