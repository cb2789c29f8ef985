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
	"io"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// send carries a message with one recipient. Where the provider has PIPELINING
// and CHUNKING and the body is small, MAIL, RCPT and `BDAT n LAST` leave in one
// write, and all of the answer takes one round trip (RFC 3030 section 4.2).
//
// The body is read before a connection is taken: a slow client occupies none.
func (u *upstream) send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	buf, eof, err := smtpclient.ReadBody(body)
	defer func() { buf.Free() }()
	if err != nil {
		return relay.Reply{}, relay.Info{Upstream: u.name}, &smtpclient.BodyError{Err: err}
	}
	t := newTransaction(u, a, from, opts)
	t.info.Refused = true // until the recipient is accepted
	if err := t.reserve(ctx, eof); err != nil {
		return relay.Reply{}, t.info, err
	}
	defer t.Abort()
	if !eof {
		relay.Watch(body, t)
	}
	if n := t.c.Needs(&t.env); n != nil {
		if reply := n.Scan(buf.Bytes()); reply != nil {
			t.info.Refused = false
			return relay.Reply{}, t.info, reply
		}
		body = n.Reader(body)
	}
	if reply := t.checkRcpt(ctx, &to); reply != nil {
		return relay.Reply{}, t.info, reply
	}
	if !t.ac.lim.Lends(&t.c.slot) {
		return relay.Reply{}, t.info, relay.ReplyLimitsNotStored
	}
	start := time.Now()
	defer func() { t.info.Data = time.Since(start) }()

	out, ok := t.single(ctx, &to, buf, eof)
	if ok && t.stale && out.Untouched {
		if reply := t.replace(ctx); reply != nil {
			t.fail(reply, nil)
			return relay.Reply{}, t.info, reply
		}
		out, ok = t.single(ctx, &to, buf, eof)
	}
	if ok && out.UnknownBDAT {
		out = t.withoutBDAT(ctx, out, buf, eof, body)
	}
	if ok {
		t.info.Refused = t.accepted == 0 && (out.Reply != nil || out.Untouched) // not what is in doubt
		reply, err := t.conclude(out)
		return reply, t.info, err
	}

	// Two flights. The recipient's slot is taken already.
	rcpts, errs := [1]relay.Recipient{to}, [1]error{smtpclient.ErrPending}
	t.flight(ctx, rcpts[:], errs[:])
	switch {
	case errs[0] != nil:
		return relay.Reply{}, t.info, errs[0]
	case t.fatal != nil: // accepted, and then a reply too many
		return relay.Reply{}, t.info, t.fatal
	}
	t.info.Refused = false
	reply, err := t.transfer(ctx, buf, eof, body)
	return reply, t.info, err
}

// single sends everything in one flight, if that is possible.
func (t *transaction) single(ctx context.Context, to *relay.Recipient, buf *smtpclient.Body, eof bool) (smtpclient.Outcome, bool) {
	out, ok := t.c.Single(ctx, &t.env, to, buf, eof)
	t.mailed = t.mailed || ok
	if out.Accepted {
		t.accept(*to)
	}
	t.learn(t.env.Refused)
	return out, ok
}
