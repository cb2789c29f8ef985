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

package smtpserver

import (
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/internal/stack"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/grammar"
)

// maxBatch is the number of pipelined recipients that go to the session in one
// flight.
const maxBatch = 100

// cmdMail begins a transaction (RFC 5321 section 4.1.1.2).
func (c *Conn) cmdMail(args string) {
	if !c.greeted {
		c.refuse(CauseBadSequence, relay.ReplyBadSequence, "MAIL")
		return
	}
	if !c.tx.open && !c.refresh() {
		return
	}
	opts := &c.opts
	*opts = smtp.MailOptions{}
	var from string
	bad := relay.ReplySyntax
	if path, ok := grammar.CutColon(args, "FROM", c.cfg.Strict); ok {
		from, bad = grammar.ParseMail(path, c.cfg.Strict, c.cfg.MaxSize, opts)
	}
	if bad != nil {
		c.refuseArguments("MAIL", args, bad)
		return
	}
	if c.tx.open {
		// After the arguments: what is wrong with them says more.
		c.refuse(CauseBadSequence, relay.ReplyNestedMail, "MAIL")
		return
	}
	if err := c.s.Mail(from, opts); err != nil {
		c.answer(err)
		return
	}
	c.tx = transaction{open: true, utf8: opts.UTF8}
	if !c.sent {
		stack.Room()
	}
	c.sent = true
	c.ok(relay.ReplySenderOK)
}

// refuseArguments refuses those of a MAIL or RCPT.
func (c *Conn) refuseArguments(verb, args string, bad *relay.Reply) {
	if reason := grammar.Why(verb, args, c.cfg.Strict, bad); reason != "" {
		verb += ": " + reason
	}
	c.refuse(argumentCause(bad), bad, verb)
}

// argumentCause is why the arguments of a MAIL or RCPT were refused.
func argumentCause(bad *relay.Reply) Cause {
	switch bad {
	case relay.ReplyTooBig:
		return CauseTooBig
	case relay.ReplyUnknownParameter:
		return CauseParameter
	}
	return CauseSyntax
}

func (c *Conn) parseRcpt(args string, rcpt *relay.Recipient) *relay.Reply {
	args, ok := grammar.CutColon(args, "TO", c.cfg.Strict)
	if !ok {
		return relay.ReplySyntax
	}
	to, bad := grammar.ParseRcpt(args, c.cfg.Strict, c.tx.utf8, &rcpt.Opts)
	rcpt.To = to
	return bad
}

// cmdRcpt adds a recipient (RFC 5321 section 4.1.1.3), and those that have
// been pipelined behind it.
func (c *Conn) cmdRcpt(args string) {
	if !c.tx.open {
		c.refuse(CauseBadSequence, relay.ReplyBadSequence, "RCPT")
		return
	}
	c.batch = append(c.batch[:0], relay.Recipient{})
	if bad := c.parseRcpt(args, &c.batch[0]); bad != nil {
		c.refuseArguments("RCPT", args, bad)
		return
	}
	room := c.cfg.MaxRecipients - c.tx.res.Accepted
	if room <= 0 {
		// Large lists are split by the client: no error of its (RFC 5321
		// section 4.5.3.1.10), unless there is no end of them.
		if c.tx.over++; c.tx.over > maxOvershoot && !c.junk() {
			return
		}
		c.w.reply(relay.ReplyTooManyRcpts)
		c.s.Refused(Refusal{Cause: CauseTooManyRecipients, Reply: relay.ReplyTooManyRcpts, Detail: "RCPT"})
		return
	}
	c.gatherRcpts(min(room, maxBatch))
	if c.cfg.OneFlight && len(c.batch) == 1 && c.tx.res.Tried == 0 {
		if size, ok := c.chunkFollows(); ok {
			c.whole(&c.batch[0], size)
			return
		}
	}
	c.answers = append(c.answers[:0], make([]error, len(c.batch))...)
	began := time.Now()
	c.s.Rcpt(c.batch, c.answers)
	c.w.stall.Progress(c.s.Stalled, c.cfg.Patience, began, max(0, min(len(c.batch), c.cfg.MaxRecipients-c.tx.res.Tried)))
	c.tx.res.Tried += len(c.batch)
	for _, err := range c.answers {
		if c.end != "" {
			return
		}
		if err != nil {
			c.tx.res.LastRefusal = AsReply(err)
			c.answer(err)
			continue
		}
		c.tx.res.Accepted++
		c.ok(relay.ReplyRecipientOK)
	}
}

// gatherRcpts takes the well-formed RCPT commands that have arrived already
// along (RFC 2920): they leave for the provider in one flight.
func (c *Conn) gatherRcpts(limit int) {
	for len(c.batch) < limit {
		verb, args, n := c.peekCommand()
		if verb != "RCPT" {
			return
		}
		var rcpt relay.Recipient
		if c.parseRcpt(args, &rcpt) != nil {
			return
		}
		c.batch = append(c.batch, rcpt)
		c.w.consume(n)
	}
}

// finish ends the transaction, if there is one, and tells the session what
// became of it. It returns the result with the final word as the client is to
// hear it.
func (c *Conn) finish() (res Result) {
	if !c.tx.open {
		return res
	}
	c.tx.open = false // once, whatever Finish does
	c.w.stall.End()
	if cap(c.batch) > 8 {
		c.batch, c.answers = nil, nil
	}
	c.s.Finish(&c.tx.res)
	res = c.tx.res
	c.tx = transaction{}
	return res
}
