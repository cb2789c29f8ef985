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
	"errors"
	"strings"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/grammar"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/pace"
)

// cmdData takes a message up to the lone dot (RFC 5321 section 4.1.1.4).
func (c *Conn) cmdData(args string) {
	switch {
	case args != "":
		c.refuse(CauseSyntax, relay.ReplySyntax, "DATA")
		return
	case !c.tx.open:
		c.blind = true
		c.refuse(CauseBadSequence, relay.ReplyBadSequence, "DATA")
		return
	case c.tx.res.Accepted == 0:
		c.refuse(CauseBadSequence, relay.ReplyNoRecipients, "DATA")
		return
	}
	c.w.reply(relay.ReplyStartData)
	c.startBody(nil)
	c.deliver()
}

// cmdBdat takes a message in chunks (RFC 3030 section 2). The octets of a
// chunk are never commands, whatever else is wrong.
func (c *Conn) cmdBdat(args string) {
	size, last, ok := parseBdat(args)
	switch {
	case !ok:
		// There is no telling where the chunk ends.
		c.refuseAndClose(CauseSyntax, relay.ReplySyntax, "BDAT")
	case size > c.cfg.MaxSize+maxSkip:
		// Nobody waits for the end of it to hear so.
		c.refuseAndClose(CauseTooBig, relay.ReplyTooBig, "BDAT")
	case c.tx.open && c.tx.res.Accepted > 0:
		c.startBody(c.nextChunk)
		c.body.setChunk(size, last)
		c.deliver()
	case !c.skipChunk(size):
	case !c.tx.open:
		c.refuse(CauseBadSequence, relay.ReplyBadSequence, "BDAT")
	default:
		c.refuse(CauseBadSequence, relay.ReplyNoRecipients, "BDAT")
	}
}

// startBody prepares for a message: up to the dot, or where next is given in
// chunks.
func (c *Conn) startBody(next func() error) {
	lf := c.lines == endsLF
	c.body.start(&c.w, c.cfg, lf || c.normalizes(), lf, next)
	c.body.crs = c.lines == endsCRCRLF && c.normalizes()
}

// deliver hands the message to the session.
func (c *Conn) deliver() {
	reply, err := c.s.Data(&c.body)
	c.delivered(reply, err)
}

// delivered decides what became of a message from what the session says, and
// answers.
func (c *Conn) delivered(reply *relay.Reply, err error) {
	b := &c.body
	res := &c.tx.res
	res.Data = true
	res.Reply = b.outcome(reply, err)
	left := b.drain()
	res.Size = b.size
	b.stop()
	final := c.finish().Reply
	switch {
	case left != nil:
		c.bodyFailed(left)
	case b.aborted:
		// The command that ended the message is answered next.
	case b.flaw == &flawNewline || b.flaw == &flawNUL:
		// Its end was certain, but a client whose line ends differ from
		// ours is the one to distrust about what follows.
		c.refuseAndClose(b.flaw.cause, b.flaw.reply, "")
	case b.flaw != nil:
		c.refuse(b.flaw.cause, b.flaw.reply, "")
	case err != nil:
		c.answer(err)
	case final.Positive():
		c.junked = 0
		c.final, c.w.ahead, c.w.look = true, false, len(c.w.buffered()) == 0
		c.ok(final)
	default:
		c.w.reply(final)
	}
}

// bodyFailed ends a connection on which the rest of a message may follow: it
// must never be read as commands.
func (c *Conn) bodyFailed(err error) {
	c.err = err
	switch {
	case errors.Is(err, errRefused):
		f := c.body.flaw
		if f == nil {
			f = &flawTooBig
		}
		c.refuseAndClose(f.cause, f.reply, "")
	case isTimeout(err):
		c.close(relay.ReplyIdleTimeout, EndTimeout)
		cause := CauseMessageTimeout
		if errors.Is(err, pace.ErrStalled) {
			cause = CauseStalled
		}
		c.s.Refused(Refusal{Cause: cause, Reply: relay.ReplyIdleTimeout, Detail: "within a message"})
	case c.end == "":
		c.end = EndAborted
		c.s.Refused(Refusal{Cause: CauseAborted, Detail: err.Error()})
	}
}

// nextChunk answers a chunk and reads the command that begins the next one.
func (c *Conn) nextChunk() error {
	b := &c.body
	c.w.reply(relay.ReplyChunk(b.chunk))
	for {
		line, err := c.readLine(maxCommand, false)
		switch {
		case err == nil:
		case errors.Is(err, errBareLF):
			return b.lost(&flaw{CauseBareLF, relay.ReplyBareLF})
		case errors.Is(err, errLineTooLong):
			return b.lost(&flaw{CauseTooLong, relay.ReplyLineTooLong})
		default:
			return b.failed(err)
		}
		line, verb, args := c.split(line)
		switch verb {
		case "BDAT":
			size, last, ok := parseBdat(args)
			switch {
			case !ok:
				return b.lost(&flaw{CauseSyntax, relay.ReplySyntax})
			case size > b.max+maxSkip:
				return b.lost(&flawTooBig)
			}
			b.setChunk(size, last)
			return nil
		case "NOOP":
			if !c.junk() {
				return b.failed(errTooManyErrors)
			}
			c.w.reply(relay.ReplyOK)
		case "RSET", "QUIT", "EHLO", "HELO":
			b.aborted = true
			c.pending = append([]byte(nil), line...)
			return errRefused
		default:
			if c.refuseHTTP(line) {
				return b.failed(errTooManyErrors)
			}
			// RFC 3030 section 2: only BDAT may follow BDAT.
			c.refuse(CauseBadSequence, relay.ReplyBadSequence, verb)
			if c.end != "" {
				return b.failed(errTooManyErrors)
			}
		}
	}
}

// skipChunk drops a chunk that has no use.
func (c *Conn) skipChunk(size int64) bool {
	b := &c.body
	c.startBody(c.nextChunk)
	b.setChunk(size, true)
	err := b.drain()
	b.stop()
	if err != nil {
		c.bodyFailed(err)
		return false
	}
	return true
}

func parseBdat(args string) (size int64, last, ok bool) {
	args = strings.Trim(args, " ")
	word, rest, more := strings.Cut(args, " ")
	if more {
		if !strings.EqualFold(strings.TrimLeft(rest, " "), "LAST") {
			return 0, false, false
		}
		last = true
	}
	size, ok = grammar.ParseSize(word)
	return size, last, ok
}
