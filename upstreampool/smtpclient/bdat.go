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
	"context"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// Transfer sends what is in buf and, unless that is all, the rest of the body.
func (c *Conn) Transfer(ctx context.Context, e *Envelope, buf *Body, eof bool, body io.Reader) Outcome {
	c.under = false
	switch {
	case c.caps.Chunking && c.cfg.BDAT:
		return c.bdat(ctx, buf, eof, body)
	case e.Binary():
		// The provider lost CHUNKING between MAIL and here; that can't be.
		return Outcome{Err: relay.ReplyNo8BITMIME, Sound: true}
	default:
		return c.TransferData(ctx, buf, eof, body)
	}
}

// Outcome is what became of a body.
type Outcome struct {
	Reply *relay.Reply // the provider's word
	Final bool         // Reply answers the end of data
	Err   error        // instead of Reply
	Sound bool         // the connection can carry another message
	Reset bool         // the transaction is over, refused or not

	Accepted    bool // the recipient was, of Single
	Untouched   bool // the provider can't have accepted anything, and the Body is as it was
	UnknownBDAT bool // it does not know the command; the Body holds what was sent
}

// Lost is the outcome where the connection was lost; sent: after the end of data
// had left.
func Lost(sent bool) Outcome {
	if sent {
		return Outcome{Err: relay.ReplyDeliveryUnknown}
	}
	return Outcome{Err: relay.ReplyUpstreamLost}
}

// Conclude takes note of what became of the body.
func (c *Conn) Conclude(out *Outcome) {
	if out.Reply == nil {
		return
	}
	if out.Reply.Code == 421 {
		out.Sound = false
	}
	if out.Final {
		// After a refused chunk the transaction is open until RSET
		// (RFC 3030 section 2).
		c.needReset = !out.Reply.Positive() && !out.Reset
	}
	if !out.Reply.Positive() {
		c.suspect = true
	}
}

// bdat sends the body in chunks (RFC 3030). A body that ends in buf is one
// command and one write. Each chunk is acknowledged before the next is sent:
// after a refused chunk the state is indeterminate (RFC 3030 section 2), and a
// LAST could commit what is left of the message; and among the replies to
// several chunks one too many would not be seen. The next chunk is read from the
// client while the reply to the one before is under way. Where that takes long, as
// with a provider on another continent, chunks get larger.
func (c *Conn) bdat(ctx context.Context, buf *Body, eof bool, body io.Reader) Outcome {
	answered := true // the chunk before, or there is none
	far := false     // replies to chunks take long
	for first := true; ; first = false {
		if !answered {
			asked := time.Now()
			if out, ok := c.chunkReply(); !ok {
				return out
			}
			far = far || time.Since(asked) > farAway
		}
		var head [32]byte
		h := strconv.AppendInt(append(head[:0], "BDAT "...), int64(buf.n), 10)
		if eof {
			h = append(h, " LAST"...)
		}
		h = append(h, "\r\n"...)
		if err := c.armContext(ctx, c.cfg.DataTimeout); err != nil {
			return Lost(false)
		}
		tail, proved := eof && c.tail(), c.cfg.Learned.BDAT.Load()
		send := c.sayEnd
		if !eof && (!first || proved) {
			send = c.sendEnd // the reply can wait: more of the message may be there
		}
		if out, failed := send(buf.within(h, tail), tail); failed {
			out.Untouched = out.Untouched && first
			return out
		}
		if eof {
			out := c.finalReply(tail, true)
			out.Untouched = out.Untouched && first
			out.check(first && !proved, &c.cfg.Learned.BDAT)
			return out
		}
		if first && !proved {
			// The chunk is kept until the provider shows that it knows the
			// command.
			asked := time.Now()
			if out, ok := c.chunkReply(); !ok {
				out.check(true, nil)
				return out
			}
			far = time.Since(asked) > farAway
			c.cfg.Learned.BDAT.Store(true)
		} else {
			answered = false
		}
		if far && buf.class <= smallClass {
			if wide := wideBody(); wide != nil {
				defer wide.freeWide()
				buf = wide
			}
		}
		buf.n = 0
		var err error
		if eof, err = buf.fill(body); err != nil {
			// No LAST: the provider must drop what it has (RFC 3030 section 2).
			return Outcome{Err: &BodyError{err}}
		}
	}
}

// check looks at the answer to the first BDAT of an upstream.
func (out *Outcome) check(unproved bool, worked *atomic.Bool) {
	switch {
	case out.Reply == nil:
	case out.Reply.Positive() && worked != nil:
		worked.Store(true)
	case unknownVerb(out.Reply.Code):
		// Even where BDAT has worked, what was sent may have been read as commands.
		out.Sound = false
		out.UnknownBDAT = unproved
	}
}

// chunkReply reads the reply to a chunk that is not the last.
func (c *Conn) chunkReply() (Outcome, bool) {
	code, err := c.replies.Read()
	switch {
	case err != nil && errors.Is(err, relay.ErrReply):
		return Outcome{Err: relay.ReplyUpstreamProtocol}, false
	case err != nil:
		return Lost(false), false
	case code >= 400:
		// A chunk may be under way: only the end of the connection says
		// for certain that nothing of this message is a command.
		r := c.Said()
		if forgotten(r) && (c.cfg.Learned.BDAT.Load() || !unknownVerb(code)) {
			r = forgottenReply(r)
		}
		return Outcome{Reply: r}, false
	case code != 250 || c.outOfStep(c.Said()) || c.merged():
		return Outcome{Err: relay.ReplyUpstreamProtocol}, false
	}
	return Outcome{}, true
}

// finalReply reads the reply to the end of data, which was a chunk or not. With
// tail, RSET was sent behind it.
func (c *Conn) finalReply(tail, chunk bool) Outcome {
	code, err := c.replies.Read()
	if err == nil && chunk && unknownVerb(code) && !c.cfg.Learned.BDAT.Load() {
		// A refusal for each line of the chunk follows.
		return Outcome{Reply: c.Said(), Final: true}
	}
	if err != nil || code < 400 && code/10 != 25 {
		return Lost(true)
	}
	r := c.Said()
	if r.Positive() && (c.outOfStep(r) || c.merged()) {
		c.cfg.Learned.Stutters.Store(true)
		return Lost(true)
	}
	out := Outcome{Reply: r, Final: true, Sound: true}
	s := settled
	switch {
	case code == 421:
		if !tail && c.doubtful() {
			s = outOfOrder
		}
	case tail:
		s = c.settleRefusal(r.Positive())
		out.Reset = true
	default:
		s = c.settleApart(r.Positive())
		out.Reset = true
	}
	switch s {
	case ended:
		out.Sound = false
	case outOfOrder:
		return Lost(true)
	}
	if gone, yes := forgottenEnd(r); yes {
		gone.Final = true
		return gone
	}
	if r.Positive() {
		c.ended = subject(r)
	}
	return out
}

// lastWords is what follows a failed write: the provider may have said why it
// closes.
func (c *Conn) lastWords() Outcome {
	if c.arm(earlyReply) != nil {
		return Lost(false)
	}
	if code, err := c.replies.Read(); err == nil && code >= 400 {
		return Outcome{Reply: c.Said()}
	}
	return Lost(false)
}
