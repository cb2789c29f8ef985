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

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

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
		if t.env.Refused != nil {
			return relay.Reply{}, t.env.Refused
		}
		return relay.Reply{}, relay.ReplyNoRecipients
	case ctx.Err() != nil:
		t.finish(true)
		return relay.Reply{}, relay.ReplyInternal
	}
	start := time.Now()
	defer func() { t.info.Data = time.Since(start) }()

	body = t.c.Needs(&t.env).Reader(body)
	buf, eof, err := smtpclient.ReadBody(body)
	defer func() { buf.Free() }()
	if err != nil {
		// Nothing of the body has left: the transaction is abandoned with RSET.
		t.finish(true)
		return relay.Reply{}, &smtpclient.BodyError{Err: err}
	}
	return t.transfer(ctx, buf, eof, body)
}

// transfer sends what is in buf and, unless that is all, the rest of the body.
func (t *transaction) transfer(ctx context.Context, buf *smtpclient.Body, eof bool, body io.Reader) (relay.Reply, error) {
	t.inBody = true
	out := t.c.Transfer(ctx, &t.env, buf, eof, body)
	if out.Untouched && !t.renewed {
		// The provider ended the connection before the message began: while
		// the client was slow with it, or was answered what it had not asked.
		if reply := t.again(ctx); reply != nil {
			out = smtpclient.Outcome{Err: reply}
		} else {
			out = t.c.Transfer(ctx, &t.env, buf, eof, body)
		}
	}
	if out.UnknownBDAT {
		out = t.withoutBDAT(ctx, out, buf, eof, body)
	}
	return t.conclude(out)
}

// withoutBDAT sends again with DATA what a provider has refused that does not
// know BDAT. It may have taken the chunk for commands, so the connection is not
// to be used any more; nothing was committed.
func (t *transaction) withoutBDAT(ctx context.Context, out smtpclient.Outcome, buf *smtpclient.Body, eof bool, body io.Reader) smtpclient.Outcome {
	t.c.s.Learned.NoBDAT.Store(true)
	t.c.s.Logger.Warn("the provider announces CHUNKING and does not know BDAT: bodies go with DATA from now on, as with `framing data`",
		zap.String("upstream", t.up.name), zap.Int("code", out.Reply.Code))
	if t.env.Binary() {
		return smtpclient.Lost(false)
	}
	if reply := t.again(ctx); reply != nil {
		return smtpclient.Outcome{Err: reply}
	}
	return t.c.TransferData(ctx, buf, eof, body)
}

// conclude ends the transaction with the outcome of its body.
func (t *transaction) conclude(out smtpclient.Outcome) (relay.Reply, error) {
	if t.c != nil {
		t.c.Conclude(&out)
		if out.Final {
			t.learn(out.Reply)
		}
	}
	if t.c == nil {
		t.fatal = relay.ReplyUpstreamLost // its successor never came
	}
	t.finish(out.Sound)
	switch {
	case out.Err != nil:
		return relay.Reply{}, out.Err
	case out.Reply.Positive() && out.Final:
		return *out.Reply, nil
	case out.Reply.Code >= 400:
		return *out.Reply, out.Reply
	default:
		return relay.Reply{}, relay.ReplyUpstreamProtocol
	}
}
