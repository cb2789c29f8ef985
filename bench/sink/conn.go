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

package sink

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
)

// session is one session at the sink. It allocates nothing per message.
type session struct {
	sink     *Sink
	conn     net.Conn
	buf      []byte // buf[r:w] is what was read and not used
	r, w     int
	out      []byte
	body     []byte // BDAT chunks gathered so far
	readAt   time.Time
	delay    time.Duration
	account  int
	secure   bool
	inMail   bool // MAIL was accepted
	inRcpt   bool
	inFlight bool // replies of a transaction are in out
}

func (c *session) close() {
	_ = c.conn.Close()
	if cap(c.buf) == 16<<10 {
		buffers.Put(c.buf[:16<<10]) //nolint:staticcheck // once per connection
	}
}

// flush sends the replies, a round trip after what they answer.
func (c *session) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if c.inFlight {
		c.inFlight = false
		c.sink.run.Load().flights.Add(1)
		if c.delay > 0 {
			time.Sleep(c.delay - time.Since(c.readAt))
		}
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// fill reads more, after it has sent what is owed.
func (c *session) fill() error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		if len(c.buf) >= 64<<20 {
			return io.ErrShortBuffer
		}
		bigger := make([]byte, 2*len(c.buf))
		copy(bigger, c.buf[:c.w])
		c.buf = bigger
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		if c.delay = c.sink.policy.Load().RTT; c.delay > 0 {
			c.readAt = time.Now()
		}
		return nil
	}
	return err
}

// line returns the next line without its end; it is valid until the next read.
func (c *session) line() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(c.buf[c.r+scanned:c.w], '\n'); i >= 0 {
			end := c.r + scanned + i
			l := c.buf[c.r:end]
			c.r = end + 1
			return bytes.TrimSuffix(l, []byte{'\r'}), nil
		}
		scanned = c.w - c.r
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *session) reply(s string) { c.out = append(c.out, s...) }

// session is the command loop.
func (c *session) serve() {
	c.buf = buffers.Get().([]byte)
	c.account = -1
	c.reply("220 " + Name + " ESMTP bench sink\r\n")
	for {
		l, err := c.line()
		if err != nil {
			return
		}
		verb, _, _ := bytes.Cut(l, []byte{' '})
		switch string(bytes.ToUpper(verb[:min(len(verb), 8)])) {
		case "MAIL":
			p := c.sink.policy.Load()
			if p.BlackHoleEvery > 0 && c.account >= 0 && c.account%p.BlackHoleEvery == 1 {
				_, _ = io.Copy(io.Discard, c.conn) // until the client goes
				return
			}
			c.inMail, c.inRcpt, c.inFlight = true, false, true
			c.reply("250 2.1.0 sender ok\r\n")
		case "RCPT":
			if !c.inMail {
				c.reply("503 5.5.1 MAIL first\r\n")
				continue
			}
			c.inRcpt, c.inFlight = true, true
			c.reply("250 2.1.5 recipient ok\r\n")
		case "DATA":
			if !c.inRcpt {
				c.reply("503 5.5.1 RCPT first\r\n")
				continue
			}
			if err := c.data(); err != nil {
				return
			}
		case "BDAT":
			if err := c.bdat(string(l)); err != nil {
				return
			}
		case "EHLO", "HELO":
			c.reply("250-" + Name + "\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SIZE 104857600\r\n")
			if c.secure {
				c.reply("250 AUTH XOAUTH2 OAUTHBEARER PLAIN LOGIN\r\n")
			} else {
				c.reply("250 STARTTLS\r\n")
			}
		case "STARTTLS":
			c.reply("220 2.0.0 go ahead\r\n")
			if c.flush() != nil {
				return
			}
			c.conn, c.secure, c.r, c.w = tls.Server(c.conn, c.sink.tls), true, 0, 0
		case "AUTH":
			if err := c.auth(string(l)); err != nil {
				return
			}
		case "RSET":
			c.inMail, c.inRcpt = false, false
			c.body = c.body[:0]
			c.reply("250 2.0.0 flushed\r\n")
		case "NOOP":
			c.reply("250 2.0.0 ok\r\n")
		case "QUIT":
			c.reply("221 2.0.0 bye\r\n")
			_ = c.flush()
			return
		default:
			c.reply("500 5.5.2 what?\r\n")
		}
	}
}

// data reads a dot-terminated body and answers it.
func (c *session) data() error {
	c.reply("354 go on\r\n")
	c.inFlight = true
	scanned := 0
	for {
		b := c.buf[c.r:c.w]
		if bytes.HasPrefix(b, []byte(".\r\n")) {
			c.r += 3
			c.final(nil)
			return nil
		}
		from := max(0, scanned-4)
		if i := bytes.Index(b[from:], []byte("\r\n.\r\n")); i >= 0 {
			end := from + i + 2
			c.r += end + 3
			c.final(message.Unstuff(b[:end]))
			return nil
		}
		scanned = len(b)
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// bdat reads one chunk (RFC 3030 section 2).
func (c *session) bdat(l string) error {
	f := strings.Fields(l)
	if len(f) < 2 {
		c.reply("501 5.5.4 BDAT wants a size\r\n")
		return nil
	}
	n, err := strconv.Atoi(f[1])
	if err != nil || n < 0 || n > 64<<20 {
		c.reply("501 5.5.4 bad size\r\n")
		return io.ErrUnexpectedEOF // where the chunk ends is unknown now
	}
	last := len(f) == 3 && strings.EqualFold(f[2], "LAST")
	for c.w-c.r < n {
		// Replies that are owed (MAIL, RCPT) leave with the chunk's own: a
		// server that waited here would be one that got another flight.
		if err := c.fillChunk(n); err != nil {
			return err
		}
	}
	chunk := c.buf[c.r : c.r+n]
	c.r += n
	c.inFlight = true
	switch {
	case !c.inRcpt:
		c.reply("503 5.5.1 RCPT first\r\n")
	case last && len(c.body) == 0:
		c.final(chunk)
	case last:
		c.body = append(c.body, chunk...)
		c.final(c.body)
	default:
		c.body = append(c.body, chunk...)
		c.reply("250 2.0.0 chunk ok\r\n")
	}
	return nil
}

// fillChunk reads on without sending the replies, so that a flight is
// answered as one.
func (c *session) fillChunk(n int) error {
	held := c.out
	c.out = nil
	if need := n - (c.w - c.r); c.w+need > len(c.buf) {
		bigger := make([]byte, max(len(c.buf), n+(8<<10)))
		c.w = copy(bigger, c.buf[c.r:c.w])
		c.r, c.buf = 0, bigger
	}
	err := c.fill()
	c.out = held
	return err
}

// final counts the message and says so.
func (c *session) final(msg []byte) {
	ok := c.sink.deliver(msg)
	c.inMail, c.inRcpt, c.inFlight = false, false, true
	c.body = c.body[:0]
	if ok {
		c.reply("250 2.0.0 counted\r\n")
	} else {
		c.reply("554 5.6.0 not what was sent\r\n")
	}
}

// auth accepts any credentials and notes whose they are.
func (c *session) auth(l string) error {
	f := strings.Fields(l)
	if len(f) < 2 {
		c.reply("501 5.5.4 AUTH wants a mechanism\r\n")
		return nil
	}
	ask := func() (string, error) {
		c.reply("334 \r\n")
		b, err := c.line()
		return string(b), err
	}
	var blob string
	var err error
	if len(f) > 2 {
		blob = f[2]
	} else if blob, err = ask(); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		c.reply("501 5.5.2 not base64\r\n")
		return nil
	}
	switch strings.ToUpper(f[1]) {
	case "LOGIN":
		c.account = message.AccountNumber(string(raw))
		if _, err := ask(); err != nil {
			return err
		}
	case "PLAIN":
		if p := strings.Split(string(raw), "\x00"); len(p) == 3 {
			c.account = message.AccountNumber(p[1])
		}
	default: // XOAUTH2: user=NAME^Aauth=..., OAUTHBEARER: n,a=NAME,^A...
		head, _, _ := strings.Cut(string(raw), "\x01")
		head = strings.TrimSuffix(strings.TrimPrefix(head, "n,a="), ",")
		c.account = message.AccountNumber(strings.TrimPrefix(head, "user="))
	}
	c.sink.run.Load().logins.Add(1)
	c.reply("235 2.7.0 welcome\r\n")
	return nil
}

func parseRun(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

func RunName(id uint32) string { return fmt.Sprint(id) }
