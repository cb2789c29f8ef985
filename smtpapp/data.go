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

package smtpapp

import (
	"errors"
	"strings"

	"github.com/caddymail/mailgateway/relay"
)

// cmdData takes a message up to the lone dot (RFC 5321 section 4.1.1.4).
func (l *loop) cmdData(args string) {
	switch {
	case args != "":
		l.refuse(relay.ReplySyntax)
		return
	case !l.mail:
		l.refuse(relay.ReplyBadSequence)
		return
	case l.rcpts == 0:
		l.refuse(relay.ReplyNoRecipients)
		return
	}
	l.w.reply(relay.ReplyStartData)
	l.body.start(l, true)
	l.deliver()
}

// cmdBdat takes a message in chunks (RFC 3030 section 2). The octets of a
// chunk are never commands, whatever else is wrong.
func (l *loop) cmdBdat(args string) {
	size, last, ok := parseBdat(args)
	if !ok {
		// Where the chunk ends nobody can tell.
		l.w.reply(relay.ReplySyntax)
		l.end = endErrors
		return
	}
	if !l.mail || l.rcpts == 0 {
		if !l.skipChunk(size) {
			return
		}
		if !l.mail {
			l.refuse(relay.ReplyBadSequence)
			return
		}
		l.refuse(relay.ReplyNoRecipients)
		return
	}
	l.body.start(l, false)
	l.body.setChunk(size, last)
	l.deliver()
}

// deliver hands the message to the session and answers with the outcome.
func (l *loop) deliver() {
	b := &l.body
	reply, err := l.s.DataReply(b)
	whole := b.eof
	if drainErr := b.drain(); drainErr != nil {
		l.bodyFailed(drainErr)
		l.finish()
		return
	}
	l.finish()
	switch {
	case b.aborted:
		// The command that ended the message is answered next.
	case b.verdict != nil:
		l.refuse(b.verdict)
	case err != nil:
		l.answer(err)
	case !whole:
		// A session that says yes without having read the message is
		// wrong, and the client must not believe it.
		l.refuse(relay.ReplyInternal)
	default:
		l.ok(reply)
	}
}

// finish closes the transaction, whatever became of it.
func (l *loop) finish() {
	l.reset()
	l.body.stop()
}

// bodyFailed ends a connection on which the rest of a message may follow:
// it must never be read as commands.
func (l *loop) bodyFailed(err error) {
	l.err = err
	switch {
	case errors.Is(err, errRefused):
		r := l.body.verdict
		if r == nil {
			r = relay.ReplyTooBig
		}
		l.w.reply(r)
		l.end = endErrors
	case isTimeout(err):
		l.w.reply(relay.ReplyIdleTimeout)
		l.end = endTimeout
	default:
		l.end = endAborted
	}
}

func (b *body) setChunk(size int64, last bool) {
	b.left, b.cur, b.last = size, size, last
}

// nextChunk answers a chunk and reads the command that begins the next one.
func (l *loop) nextChunk(b *body) error {
	l.ok(relay.ReplyChunk(b.cur))
	for {
		line, err := l.w.readLine(maxCommand, false)
		if err != nil && !(errors.Is(err, errBareLF) && l.p.normalize) {
			if errors.Is(err, errBareLF) || errors.Is(err, errLineTooLong) {
				b.verdict = relay.ReplyLineTooLong
				if errors.Is(err, errBareLF) {
					b.verdict = relay.ReplyBareLF
				}
				err = errRefused
			}
			b.ioErr = unexpected(err)
			return b.ioErr
		}
		verb, args := splitVerb(line)
		switch verb {
		case "BDAT":
			size, last, ok := parseBdat(args)
			if !ok {
				b.verdict, b.ioErr = relay.ReplySyntax, errRefused
				return b.ioErr
			}
			b.setChunk(size, last)
			return nil
		case "NOOP":
			l.ok(relay.ReplyOK)
		case "RSET", "QUIT", "EHLO", "HELO":
			b.aborted = true
			l.pending = append([]byte(nil), line...)
			return errRefused
		default:
			// RFC 3030 section 2: only BDAT may follow BDAT.
			l.refuse(relay.ReplyBadSequence)
			if l.end != "" {
				b.ioErr = errDraining
				return b.ioErr
			}
		}
	}
}

// skipChunk drops a chunk that nobody wants.
func (l *loop) skipChunk(size int64) bool {
	l.body.start(l, false)
	b := &l.body
	b.setChunk(size, true)
	if size > b.max+1<<20 {
		l.w.reply(relay.ReplyTooBig)
		l.end = endErrors
		return false
	}
	err := b.drain()
	b.stop()
	if err != nil {
		l.bodyFailed(err)
		return false
	}
	return true
}

func parseBdat(args string) (size int64, last, ok bool) {
	args = strings.TrimRight(args, " ")
	word, rest, more := strings.Cut(args, " ")
	if more {
		if !strings.EqualFold(strings.TrimLeft(rest, " "), "LAST") {
			return 0, false, false
		}
		last = true
	}
	size, ok = parseSize(word)
	return size, last, ok
}
