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
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// replyBuffer holds the replies of one flight of the usual length; relay puts
// longer lines together.
const replyBuffer = 1 << 10

// endTimeout is how long a provider has to close a connection after its 221.
const endTimeout = time.Second

// recentUse is how long after its last use a connection is lent without asking
// the socket: what died in between is replaced on the first flight.
const recentUse = 250 * time.Millisecond

// conn is one authenticated connection. Between acquire and release it belongs
// to one message; while it is idle, to its account.
type conn struct {
	ac       *account
	s        *settings // of the message that it carries
	slot     limits.Slot
	waited   bool // the message that it carries had to wait for it
	identity string
	creds    credentials

	tcp     net.Conn  // the socket
	nc      net.Conn  // what SMTP is spoken on: tcp, or TLS over it
	deaf    *deafConn // between TLS and tcp
	br      *bufio.Reader
	replies *relay.ReplyReader
	wbuf    []byte
	ready   readiness

	caps      caps
	deadlines deadlines

	ended     byte    // the subject digit of the last good end's enhanced code
	peeked    []byte  // taken by held or peek, for the next Read
	peekRoom  [1]byte // what peeked lies in
	messages  int
	needReset bool // an abandoned transaction is open
	suspect   bool // ask the socket whatever the time
	dialTime  time.Duration
	tokenTime time.Duration
	opening   *relay.Opening
	opened    int64
	retireAt  int64

	// Owned by the account, under its lock.
	idle       bool
	idleSince  int64
	prev, next *conn
	timer      *time.Timer
	timerArmed bool

	closeOnce sync.Once
}

// arm sets the time that is left for what follows: the writes, and all of the
// replies together.
func (c *conn) arm(d time.Duration) error {
	return c.deadlines.set(c.tcp, time.Now(), d, max(d, c.s.dataTimeout))
}

// armContext is arm within the context's deadline.
func (c *conn) armContext(ctx context.Context, d time.Duration) error {
	if t, ok := ctx.Deadline(); ok {
		if left := time.Until(t); left < d {
			d = max(left, time.Millisecond)
		}
	}
	return c.arm(d)
}

func (c *conn) write(b []byte) error {
	_, err := c.nc.Write(b)
	return err
}

// command sends one line and reads its reply.
func (c *conn) command(line []byte) (int, error) {
	if !c.silent() {
		return 0, errUnasked
	}
	return c.exchange(line)
}

// exchange is command where the connection is known to be silent.
func (c *conn) exchange(line []byte) (int, error) {
	if err := c.write(line); err != nil {
		return 0, err
	}
	return c.replies.Read()
}

// usable tells whether the connection, idle until now, is alive as far as the
// socket knows. Anything to read is a goodbye: a 421, the end of TLS, the end.
func (c *conn) usable(now int64, forced bool) bool {
	if c.messages == 0 && !c.suspect && !forced && now-c.opened < int64(recentUse) {
		return true
	}
	if !forced && !c.suspect && now-c.idleSince < int64(recentUse) {
		return true
	}
	if c.buffered() || !c.ready.quiet() {
		return false
	}
	c.suspect = false
	return true
}

// abandon closes the socket without a word: the SMTP way to abort whatever is
// under way.
func (c *conn) abandon() {
	c.closeOnce.Do(func() {
		// TLS must not try to say goodbye on a connection that may be stuck.
		_ = c.tcp.Close()
	})
}

// quit says QUIT, waits for the answer within d and closes.
func (c *conn) quit(d time.Duration) {
	c.closeOnce.Do(func() {
		defer c.tcp.Close()
		if c.ready.quiet() && c.deadlines.set(c.tcp, time.Now(), d, d) == nil {
			if c.write([]byte("QUIT\r\n")) == nil {
				if _, err := c.replies.Read(); err == nil {
					c.awaitEnd(min(d, endTimeout))
				}
			}
		}
	})
}

// awaitEnd waits for the provider to close, which it does after its 221 (RFC 5321
// section 4.1.1.10). Until then it counts the connection.
func (c *conn) awaitEnd(d time.Duration) {
	if c.deadlines.set(c.tcp, time.Now(), d, d) == nil {
		_, _ = c.br.ReadByte()
	}
	if c.nc != c.tcp {
		_ = c.nc.Close() // close_notify
	}
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
		c.timer = time.AfterFunc(d, func() { c.ac.expired(c) })
		return
	}
	c.timer.Reset(d)
}

func (c *conn) stopExpiry() {
	c.ac.mu.Lock()
	defer c.ac.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
}

// timedOut tells whether err is a deadline's.
func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
