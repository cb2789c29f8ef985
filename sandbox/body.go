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

package sandbox

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

// body takes a message in as it streams.
type body struct {
	h      hash.Hash
	size   int64
	max    int64
	last   byte
	bareCR bool
	bareLF bool
	hashed bool
	kept   []byte
	keep   bool

	fault   Fault // what is to happen amid the body
	faulted bool
}

func (b *body) begin(c *conn) {
	h := b.h
	if h == nil {
		h = sha256.New()
	}
	h.Reset()
	*b = body{h: h, max: c.st.maxSize, hashed: !c.st.app.NoHash, keep: c.st.app.KeepBodies}
	b.fault, b.faulted = c.s.faults.Take("body", c.event(0))
}

func (b *body) write(p []byte) {
	if len(p) == 0 {
		return
	}
	b.size += int64(len(p))
	if b.size > b.max {
		return
	}
	if b.hashed {
		b.h.Write(p)
		b.scan(p)
	}
	if b.keep {
		b.kept = append(b.kept, p...)
	}
}

// scan looks for CR and LF that stand alone.
func (b *body) scan(p []byte) {
	if b.last == '\r' && p[0] != '\n' {
		b.bareCR = true
	}
	prev := b.last
	b.last = p[len(p)-1]
	crlf := 0
	lf := bytes.Count(p, []byte("\n"))
	if lf > 0 {
		crlf = bytes.Count(p, []byte("\r\n"))
	}
	cr := bytes.Count(p, []byte("\r"))
	if p[0] == '\n' && prev == '\r' {
		lf--
	}
	if b.last == '\r' {
		cr--
	}
	b.bareLF = b.bareLF || lf > crlf
	b.bareCR = b.bareCR || cr > crlf
}

// amid lets happen what is to happen amid the body.
func (b *body) amid(c *conn) error {
	if !b.faulted || b.size < b.fault.AfterBytes {
		return nil
	}
	b.faulted = false
	code, err := c.act(b.fault, "body")
	if err == nil && code != 0 {
		// A reply amid the body can only be a farewell.
		return errGraceful
	}
	return err
}

// early answers DATA and BDAT that can't be right.
func (c *conn) early() string {
	switch {
	case c.box == nil:
		return c.st.profile.authRequired
	case !c.tx.open:
		return "503 5.5.1 MAIL first"
	case len(c.tx.rcpts) == 0:
		return "554 5.5.1 No valid recipients"
	case c.st.limitAtData && c.over():
		return replyConns
	}
	return ""
}

const replyConns = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information."

// over reports whether the mailbox has too many connections.
func (c *conn) over() bool { return c.st.maxConns > 0 && c.box.Over(c.st.maxConns) }

func (c *conn) data(arg []byte) error {
	if len(arg) > 0 {
		c.reply("501 5.5.4 No parameters allowed")
		return nil
	}
	code, err := c.fault("data", 0)
	if err != nil || (code != 0 && code != 354) {
		return err
	}
	if bad := c.early(); bad != "" {
		if code == 0 {
			c.reply(bad)
		}
		return nil
	}
	if code == 0 {
		c.reply(c.st.profile.data)
	}
	c.tx.body.begin(c)
	if err := c.readDotted(); err != nil {
		return err
	}
	return c.end("DATA")
}

// readDotted reads up to CRLF.CRLF and takes the stuffed dots out
// (RFC 5321 section 4.5.2). Nothing else ends a message.
func (c *conn) readDotted() error {
	b := &c.tx.body
	bol, prev := true, byte(0)
	for {
		if _, err := c.br.Peek(1); err != nil {
			return err
		}
		p, _ := c.br.Peek(c.br.Buffered())
		if bol && p[0] == '.' {
			head, err := c.br.Peek(2)
			if err != nil {
				return err
			}
			if head[1] == '\r' {
				if head, err = c.br.Peek(3); err != nil {
					return err
				}
				if head[2] == '\n' {
					_, err = c.br.Discard(3)
					return err
				}
			}
			_, _ = c.br.Discard(1)
			bol = false
			continue
		}
		n := 0
		for n < len(p) {
			i := bytes.IndexByte(p[n:], '\n')
			if i < 0 {
				prev, bol = p[len(p)-1], false
				n = len(p)
				break
			}
			if i > 0 {
				prev = p[n+i-1]
			}
			bol = prev == '\r'
			prev = '\n'
			n += i + 1
			if bol && (n == len(p) || p[n] == '.') {
				break
			}
		}
		b.write(p[:n])
		_, _ = c.br.Discard(n)
		if err := b.amid(c); err != nil {
			return err
		}
	}
}

var chunkBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (c *conn) bdat(arg []byte) error {
	n, last, ok := parseBDAT(arg)
	if !ok {
		// How much follows is unknown, so nothing after it can be trusted.
		c.reply("501 5.5.4 Bad BDAT syntax")
		return errGraceful
	}
	if c.st.app.NoChunking {
		c.reply("502 5.5.1 BDAT not announced")
		return errGraceful
	}
	code, err := c.fault("bdat", c.tx.chunks+1)
	if err != nil && code == 0 {
		return err
	}
	bad := ""
	switch {
	case c.tx.bdatBad:
		bad = "503 5.5.1 RSET first"
	case !c.tx.bdat:
		bad = c.early()
	}
	if code != 0 && code != 250 || bad != "" {
		// The chunk has to be read all the same (RFC 3030 section 4.2).
		if err == nil {
			_, err = io.CopyN(io.Discard, c.br, n)
		}
		if code == 0 {
			c.reply(bad)
		}
		if c.tx.open && !last {
			c.tx.bdat, c.tx.bdatBad = true, true
		} else {
			c.reset()
		}
		return err
	}
	if !c.tx.bdat {
		c.tx.bdat = true
		c.tx.body.begin(c)
	}
	c.tx.chunks++
	if err := c.readChunk(n); err != nil {
		return err
	}
	if !last {
		if code == 0 {
			c.reply("250 2.0.0 " + strconv.FormatInt(n, 10) + " octets received")
		}
		return nil
	}
	if code != 0 {
		// The fault gave the final reply, and it was a good one.
		c.accept("BDAT")
		c.reset()
		return nil
	}
	return c.end("BDAT")
}

func (c *conn) readChunk(n int64) error {
	b := &c.tx.body
	if err := b.amid(c); err != nil {
		return err
	}
	for n > 0 && c.br.Buffered() > 0 {
		p, _ := c.br.Peek(int(min(n, int64(c.br.Buffered()))))
		b.write(p)
		n -= int64(len(p))
		_, _ = c.br.Discard(len(p))
		if err := b.amid(c); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	// The rest goes around the small buffer.
	buf := chunkBuffers.Get().(*[32 << 10]byte)
	defer chunkBuffers.Put(buf)
	for n > 0 {
		m, err := input{c}.Read(buf[:min(n, int64(len(buf)))])
		b.write(buf[:m])
		n -= int64(m)
		if n == 0 {
			break
		}
		if err != nil {
			return err
		}
		if err := b.amid(c); err != nil {
			return err
		}
	}
	return b.amid(c)
}

// end answers a whole message.
func (c *conn) end(framing string) error {
	defer c.reset()
	f, faulted := c.s.faults.Take("end", c.event(0))
	if faulted && f.Action != "delay" {
		return c.endFault(f, framing)
	}
	if faulted {
		if _, err := c.act(f, "end"); err != nil {
			return err
		}
	}
	switch {
	case c.tx.body.size > c.tx.body.max || c.tx.tooBig:
		c.reply(replyTooBig)
		return nil
	case c.quotaUsed():
		c.reply(c.st.profile.quota)
		return nil
	}
	if !c.throttle() {
		return errGone
	}
	id := c.accept(framing)
	c.out = append(c.out, c.st.profile.accepted...)
	c.out = strconv.AppendUint(c.out, id, 10)
	c.out = append(c.out, "\r\n"...)
	return c.ready()
}

// endFault counts the message where the fault says that it was accepted.
func (c *conn) endFault(f Fault, framing string) error {
	switch f.Action {
	case "drop_after_accept":
		c.accept(framing)
		c.kill(true)
		return errGone
	case "long_line", "endless_multiline":
		c.accept(framing)
	case "reply":
		if f.Reply[0] == '2' {
			c.accept(framing)
		}
	}
	_, err := c.act(f, "end")
	return err
}

func (c *conn) quotaUsed() bool {
	limit := c.st.app.RecipientsPerDay
	return limit > 0 && c.box.Exceeds(len(c.tx.rcpts), limit)
}

// throttle delays a message that comes too soon after others, as Microsoft
// does with what exceeds 30 in a minute.
func (c *conn) throttle() bool {
	for c.st.perMinute > 0 {
		wait := c.box.Throttle(c.st.perMinute)
		if wait == 0 {
			break
		}
		if !c.s.sleep(wait + time.Millisecond) {
			return false
		}
	}
	return true
}

// accept makes the message one that the provider has.
func (c *conn) accept(framing string) uint64 {
	m := Message{
		Time:       time.Now(),
		Conn:       c.id,
		Mailbox:    c.box.Name,
		From:       c.tx.from,
		Params:     c.tx.params,
		Rcpts:      slices.Clip(c.tx.rcpts),
		RcptParams: c.tx.rparams,
		Refused:    c.tx.refused,
		Size:       c.tx.body.size,
		Framing:    framing,
		Chunks:     c.tx.chunks,
		BareLF:     c.tx.body.bareLF,
		BareCR:     c.tx.body.bareCR || c.tx.body.last == '\r',
		Body:       c.tx.body.kept,
		Hashed:     c.tx.body.hashed,
	}
	if m.Hashed {
		c.tx.body.h.Sum(m.Sum[:0])
	}
	c.s.rec.Add(&m, c.box)
	c.messages++
	return m.ID
}
