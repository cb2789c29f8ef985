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
	"bytes"
	"errors"
	"strings"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/grammar"
)

const (
	// maxCommand bounds a command line. RFC 5321 section 4.5.3.1.4 says 512,
	// and each extension adds to it.
	maxCommand = 2 << 10
	// maxAuthLine bounds a line of an AUTH exchange (RFC 4954 section 4).
	maxAuthLine = 12288 + 2
	// maxAuthCommand bounds AUTH with an initial response.
	maxAuthCommand = maxAuthLine + 64
	// maxErrors is the number of refused commands, with none of use between
	// them, after which the connection is closed.
	maxErrors = 20
)

// await waits until something of the next command has come, and begins the time
// that the command has.
func (c *Conn) await() error {
	if c.pending != nil {
		return nil
	}
	c.w.idle, c.w.until = c.cfg.CommandTimeout, c.limitLogin()
	return c.w.await(!c.tx.open)
}

// next reads a command, of which something has come, and answers it.
func (c *Conn) next() {
	var line []byte
	var err error
	if c.pending != nil {
		line, c.pending = c.pending, nil
	} else {
		line, err = c.readLine(maxAuthCommand, !c.tx.open)
		c.w.until = c.limitLogin()
		if err == nil && len(line)+2 > maxCommand && !isAuth(line) {
			err = errLineTooLong
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, errBareLF):
		if !c.refuseHTTP(line) {
			// A client that sends these is not to be trusted about where
			// lines end.
			c.refuseAndClose(CauseBareLF, relay.ReplyBareLF, "")
		}
		return
	case errors.Is(err, errLineTooLong):
		switch _, verb, _ := c.split(line); {
		case c.refuseHTTP(line):
		case verb == "BDAT": // whose octets follow
			c.refuseAndClose(CauseTooLong, relay.ReplyLineTooLong, verb)
		default:
			c.refuse(CauseTooLong, relay.ReplyLineTooLong, "")
		}
		return
	default:
		c.failed(err)
		return
	}
	if !c.tx.open && c.w.isDraining() {
		c.close(c.w.farewell())
		return
	}
	c.command(line)
}

func isAuth(line []byte) bool {
	return len(line) > 5 && line[4] == ' ' && strings.EqualFold(string(line[:4]), "AUTH")
}

// command dispatches a command line.
func (c *Conn) command(line []byte) {
	if c.refuseHTTP(line) || c.refuseProxy(line) {
		return
	}
	line, verb, args := c.split(line)
	if verb != "BDAT" && hasControl(line) { // no chunk's size has one
		c.refuse(CauseSyntax, relay.ReplyControlChars, verb)
		return
	}
	switch verb {
	case "MAIL":
		c.cmdMail(args)
	case "RCPT":
		c.cmdRcpt(args)
	case "DATA":
		c.cmdData(args)
	case "BDAT":
		c.cmdBdat(args)
	case "EHLO", "HELO":
		c.cmdHello(verb, args)
	case "RSET":
		if args != "" {
			c.refuse(CauseSyntax, relay.ReplySyntax, verb)
			return
		}
		if !c.junk() {
			return
		}
		c.finish()
		c.w.reply(relay.ReplyOK)
	case "NOOP":
		if c.junk() {
			c.w.reply(relay.ReplyOK)
		}
	case "QUIT":
		if args != "" && c.cfg.Strict { // who wants to go, goes
			c.refuse(CauseSyntax, relay.ReplySyntax, verb)
			return
		}
		c.close(relay.ReplyBye, EndQuit)
	case "AUTH":
		c.cmdAuth(args)
	case "STARTTLS":
		c.cmdStartTLS(args)
	case "VRFY":
		if args == "" {
			c.refuse(CauseSyntax, relay.ReplySyntax, verb)
			return
		}
		if c.junk() {
			c.w.reply(relay.ReplyVRFY)
		}
	case "HELP":
		if c.junk() {
			c.w.reply(relay.ReplyHelp)
		}
	case "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML":
		c.refuse(CauseUnknownCommand, relay.ReplyNotImplemented, verb)
	default:
		c.refuse(CauseUnknownCommand, relay.ReplyUnknownCommand, "")
	}
}

// peekCommand returns a command that has arrived already, of n octets, and leaves
// it where it is; an empty verb if there is none that can be understood.
func (c *Conn) peekCommand() (verb, args string, n int) {
	line, n := c.w.peekLine(maxCommand)
	if n == 0 || hasControl(line) {
		return "", "", 0
	}
	verb, args = splitVerb(line)
	return verb, args, n
}

// split returns a line as it is meant, its verb in upper case and what follows that.
// What begins with BDAT is one, whatever comes behind it: octets follow that are never
// commands.
func (c *Conn) split(line []byte) (_ []byte, verb, args string) {
	if !c.cfg.Strict {
		line = blanks(line)
	}
	verb, args = splitVerb(line)
	if word := bytes.TrimLeft(line, "\ufeff \t\x00"); verb != "BDAT" && len(word) >= 4 && strings.EqualFold(string(word[:4]), "BDAT") {
		return line, "BDAT", ""
	}
	return line, verb, args
}

// blanks returns a line without blanks and a byte order mark before its verb, and with
// its tabs as blanks: RFC 5321 section 4.1.1 counts on servers that take white space. In
// quotes a tab would be part of an address, and is refused.
func blanks(line []byte) []byte {
	line = bytes.TrimPrefix(line, []byte("\ufeff")) // .NET's StreamWriter begins with it
	if bytes.IndexByte(line, '\t') >= 0 && bytes.IndexByte(line, '"') < 0 {
		line = bytes.ReplaceAll(line, []byte("\t"), []byte(" "))
	}
	return bytes.TrimLeft(line, " ")
}

// hasControl reports whether a line holds a control character.
func hasControl(line []byte) bool {
	for _, o := range line {
		if o < 32 || o == 127 {
			return true
		}
	}
	return false
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
		o := line[j]
		if o >= 'a' && o <= 'z' {
			o -= 'a' - 'A'
		}
		v[j] = o
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

func (c *Conn) cmdHello(verb, args string) {
	// Any name will do: old devices say what they like, and it proves
	// nothing. RFC 5321 section 4.1.4 forbids refusing a name that does
	// not resolve.
	if args == "" && c.cfg.Strict || len(args) > grammar.MaxDomain {
		c.refuse(CauseSyntax, relay.ReplySyntax, verb)
		return
	}
	if c.refuseHasty() || !c.junk() || !c.refresh() {
		return
	}
	// RFC 5321 section 4.1.4: EHLO within a transaction is a RSET too.
	c.finish()
	c.greeted, c.esmtp = true, verb == "EHLO"
	c.s.Hello(args)
	if verb == "HELO" {
		c.w.reply(c.cfg.heloReply)
		return
	}
	c.w.reply(c.cfg.ehlo(c.w.tls != nil, !c.authed && c.s.MayLogin()))
}

func (c *Conn) cmdStartTLS(args string) {
	switch {
	case args != "": // RFC 3207 section 4
		c.refuse(CauseSyntax, relay.ReplySyntax, "STARTTLS")
		return
	case c.w.tls != nil:
		c.refuse(CauseBadSequence, relay.ReplyTLSActive, "STARTTLS")
		return
	case c.tx.open:
		c.refuse(CauseBadSequence, relay.ReplyBadSequence, "STARTTLS")
		return
	}
	if !c.refresh() {
		return
	}
	if c.cfg.StartTLS == nil {
		c.refuse(CauseUnknownCommand, relay.ReplyNotImplemented, "STARTTLS")
		return
	}
	c.w.reply(relay.ReplyReadyTLS)
	if c.known() {
		c.boundLogin() // of which nothing holds any longer
	}
	// RFC 3207 section 4.2: forget all that was said in the clear. That a
	// hello was said is no secret and proves nothing: some clients do not say
	// it again.
	c.errors, c.junked, c.authed, c.sent, c.lines = 0, 0, false, false, endsUnknown
	c.greeted = c.greeted && !c.cfg.Strict
	c.startTLS(c.cfg.StartTLS, false)
}
