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
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// send carries a message with one recipient. Where the provider has PIPELINING
// and CHUNKING and the body is small, MAIL, RCPT and `BDAT n LAST` leave in one
// write, and all of the answer takes one round trip (RFC 3030 section 4.2).
//
// The body is read before a connection is taken: a slow client occupies none.
func (u *upstream) send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	buf, eof, err := readBody(body)
	defer func() { buf.free() }()
	if err != nil {
		return relay.Reply{}, relay.Info{Upstream: u.name}, &bodyError{err}
	}
	t := &transaction{up: u, acct: a, from: from}
	if opts != nil {
		t.opts = *opts
	}
	if err := t.reserve(ctx, eof); err != nil {
		return relay.Reply{}, t.info, err
	}
	defer t.Abort()
	if reply := t.checkRcpt(ctx, &to); reply != nil {
		return relay.Reply{}, t.info, reply
	}
	start := time.Now()
	defer func() { t.info.Data = time.Since(start) }()

	out, ok := t.single(ctx, &to, buf, eof)
	if ok && t.stale && out.untouched {
		if reply := t.replace(ctx); reply != nil {
			t.fatal = reply
			t.finish(false)
			return relay.Reply{}, t.info, reply
		}
		out, ok = t.single(ctx, &to, buf, eof)
	}
	if ok {
		reply, err := t.conclude(out)
		return reply, t.info, err
	}

	// Two flights. The recipient's slot is taken already.
	rcpts, errs := [1]relay.Recipient{to}, [1]error{errPending}
	t.flight(ctx, rcpts[:], errs[:])
	switch {
	case errs[0] != nil:
		return relay.Reply{}, t.info, errs[0]
	case t.fatal != nil: // accepted, and then a reply too many
		return relay.Reply{}, t.info, t.fatal
	}
	reply, err := t.transfer(ctx, buf, eof, body)
	return reply, t.info, err
}

// single sends everything in one flight, if that is possible.
func (t *transaction) single(ctx context.Context, to *relay.Recipient, buf *bodyBuffer, eof bool) (outcome, bool) {
	c := t.c
	if !eof || !c.caps.pipelining || !c.caps.chunking || !c.s.bdat {
		return outcome{}, false
	}
	b := c.wbuf[:0]
	reset := c.needReset
	if reset {
		b = append(b, "RSET\r\n"...)
	}
	b = appendMail(b, &c.caps, t.from, &t.opts)
	b = appendRcpt(b, &c.caps, to.To, &to.Opts)
	b = append(b, "BDAT "...)
	b = strconv.AppendInt(b, int64(buf.n), 10)
	b = append(b, " LAST\r\n"...)
	c.keep(b)
	if len(b) > headRoom {
		return outcome{}, false
	}
	t.mailed = true
	if err := c.armContext(ctx, c.s.dataTimeout); err != nil {
		return lost(false), true
	}
	if !c.silent() {
		out := c.unasked()
		out.untouched = true
		return out, true
	}
	if err := c.write(buf.with(b)); err != nil {
		// A part of the flight never reached the system, so the chunk can't be
		// complete at the provider: nothing can have been accepted.
		out := c.lastWords()
		out.untouched = out.reply == nil || out.reply.Code == 421
		return out, true
	}
	return t.readSingle(reset), true
}

// readSingle reads the replies to MAIL, RCPT and BDAT. The provider had all of
// the message before the first of them, so a connection that ends without a
// word leaves it in doubt: sending again could deliver twice.
func (t *transaction) readSingle(reset bool) outcome {
	c := t.c
	if reset {
		if err := c.expectReset(); err != nil {
			return outOf(err)
		}
	}
	if err := t.readMail(); err != nil {
		return outOf(err)
	}
	var rcpt error
	if err := t.readRcpt(&rcpt, 1); err != nil {
		return outOf(err)
	}
	if rcpt == nil {
		t.accepted = 1
		return c.finalReply()
	}
	// The envelope was refused, so its reply is the answer, and the chunk's
	// reply says only that it has been consumed (RFC 3030 section 2).
	refusal := rcpt.(*relay.Reply) //nolint:errorlint,forcetypeassert // readRcpt puts nothing else there
	out := outcome{reply: refusal}
	code, err := c.replies.Read()
	if err == nil && code >= 400 && code != 421 {
		// A provider that took the chunk for commands would have more to say:
		// the socket is asked before the next message.
		c.suspect = true
		c.needReset = true
		out.sound = true
	}
	return out
}

// outOf is the outcome of a flight whose replies ended early.
func outOf(err error) outcome {
	fe, ok := errors.AsType[*flightError](err)
	if !ok || fe.code != 421 {
		return outcome{err: relay.ReplyDeliveryUnknown}
	}
	if fe.reply == nil { // to RSET
		return outcome{err: relay.ReplyUpstreamLost, untouched: true}
	}
	// The goodbye in the place of the reply to MAIL: the message was refused.
	return outcome{reply: fe.reply, untouched: fe.replies == 0}
}
