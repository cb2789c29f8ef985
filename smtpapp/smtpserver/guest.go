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
	"slices"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// What is asked of a client that has not shown yet that it may send: guests of
// another protocol, guessers and scanners are cut off early.

const (
	// maxErrorsEarly is maxErrors before a login.
	maxErrorsEarly = 10
	// maxJunk is the number of commands that a client may say without a
	// message accepted in between that do nothing for one: RSET, NOOP, VRFY,
	// HELP and a hello (Postfix: smtpd_junk_command_limit).
	maxJunk = 100
	// maxOvershoot is the number of recipients beyond the limit that a client may
	// name: it learns of the limit only from the answers to a list it has sent.
	maxOvershoot = 1000
	// maxJunkEarly is maxJunk before a login.
	maxJunkEarly = 20
)

// known reports whether the client has shown that it may send: by a login, or
// by a MAIL that its certificate or its network was enough for.
func (c *Conn) known() bool { return c.authed || c.sent }

// junk counts a command that does nothing for a message. It reports whether the
// connection goes on.
func (c *Conn) junk() bool {
	limit := maxJunkEarly
	if c.known() {
		limit = maxJunk
	}
	if c.junked++; c.junked <= limit {
		return true
	}
	c.refuseAndClose(CauseTooManyCommands, relay.ReplyTooManyErrors, "")
	return false
}

// earlyPause is how long a client of a trusted network that has talked before its
// hello is given to send what it has pipelined behind that.
const earlyPause = 20 * time.Millisecond

// greet says the greeting, unless a client of a trusted network has spoken
// before it: SMTP clients wait (RFC 5321 section 3.1), what a web page sends
// does not. Nothing is waited for here: what comes later than this look is found at
// the hello.
func (c *Conn) greet() {
	if c.network.Trusted && c.w.hasMore() {
		c.refuseAndClose(CauseEarlyTalker, relay.ReplyEarlyTalker, "")
		return
	}
	if c.w.isDraining() {
		// RFC 5321 section 3.8 has 421 for any time; a balancer's check reads it.
		c.close(c.w.farewell())
		return
	}
	c.w.reply(relay.Greeting(c.cfg.Hostname))
}

// refuseHasty cuts off a client of a trusted network that goes on before its
// hello is answered. EHLO is the last command of a group (RFC 2920 section 3.1),
// and a client that says HELO knows of no groups; what a page sends comes as a whole.
//
// A hello alone is too short to be the end of a packet or of a buffer with the mail in
// the next one: no client's first word is held up. One that comes behind something
// else can be placed there, by who chooses what comes before it.
//
// It reports whether it was one.
func (c *Conn) refuseHasty() bool {
	if !c.network.Trusted || c.known() || c.greeted || !c.w.hasMore() && !(c.talked && c.w.speaksWithin(earlyPause)) {
		return false
	}
	c.refuseAndClose(CauseEarlyTalker, relay.ReplyEarlyTalker, "what follows the hello came with it")
	return true
}

// speaksWithin reports whether the client sends something within d. It reads: what
// TLS or a listener wrapper has read ahead shows in no other way.
func (c *wire) speaksWithin(d time.Duration) bool {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	c.readDeadline = time.Now().Add(d)
	if c.base.SetReadDeadline(c.readDeadline) != nil {
		return false
	}
	n, _ := c.nc.Read(c.rbuf[c.w:]) // an error comes again with the next read
	c.w += n
	return n > 0
}

// boundLogin says by when a client must have logged in.
func (c *Conn) boundLogin() {
	if c.loginBy = (time.Time{}); c.cfg.LoginTimeout > 0 {
		c.loginBy = time.Now().Add(c.cfg.LoginTimeout)
	}
}

// limitLogin bounds the next read by the time that a client has to log in.
func (c *Conn) limitLogin() time.Time {
	if c.known() {
		return time.Time{}
	}
	return c.loginBy
}

// httpMethods are the words that begin a request (RFC 9110 section 9, and the
// preface of RFC 9113).
var httpMethods = []string{"GET", "POST", "PUT", "CONNECT", "OPTIONS", "HEAD", "PATCH", "DELETE", "TRACE", "PRI"}

// isHTTPMethod reports whether a line, or what there is of one, begins a request.
func isHTTPMethod(line []byte) bool {
	word, _, ok := bytes.Cut(line, []byte{' '})
	return ok && slices.Contains(httpMethods, string(bytes.ToUpper(word)))
}

// isHTTP reports whether a line is one of HTTP's. Before a login a request's
// method or the name of a header will do: no SMTP command has a colon in its
// first word. After it only what says so itself counts, since a device may send
// whatever it likes.
func isHTTP(line []byte, known bool) bool {
	if i := bytes.LastIndexByte(line, ' '); i > 0 && bytes.HasPrefix(line[i+1:], []byte("HTTP/")) {
		return true
	}
	if known {
		return false
	}
	return isHTTPMethod(line) || isHeader(line)
}

// isHeader reports whether a line begins with a field name and its colon (RFC
// 9110 section 5.1).
func isHeader(line []byte) bool {
	for i, o := range line {
		switch {
		case o >= 'a' && o <= 'z', o >= 'A' && o <= 'Z', o >= '0' && o <= '9', o == '-', o == '_':
		case o == ':':
			return i > 0
		default:
			return false
		}
	}
	return false
}

// refuseHTTP cuts a web client off. It reports whether it was one.
func (c *Conn) refuseHTTP(line []byte) bool {
	if !isHTTP(line, c.known()) {
		return false
	}
	if c.blind && isHeader(line) {
		// What a browser sends begins with its request: this is a message.
		c.refuseAndClose(CauseBadSequence, relay.ReplyTooManyErrors, "a message behind a DATA that was refused")
		return true
	}
	word, _, _ := bytes.Cut(line, []byte{' '})
	c.refuseAndClose(CauseHTTP, relay.ReplyHTTP, string(word[:min(len(word), headLength)]))
	return true
}

// proxySignature begins a PROXY header of version 2, and proxyLine one of version 1
// (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, 2.1 and 2.2).
var (
	proxySignature = []byte("\r\n\r\n\x00")
	proxyLine      = []byte("PROXY ")
)

// refuseProxy cuts off a client whose PROXY header comes where none is waited for: no
// server is to wait for one, or it comes too late. The client would be taken for the
// proxy, with what that one's network may do. It reports whether it was one.
func (c *Conn) refuseProxy(line []byte) bool {
	if c.known() || !bytes.HasPrefix(line, proxyLine) {
		return false
	}
	c.refuseAndClose(CauseProxyHeader, relay.ReplyProxyHeader, "it came behind the greeting")
	return true
}
