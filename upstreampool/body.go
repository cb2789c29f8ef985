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
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

const (
	// smallBody is what is read before the first body byte is sent: a message
	// that ends within it leaves in one piece.
	smallBody = 256 << 10
	// headRoom is kept free in front of a body for the commands before it.
	headRoom = 1 << 10
	// earlyReply is how long a provider that stopped reading gets to say why.
	earlyReply = time.Second
)

// Body buffers come in three sizes, so that a small message occupies little.
var bodySizes = [...]int{16 << 10, 64 << 10, smallBody}

var bodyPools [len(bodySizes)]sync.Pool

// bodyBuffer holds headRoom free bytes and then a body, or a part of one.
type bodyBuffer struct {
	class int
	b     []byte // the whole buffer
	n     int    // bytes of body
}

func newBodyBuffer(class int) *bodyBuffer {
	if v := bodyPools[class].Get(); v != nil {
		buf := v.(*bodyBuffer)
		buf.n = 0
		return buf
	}
	return &bodyBuffer{class: class, b: make([]byte, headRoom+bodySizes[class])}
}

func (b *bodyBuffer) free() { bodyPools[b.class].Put(b) }

func (b *bodyBuffer) body() []byte { return b.b[headRoom : headRoom+b.n] }

// grow returns a buffer of the next size with the same body.
func (b *bodyBuffer) grow() *bodyBuffer {
	next := newBodyBuffer(b.class + 1)
	next.n = copy(next.b[headRoom:], b.body())
	b.free()
	return next
}

// with returns the body with a command in front, without copying it.
func (b *bodyBuffer) with(head []byte) []byte {
	start := headRoom - len(head)
	copy(b.b[start:], head)
	return b.b[start : headRoom+b.n]
}

// readBody reads until the body ends or smallBody is full.
func readBody(body io.Reader) (buf *bodyBuffer, eof bool, err error) {
	buf = newBodyBuffer(0)
	for {
		if headRoom+buf.n == len(buf.b) {
			if buf.class == len(bodySizes)-1 {
				return buf, false, nil
			}
			buf = buf.grow()
		}
		if eof, err = buf.fill(body); eof || err != nil {
			return buf, eof, err
		}
	}
}

// fill reads until the buffer is full.
func (b *bodyBuffer) fill(body io.Reader) (eof bool, err error) {
	for idle := 0; headRoom+b.n < len(b.b); {
		n, err := body.Read(b.b[headRoom+b.n:])
		b.n += n
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is a broken body
			return true, nil
		case err != nil:
			return false, err
		case n == 0:
			if idle++; idle > 100 {
				return false, io.ErrNoProgress
			}
		default:
			idle = 0
		}
	}
	return false, nil
}

// bodyError is a body whose Read failed: the client's own trouble. It wraps the
// reply that the reader chose, if it chose one.
type bodyError struct{ err error }

func (e *bodyError) Error() string   { return "reading the message: " + e.err.Error() }
func (e *bodyError) Unwrap() []error { return []error{e.err, relay.ReplyInternal} }

// Data implements relay.Transaction. It may return before the body has been
// read to its end.
func (t *transaction) Data(ctx context.Context, body io.Reader) (relay.Reply, error) {
	switch {
	case t.done && t.fatal == nil:
		return relay.Reply{}, relay.ReplyBadSequence
	case t.fatal != nil:
		return relay.Reply{}, t.fatal
	case t.accepted == 0:
		t.finish(true)
		if t.refused != nil {
			return relay.Reply{}, t.refused
		}
		return relay.Reply{}, relay.ReplyNoRecipients
	case ctx.Err() != nil:
		t.finish(true)
		return relay.Reply{}, relay.ReplyInternal
	}
	start := time.Now()
	defer func() { t.info.Data = time.Since(start) }()

	buf, eof, err := readBody(body)
	defer func() { buf.free() }()
	if err != nil {
		// Nothing of the body has left: the transaction is abandoned with RSET.
		t.finish(true)
		return relay.Reply{}, &bodyError{err}
	}
	return t.transfer(ctx, buf, eof, body)
}

// transfer sends what is in buf and, unless that is all, the rest of the body.
func (t *transaction) transfer(ctx context.Context, buf *bodyBuffer, eof bool, body io.Reader) (relay.Reply, error) {
	c := t.c
	var out outcome
	switch {
	case c.caps.chunking && c.s.bdat:
		out = c.bdat(ctx, buf, eof, body)
	case t.binary():
		// The provider lost CHUNKING between MAIL and here; that can't be.
		out = outcome{err: relay.ReplyNo8BITMIME, sound: true}
	default:
		out = c.data(ctx, buf, eof, body)
	}
	return t.conclude(out)
}

func (t *transaction) binary() bool { return t.opts.Body == "BINARYMIME" }

// conclude ends the transaction with the outcome of its body.
func (t *transaction) conclude(out outcome) (relay.Reply, error) {
	if out.reply != nil && out.reply.Code == 421 {
		out.sound = false
	}
	if out.final {
		t.learn(out.reply)
		// After a refused chunk the transaction is open until RSET
		// (RFC 3030 section 2).
		t.c.needReset = !out.reply.Positive()
	}
	if out.reply != nil && !out.reply.Positive() {
		t.c.suspect = true
	}
	t.finish(out.sound)
	switch {
	case out.err != nil:
		return relay.Reply{}, out.err
	case out.reply.Positive() && out.final:
		return *out.reply, nil
	case out.reply.Code >= 400:
		return *out.reply, out.reply
	default:
		return relay.Reply{}, relay.ReplyUpstreamProtocol
	}
}

// outcome is what became of a body.
type outcome struct {
	reply *relay.Reply // the provider's word
	final bool         // reply answers the end of data
	err   error        // instead of reply
	sound bool         // the connection can carry another message

	untouched bool // the provider can't have accepted anything
}

func lost(sent bool) outcome {
	if sent {
		return outcome{err: relay.ReplyDeliveryUnknown}
	}
	return outcome{err: relay.ReplyUpstreamLost}
}

// bdat sends the body in chunks (RFC 3030). A body that ends in buf is one
// command and one write. Each chunk is acknowledged before the next is sent:
// after a refused chunk the state is indeterminate (RFC 3030 section 2), and a
// LAST could commit what is left of the message; and among the replies to
// several chunks one too many would not be seen. The next chunk is read from the
// client while the reply to the one before is under way.
func (c *conn) bdat(ctx context.Context, buf *bodyBuffer, eof bool, body io.Reader) outcome {
	for first := true; ; first = false {
		if !first {
			if out, ok := c.chunkReply(); !ok {
				return out
			}
		}
		var head [32]byte
		h := strconv.AppendInt(append(head[:0], "BDAT "...), int64(buf.n), 10)
		if eof {
			h = append(h, " LAST"...)
		}
		h = append(h, "\r\n"...)
		if err := c.armContext(ctx, c.s.dataTimeout); err != nil {
			return lost(false)
		}
		if !c.silent() {
			return c.unasked()
		}
		if err := c.write(buf.with(h)); err != nil {
			return c.lastWords()
		}
		if eof {
			return c.finalReply()
		}
		buf.n = 0
		var err error
		if eof, err = buf.fill(body); err != nil {
			// No LAST: the provider must drop what it has (RFC 3030 section 2).
			return outcome{err: &bodyError{err}}
		}
	}
}

// chunkReply reads the reply to a chunk that is not the last.
func (c *conn) chunkReply() (outcome, bool) {
	code, err := c.replies.Read()
	switch {
	case err != nil && errors.Is(err, relay.ErrReply):
		return outcome{err: relay.ReplyUpstreamProtocol}, false
	case err != nil:
		return lost(false), false
	case code >= 400:
		// A chunk may be under way: only the end of the connection says
		// for certain that nothing of this message is a command.
		return outcome{reply: c.replies.Reply()}, false
	case code != 250 || c.outOfStep(c.replies.Reply()):
		return outcome{err: relay.ReplyUpstreamProtocol}, false
	}
	return outcome{}, true
}

// finalReply reads the reply to the end of data.
func (c *conn) finalReply() outcome {
	code, err := c.replies.Read()
	if err != nil || code < 400 && code/10 != 25 || c.doubtful() {
		return lost(true)
	}
	r := c.replies.Reply()
	if r.Positive() {
		if c.outOfStep(r) {
			return lost(true)
		}
		c.ended = subject(r)
	}
	return outcome{reply: r, final: true, sound: true}
}

// lastWords is what follows a failed write: the provider may have said why it
// closes.
func (c *conn) lastWords() outcome {
	if c.arm(earlyReply) != nil {
		return lost(false)
	}
	if code, err := c.replies.Read(); err == nil && code >= 400 {
		return outcome{reply: c.replies.Reply()}
	}
	return lost(false)
}

// refusedEarly reads the reply that the provider sent in the middle of the body.
func (c *conn) refusedEarly() (outcome, bool) {
	if c.silent() {
		return outcome{}, false
	}
	out := c.lastWords()
	return out, true
}
