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
	"strconv"

	"github.com/caddymail/mailgateway/relay"
)

// Single sends a message with one recipient in one flight: MAIL, RCPT and
// `BDAT n LAST` in one write (RFC 3030 section 4.2). It reports whether that is
// possible: with PIPELINING and CHUNKING, if all of the body is there. If it is
// not, nothing was sent.
func (c *Conn) Single(ctx context.Context, e *Envelope, to *relay.Recipient, buf *Body, eof bool) (Outcome, bool) {
	if !eof || !c.caps.Pipelining || !c.caps.Chunking || !c.cfg.BDAT {
		return Outcome{}, false
	}
	c.under = false
	b := c.wbuf[:0]
	abandoned, tail := c.needReset, c.tail()
	if abandoned {
		b = append(b, reset...)
	}
	b = c.caps.AppendMail(b, e.From, &e.Opts)
	b = c.caps.AppendRcpt(b, to.To, &to.Opts)
	b = append(b, "BDAT "...)
	b = strconv.AppendInt(b, int64(buf.n), 10)
	b = append(b, " LAST\r\n"...)
	c.keep(b)
	if len(b) > headRoom {
		return Outcome{}, false
	}
	if err := c.armContext(ctx, c.cfg.DataTimeout); err != nil {
		return Lost(false), true
	}
	if out, failed := c.sayEnd(buf.within(b, tail), tail); failed {
		return out, true
	}
	return c.readSingle(e, abandoned, tail), true
}

// readSingle reads the replies to MAIL, RCPT and BDAT. The provider had all of
// the message before the first of them, so a connection that ends without a
// word leaves it in doubt: sending again could deliver twice.
func (c *Conn) readSingle(e *Envelope, abandoned, tail bool) Outcome {
	if abandoned {
		if err := c.expectReset(); err != nil {
			return c.outOf(err, 3, tail)
		}
	}
	if err := c.readMail(e); err != nil {
		return c.outOf(err, 2, tail)
	}
	var rcpt error
	if err := c.readRcpt(e, &rcpt, 1); err != nil {
		if !c.cfg.Learned.Pipelining.Load() {
			c.cfg.Learned.NoPipelining.Store(true)
		}
		return c.outOf(err, 1, tail)
	}
	c.cfg.Learned.Pipelining.Store(true)
	if rcpt == nil {
		out := c.finalReply(tail, true)
		out.Accepted = !out.Untouched
		out.check(!c.cfg.Learned.BDAT.Load(), &c.cfg.Learned.BDAT)
		return out
	}
	// The envelope was refused, so its reply is the answer, and the chunk's
	// reply says only that it has been consumed (RFC 3030 section 2).
	refusal := rcpt.(*relay.Reply) //nolint:errorlint,forcetypeassert // readRcpt puts nothing else there
	out := Outcome{Reply: refusal}
	code, err := c.replies.Read()
	switch {
	case err != nil || code == 421:
	case code < 400:
		// Either it drops the chunk with a good word, or the refusal answers
		// nothing and this is the recipient's: the count tells.
		c.needReset = true
		if !tail || c.settleRefusal(false) != settled {
			return Lost(true)
		}
		out.Sound = true
	default:
		// A provider that took the chunk for commands would have more to say:
		// the socket is asked before the next message.
		c.suspect = true
		c.needReset = true
		out.Sound = !tail || c.settle(false) == settled
	}
	return out
}

// outOf is the outcome of a flight whose replies ended early, when due were
// outstanding.
func (c *Conn) outOf(err error, due int, tail bool) Outcome {
	fe, ok := errors.AsType[*FlightError](err)
	if ok && fe.Forgot {
		// Only if the chunk was refused too is it certain that nothing was
		// accepted.
		var code int
		for ; due > 0; due-- {
			var err error
			if code, err = c.replies.Read(); err != nil {
				return Outcome{Err: relay.ReplyDeliveryUnknown}
			}
		}
		if tail {
			_, _ = c.replies.Read() // whatever a forgotten session answers to RSET
		}
		if code < 400 || c.doubtful() || c.amid() {
			return Outcome{Err: relay.ReplyDeliveryUnknown}
		}
		return Outcome{Reply: fe.Reply, Untouched: true}
	}
	if !ok || fe.Code != 421 {
		return Outcome{Err: relay.ReplyDeliveryUnknown}
	}
	if fe.Reply == nil { // to RSET
		return Outcome{Err: relay.ReplyUpstreamLost, Untouched: true}
	}
	// The goodbye in the place of the reply to MAIL: the message was refused.
	return Outcome{Reply: fe.Reply, Untouched: fe.Replies == 0}
}
