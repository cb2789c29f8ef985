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
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

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

	body = t.needs().reader(body)
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
	t.inBody = true
	c := t.c
	var out outcome
	switch {
	case c.caps.chunking && c.s.bdat:
		out = c.bdat(ctx, buf, eof, body)
		if out.unknownBDAT {
			out = t.withoutBDAT(ctx, out, buf, eof, body)
		}
	case t.binary():
		// The provider lost CHUNKING between MAIL and here; that can't be.
		out = outcome{err: relay.ReplyNo8BITMIME, sound: true}
	default:
		out = c.data(ctx, buf, eof, body)
	}
	return t.conclude(out)
}

// withoutBDAT sends again with DATA what a provider has refused that does not
// know BDAT. It may have taken the chunk for commands, so the connection is not
// to be used any more; nothing was committed. If the recipients are not accepted
// once more as they were, the client tries again.
func (t *transaction) withoutBDAT(ctx context.Context, out outcome, buf *bodyBuffer, eof bool, body io.Reader) outcome {
	l := t.c.s.learnt
	l.noBDAT.Store(true)
	t.c.s.logger.Warn("the provider announces CHUNKING and does not know BDAT: bodies go with DATA from now on, as with `framing data`",
		zap.String("upstream", t.up.name), zap.Int("code", out.reply.Code))
	if t.binary() || len(t.taken) != t.accepted {
		return lost(false)
	}
	rcpts := t.taken
	if reply := t.replace(ctx); reply != nil {
		return outcome{err: reply}
	}
	errs := make([]error, len(rcpts))
	for i := range errs {
		errs[i] = errPending
	}
	if err := t.envelope(ctx, rcpts, errs, true); err != nil {
		return outcome{err: lostReply(err)}
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return lost(false)
	}
	t.accepted = len(rcpts)
	return t.c.data(ctx, buf, eof, body)
}

func (t *transaction) binary() bool { return t.opts.Body == "BINARYMIME" }

// conclude ends the transaction with the outcome of its body.
func (t *transaction) conclude(out outcome) (relay.Reply, error) {
	if out.reply != nil && out.reply.Code == 421 {
		out.sound = false
	}
	if t.c != nil && out.final {
		t.learn(out.reply)
		// After a refused chunk the transaction is open until RSET
		// (RFC 3030 section 2).
		t.c.needReset = !out.reply.Positive()
	}
	if t.c != nil && out.reply != nil && !out.reply.Positive() {
		t.c.suspect = true
	}
	if t.c == nil {
		t.fatal = relay.ReplyUpstreamLost // its successor never came
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

	untouched   bool // the provider can't have accepted anything
	unknownBDAT bool // it does not know the command; buf holds what was sent
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
	answered := true // the chunk before, or there is none
	for first := true; ; first = false {
		if !answered {
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
		proved := c.s.learnt.bdat.Load()
		if eof {
			out := c.finalReply()
			out.check(first && !proved, &c.s.learnt.bdat)
			return out
		}
		if first && !proved {
			// The chunk is kept until the provider shows that it knows the
			// command.
			if out, ok := c.chunkReply(); !ok {
				out.check(true, nil)
				return out
			}
			c.s.learnt.bdat.Store(true)
		} else {
			answered = false
		}
		buf.n = 0
		var err error
		if eof, err = buf.fill(body); err != nil {
			// No LAST: the provider must drop what it has (RFC 3030 section 2).
			return outcome{err: &bodyError{err}}
		}
	}
}

// check looks at the answer to the first BDAT of an upstream.
func (out *outcome) check(unproved bool, worked *atomic.Bool) {
	switch {
	case out.reply == nil:
	case out.reply.Positive() && worked != nil:
		worked.Store(true)
	case unknownVerb(out.reply.Code):
		// Even where BDAT has worked, what was sent may have been read as commands.
		out.sound = false
		out.unknownBDAT = unproved
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
		return outcome{reply: c.said()}, false
	case code != 250 || c.outOfStep(c.said()):
		return outcome{err: relay.ReplyUpstreamProtocol}, false
	}
	return outcome{}, true
}

// finalReply reads the reply to the end of data.
func (c *conn) finalReply() outcome {
	code, err := c.replies.Read()
	if err == nil && unknownVerb(code) && !c.s.learnt.bdat.Load() {
		// A refusal for each line of the chunk follows.
		return outcome{reply: c.said(), final: true}
	}
	if err != nil || code < 400 && code/10 != 25 || c.doubtful() {
		return lost(true)
	}
	r := c.said()
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
		return outcome{reply: c.said()}
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
