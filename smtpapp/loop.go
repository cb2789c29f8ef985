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
	"io"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

const (
	// maxCommand bounds a command line. RFC 5321 section 4.5.3.1.4 says 512,
	// and each extension adds to it.
	maxCommand = 2 << 10
	// maxAuthLine bounds a line of an AUTH exchange (RFC 4954 section 4).
	maxAuthLine = 12288 + 2
	// maxAuthCommand bounds AUTH with an initial response.
	maxAuthCommand = maxAuthLine + 64
	// maxErrors is the number of refused commands in a row after which the
	// connection is closed.
	maxErrors = 20
	// maxBatch is the number of pipelined recipients that go to the upstream
	// in one flight.
	maxBatch = 100
)

// The loop drives a go-smtp session. It knows the protocol; the session
// knows who may send and how. These are the loop's optional questions to it.
type (
	// dataReplier is a Data that says the provider's final word.
	dataReplier interface {
		DataReply(r io.Reader) (*relay.Reply, error)
	}
	// rcptBatcher takes recipients in one go. The errors stand in their order.
	rcptBatcher interface {
		RcptBatch(rcpts []relay.Recipient) []error
	}
	// policyHolder says what is in force now: nil once the server is gone.
	policyHolder interface {
		policy() *policy
	}
	// connWatcher is told of what the client says of itself, and of TLS.
	connWatcher interface {
		hello(name string)
		startedTLS()
	}
)

// backend is all that the loop needs of a session.
type backend interface {
	smtp.AuthSession
	dataReplier
	rcptBatcher
	policyHolder
	connWatcher
}

// ending says how a connection ended, as the metrics call it.
type ending string

const (
	endQuit     ending = "quit"
	endEOF      ending = "eof"
	endTimeout  ending = "timeout"
	endShutdown ending = "shutdown"
	endErrors   ending = "errors"
	endTLS      ending = "tls_failed"
	endIO       ending = "io_error"
	endAuth     ending = "auth_failures"
	endAborted  ending = "aborted" // within a message
	endLimit    ending = "limit"
	endBanned   ending = "banned"

	// endLoginGone is the end of a session whose login holds no longer.
	endLoginGone ending = "login_gone"
)

// loop is one connection's command loop.
type loop struct {
	w wire
	s backend
	p *policy

	greeted bool // EHLO or HELO said
	mail    bool // in a transaction
	utf8    bool // SMTPUTF8 said in MAIL
	authed  bool
	rcpts   int // accepted
	errors  int
	authTry int

	end     ending
	err     error  // why the connection failed, if it did
	pending []byte // a command that came between chunks and ended them
	body    body
	batch   []relay.Recipient
	opts    smtp.MailOptions // of MAIL, for as long as the session reads them
}

// serve runs the loop until the connection is to be closed.
func (l *loop) serve() ending {
	l.end = ""
	l.w.reply(relay.Greeting(l.p.hostname))
	for l.end == "" {
		l.next()
	}
	_ = l.w.flush()
	return l.end
}

// refresh takes the policy that is in force now.
func (l *loop) refresh() bool {
	p := l.s.policy()
	if p == nil {
		l.w.reply(relay.ReplyShuttingDown)
		l.end = endShutdown
		return false
	}
	l.p = p
	return true
}

// next reads a command and answers it.
func (l *loop) next() {
	var line []byte
	var err error
	if l.pending != nil {
		line, l.pending = l.pending, nil
	} else {
		l.w.idle, l.w.until = l.p.commandTimeout, time.Time{}
		line, err = l.w.readLine(maxAuthCommand, !l.mail)
		if err == nil && len(line)+2 > maxCommand && !isAuth(line) {
			err = errLineTooLong
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, errBareLF) && l.p.normalize:
	case errors.Is(err, errBareLF):
		// Whoever sends these is not to be trusted about where lines end.
		l.w.reply(relay.ReplyBareLF)
		l.end = endErrors
		return
	case errors.Is(err, errLineTooLong):
		l.refuse(relay.ReplyLineTooLong)
		return
	default:
		l.failed(err)
		return
	}
	if !l.mail && l.w.isDraining() {
		l.w.reply(relay.ReplyShuttingDown)
		l.end = endShutdown
		return
	}
	l.command(line)
}

func isAuth(line []byte) bool {
	return len(line) > 5 && line[4] == ' ' && strings.EqualFold(string(line[:4]), "AUTH")
}

// failed ends the connection after a read that failed.
func (l *loop) failed(err error) {
	l.err = err
	switch {
	case errors.Is(err, errDraining):
		l.w.reply(relay.ReplyShuttingDown)
		l.end = endShutdown
	case isTimeout(err):
		l.w.reply(relay.ReplyIdleTimeout)
		l.end = endTimeout
	case errors.Is(err, io.EOF):
		l.end = endEOF
	default:
		l.end = endIO
	}
}

// refuse answers a bad command, and closes after too many of them.
func (l *loop) refuse(r *relay.Reply) {
	l.w.reply(r)
	l.errors++
	if l.errors >= maxErrors {
		l.w.reply(relay.ReplyTooManyErrors)
		l.end = endErrors
	}
}

// ok answers a command that did what it should.
func (l *loop) ok(r *relay.Reply) {
	l.errors = 0
	l.w.reply(r)
}

// answer turns a session's error into the client's reply.
func (l *loop) answer(err error) {
	switch r := asReply(err); r {
	case relay.ReplyShuttingDown:
		l.w.reply(r)
		l.end = endShutdown
	case relay.ReplyLoginGone:
		l.w.reply(r)
		l.end = endLoginGone
	case relay.ReplyBanned:
		l.w.reply(r)
		l.end = endBanned
	case relay.ReplyAuthRequired, relay.ReplySenderRefused:
		l.refuse(r)
	default:
		// The provider's word, or about the provider: no fault of the
		// client's.
		l.w.reply(r)
	}
}

func asReply(err error) *relay.Reply {
	var r *relay.Reply
	if errors.As(err, &r) && r.Code >= 400 && r.Code < 600 {
		return r
	}
	if se, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return relay.NewReply(se.Code, se.EnhancedCode, se.Message)
	}
	return relay.ReplyInternal
}

// command dispatches a command line.
func (l *loop) command(line []byte) {
	for _, c := range line {
		if c < 32 || c == 127 {
			l.refuse(relay.ReplyControlChars)
			return
		}
	}
	verb, args := splitVerb(line)
	switch verb {
	case "MAIL":
		l.cmdMail(args)
	case "RCPT":
		l.cmdRcpt(args)
	case "DATA":
		l.cmdData(args)
	case "BDAT":
		l.cmdBdat(args)
	case "EHLO", "HELO":
		l.cmdHello(verb == "EHLO", args)
	case "RSET":
		if args != "" {
			l.refuse(relay.ReplySyntax)
			return
		}
		l.reset()
		l.ok(relay.ReplyOK)
	case "NOOP":
		l.ok(relay.ReplyOK)
	case "QUIT":
		if args != "" {
			l.refuse(relay.ReplySyntax)
			return
		}
		l.w.reply(relay.ReplyBye)
		l.end = endQuit
	case "AUTH":
		l.cmdAuth(args)
	case "STARTTLS":
		l.cmdStartTLS(args)
	case "VRFY":
		if args == "" {
			l.refuse(relay.ReplySyntax)
			return
		}
		l.ok(relay.ReplyVRFY)
	case "HELP":
		l.ok(relay.ReplyHelp)
	case "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML":
		l.refuse(relay.ReplyNotImplemented)
	default:
		l.refuse(relay.ReplyUnknownCommand)
	}
}

// splitVerb returns the verb in upper case, and what follows its space.
func splitVerb(line []byte) (verb, args string) {
	i := 0
	for i < len(line) && line[i] != ' ' {
		i++
	}
	if i > len("STARTTLS") {
		return "", ""
	}
	var v [8]byte
	for j := range i {
		c := line[j]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		v[j] = c
	}
	if i < len(line) {
		args = string(line[i+1:])
	}
	switch string(v[:i]) { // without an allocation
	case "MAIL":
		return "MAIL", args
	case "RCPT":
		return "RCPT", args
	case "DATA":
		return "DATA", strings.TrimRight(args, " ")
	case "BDAT":
		return "BDAT", args
	}
	return string(v[:i]), strings.Trim(args, " ")
}

// reset ends the transaction, if there is one.
func (l *loop) reset() {
	l.mail, l.utf8, l.rcpts = false, false, 0
	l.s.Reset()
	if cap(l.batch) > 8 {
		l.batch = nil
	}
}

func (l *loop) cmdHello(extended bool, args string) {
	// Any name will do: old devices say what they like, and it proves
	// nothing. RFC 5321 section 4.1.4 forbids refusing a name that does
	// not resolve.
	if args == "" || len(args) > maxDomain {
		l.refuse(relay.ReplySyntax)
		return
	}
	if !l.refresh() {
		return
	}
	// RFC 5321 section 4.1.4: EHLO within a transaction is a RSET too.
	l.reset()
	l.greeted = true
	l.s.hello(args)
	if !extended {
		l.ok(l.p.heloReply)
		return
	}
	l.ok(l.p.ehlo(l.w.tls != nil, !l.authed && len(l.s.AuthMechanisms()) > 0))
}

func (l *loop) cmdStartTLS(args string) {
	switch {
	case args != "": // RFC 3207 section 4
		l.refuse(relay.ReplySyntax)
		return
	case l.w.tls != nil:
		l.refuse(relay.ReplyTLSActive)
		return
	case l.mail:
		l.refuse(relay.ReplyBadSequence)
		return
	}
	if !l.refresh() {
		return
	}
	if l.p.startTLS == nil {
		l.refuse(relay.ReplyNotImplemented)
		return
	}
	l.w.reply(relay.ReplyReadyTLS)
	if err := l.w.startTLS(l.p.startTLS, l.p.handshakeTimeout()); err != nil {
		// Neither side knows what the other thinks now.
		l.w.discardInput()
		l.end, l.err = endTLS, err
		return
	}
	// RFC 3207 section 4.2: forget all that was said in the clear.
	l.errors, l.greeted, l.authed = 0, false, false
	l.reset()
	l.s.startedTLS()
}

// cutColon takes the word and its colon, as in `FROM:`, off the front of s.
func cutColon(s, word string) (string, bool) {
	if len(s) <= len(word) || s[len(word)] != ':' || !strings.EqualFold(s[:len(word)], word) {
		return "", false
	}
	return s[len(word)+1:], true
}

func (l *loop) cmdMail(args string) {
	if !l.greeted {
		l.refuse(relay.ReplyBadSequence)
		return
	}
	if l.mail {
		l.refuse(relay.ReplyNestedMail)
		return
	}
	if !l.refresh() {
		return
	}
	args, ok := cutColon(args, "FROM")
	if !ok {
		l.refuse(relay.ReplySyntax)
		return
	}
	opts := &l.opts
	*opts = smtp.MailOptions{}
	from, bad := parseMailArgs(args, l.p.maxSize, opts)
	if bad != nil {
		l.refuse(bad)
		return
	}
	if err := l.s.Mail(from, opts); err != nil {
		l.answer(err)
		return
	}
	l.mail, l.utf8, l.rcpts = true, opts.UTF8, 0
	l.ok(relay.ReplySenderOK)
}

func (l *loop) parseRcpt(args string, rcpt *relay.Recipient) *relay.Reply {
	args, ok := cutColon(args, "TO")
	if !ok {
		return relay.ReplySyntax
	}
	to, bad := parseRcptArgs(args, l.utf8, &rcpt.Opts)
	rcpt.To = to
	return bad
}

func (l *loop) cmdRcpt(args string) {
	if !l.mail {
		l.refuse(relay.ReplyBadSequence)
		return
	}
	l.batch = append(l.batch[:0], relay.Recipient{})
	if bad := l.parseRcpt(args, &l.batch[0]); bad != nil {
		l.refuse(bad)
		return
	}
	l.gatherRcpts()
	if len(l.batch) == 1 {
		l.rcptResult(l.s.Rcpt(l.batch[0].To, &l.batch[0].Opts))
		return
	}
	for _, err := range l.s.RcptBatch(l.batch) {
		if l.end != "" {
			return
		}
		l.rcptResult(err)
	}
}

// gatherRcpts takes the well-formed RCPT commands that have arrived already
// along (RFC 2920): they leave for the provider in one flight.
func (l *loop) gatherRcpts() {
	for len(l.batch) < maxBatch {
		line, n := l.w.peekLine(maxCommand)
		if n == 0 {
			return
		}
		for _, c := range line {
			if c < 32 || c == 127 {
				return
			}
		}
		verb, args := splitVerb(line)
		if verb != "RCPT" {
			return
		}
		var rcpt relay.Recipient
		if l.parseRcpt(args, &rcpt) != nil {
			return
		}
		l.batch = append(l.batch, rcpt)
		l.w.r += n
	}
}

func (l *loop) rcptResult(err error) {
	if err != nil {
		l.answer(err)
		return
	}
	l.rcpts++
	l.ok(relay.ReplyRecipientOK)
}
