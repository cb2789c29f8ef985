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

	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// recentUse is how long after its last use a connection is lent without asking
// the socket: what died in between is replaced on the first flight.
const recentUse = 250 * time.Millisecond

// conn is one authenticated connection. Between acquire and release it belongs
// to one message; while it is idle, to its pool.
type conn struct {
	*smtpclient.Conn

	pool     *pool
	s        *settings // of the message that it carries
	slot     limits.Slot
	waited   bool // the message that it carries had to wait for it
	identity string
	creds    dialer.Credentials

	messages  int
	dialTime  time.Duration
	tokenTime time.Duration
	opening   *relay.Opening
	opened    int64
	retireAt  int64

	// Owned by the pool, under its lock.
	idle       bool
	idleSince  int64
	prev, next *conn
	timer      *time.Timer
	timerArmed bool
}

// dial opens a connection for the account.
func (u *upstream) dial(ctx context.Context, s *settings, ac *account, id dialer.Credentials) (*conn, *smtpclient.Error) {
	o, err := u.dialer.Dial(ctx, &s.Settings, id, ac.holder, &ac.live)
	if err != nil {
		return nil, err
	}
	now := clock()
	c := &conn{
		Conn: o.Conn, pool: ac.pool, s: s, identity: s.identity, creds: id,
		opened: now, idleSince: now, retireAt: now + int64(s.maxAge),
		tokenTime: o.TokenTime, dialTime: o.DialTime, opening: o.Opening,
	}
	if o.Token != nil && !o.Token.Expiry.IsZero() {
		// A session is not worth more than the token it began with.
		if left := time.Until(o.Token.Expiry); left > 30*time.Second && int64(left) < int64(s.maxAge) {
			c.retireAt = now + int64(left) - int64(15*time.Second)
		}
	}
	return c, nil
}

// lend has the connection carry a message under the settings.
func (c *conn) lend(s *settings, slot limits.Slot) {
	c.s, c.slot = s, slot
	c.Use(&s.Config)
}

// usable reports whether the connection, idle until now, is alive as far as is
// known without a round trip. The message looks again before its first flight, and
// replaces one that has died if it was used before: only of one that is new forced
// asks for a certain answer.
func (c *conn) usable(now int64, forced bool) bool {
	forced = forced && c.messages == 0
	if !c.Suspected() && !forced && (c.messages == 0 && now-c.opened < int64(recentUse) || now-c.idleSince < int64(recentUse)) {
		return true
	}
	return c.Alive()
}

func (c *conn) armExpiry(d time.Duration) {
	if c.timerArmed {
		return
	}
	c.timerArmed = true
	if left := time.Duration(c.retireAt - clock()); left < d {
		d = max(left, 0)
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() { c.pool.expired(c) })
		return
	}
	c.timer.Reset(d)
}

func (c *conn) stopExpiry() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
}
