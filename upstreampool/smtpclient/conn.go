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

package smtpclient

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient/extensions"
)

// replyBuffer holds the replies of one flight of the usual length; relay puts
// longer lines together.
const replyBuffer = 1 << 10

// endTimeout is how long a provider has to close a connection after its 221.
const endTimeout = time.Second

// Conn is one connection to a provider. It is used by one goroutine at a time;
// Abandon alone may be called beside another method.
type Conn struct {
	cfg     *Config
	login   Login
	tcp     net.Conn  // the socket
	nc      net.Conn  // what SMTP is spoken on: tcp, or TLS over it
	deaf    *deafConn // between TLS and tcp
	br      *bufio.Reader
	replies *relay.ReplyReader
	wbuf    []byte
	ready   readiness
	early   heardAhead // what speak has read

	caps      extensions.Set
	deadlines deadlines

	ended     byte    // the subject digit of the last good end's enhanced code
	peeked    []byte  // taken by held or peek, for the next Read
	peekRoom  [1]byte // what peeked lies in
	needReset bool    // an abandoned transaction is open
	suspect   bool    // ask the socket whatever the time
	endures   bool    // see Endure
	under     bool    // an envelope or a body is under way

	closeOnce sync.Once
	live      *Live
}

// New speaks SMTP on a connection that is open already.
func New(nc net.Conn, cfg *Config) *Conn {
	c := &Conn{cfg: cfg, tcp: nc, nc: nc, endures: true}
	c.ready.init(c)
	c.br = bufio.NewReaderSize((*patient)(c), replyBuffer)
	c.replies = relay.NewReplyReader(c.br)
	return c
}

// Use has the connection follow cfg from now on: timeouts and framing. What it
// was opened with stays.
func (c *Conn) Use(cfg *Config) { c.cfg = cfg }

// LocalAddr is the address that the connection was opened from.
func (c *Conn) LocalAddr() net.Addr { return c.tcp.LocalAddr() }

// Pipelining reports whether several commands may leave in one write.
func (c *Conn) Pipelining() bool { return c.caps.Pipelining }

// Chunking reports whether the provider has BDAT.
func (c *Conn) Chunking() bool { return c.caps.Chunking }

// OneByOne gives pipelining up on this connection.
func (c *Conn) OneByOne() { c.caps.Pipelining = false }

// arm sets the time that is left for what follows: the writes, and all of the
// replies together.
func (c *Conn) arm(d time.Duration) error {
	return c.deadlines.set(c.tcp, time.Now(), d, max(d, c.cfg.DataTimeout))
}

// armContext is arm within the context's deadline.
func (c *Conn) armContext(ctx context.Context, d time.Duration) error {
	if t, ok := ctx.Deadline(); ok {
		if left := time.Until(t); left < d {
			d = max(left, time.Millisecond)
		}
	}
	return c.arm(d)
}

// send writes b. With an error, at least left octets at its end did not reach the
// system.
func (c *Conn) send(b []byte) (left int, err error) {
	if c.deaf != nil && len(b) > maxRecord {
		return c.deaf.gathered(c.nc, b)
	}
	n, err := c.nc.Write(b)
	return len(b) - n, err
}

func (c *Conn) write(b []byte) error {
	_, err := c.send(b)
	return err
}

// keep keeps a flight's buffer for the next, unless it grew out of proportion.
func (c *Conn) keep(b []byte) {
	if cap(b) <= 2<<10 {
		c.wbuf = b[:0]
	}
}

// command sends one line and reads its reply.
func (c *Conn) command(line []byte) (int, error) {
	if !c.Silent() {
		return 0, errUnasked
	}
	return c.exchange(line)
}

// exchange is command where the connection is known to be silent.
func (c *Conn) exchange(line []byte) (int, error) {
	if err := c.write(line); err != nil {
		return 0, err
	}
	return c.replies.Read()
}

// Suspect has the socket asked before the connection is used again, however
// lately it was used.
func (c *Conn) Suspect() { c.suspect = true }

// Suspected reports whether Suspect was said since Alive was asked.
func (c *Conn) Suspected() bool { return c.suspect }

// Alive reports whether the connection, idle until now, is alive as far as the
// socket knows. Anything to read is a goodbye: a 421, the end of TLS, the end.
func (c *Conn) Alive() bool {
	if c.Leftover() || !c.ready.quiet() {
		return false
	}
	c.suspect = false
	return true
}

// Abandon closes the socket without a word: the SMTP way to abort whatever is
// under way.
func (c *Conn) Abandon() {
	c.closeOnce.Do(func() {
		// TLS must not try to say goodbye on a connection that may be stuck.
		_ = c.tcp.Close()
		c.left()
	})
}

// Quit says QUIT, waits for the answer within d and closes.
func (c *Conn) Quit(d time.Duration) {
	c.closeOnce.Do(func() {
		defer c.left()
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
func (c *Conn) awaitEnd(d time.Duration) {
	if c.deadlines.set(c.tcp, time.Now(), d, d) == nil {
		_, _ = c.br.ReadByte()
	}
	if c.nc != c.tcp {
		_ = c.nc.Close() // close_notify
	}
}

// TryMail says MAIL and takes it back with RSET. Nothing but Quit may follow.
func (c *Conn) TryMail(from string) error {
	if from == "<>" {
		from = ""
	}
	e := Envelope{From: from, Opts: smtp.MailOptions{UTF8: !extensions.ASCII(from)}}
	if reply := c.CheckMail(&e); reply != nil {
		return reply
	}
	if err := c.arm(c.cfg.CommandTimeout); err != nil {
		return err
	}
	code, err := c.command(c.caps.AppendMail(nil, e.From, &e.Opts))
	if err != nil {
		return err
	}
	reply := c.Said()
	if code >= 300 {
		return reply
	}
	return c.write([]byte(reset)) // QUIT follows; nothing depends on its reply and this one's
}
