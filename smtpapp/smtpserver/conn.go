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
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/pace"
)

// Conn is one client's connection. Serve runs it; Drain, Kill and Drained may
// be called by other goroutines.
type Conn struct {
	w   wire
	s   Session
	cfg *Config // of the last refresh; within a transaction, of MAIL

	network Network
	loginBy time.Time // when a client must have logged in; zero for no bound
	lines   lineEnds

	greeted bool // EHLO or HELO said
	esmtp   bool // it was EHLO
	talked  bool // something was said, on the connection as it is
	authed  bool
	sent    bool // a MAIL was accepted
	errors  int  // refused commands since one that was of use
	junked  int  // commands of no use since the last message
	authTry int
	final   bool // the last word on a message was given, and the client has said nothing since

	tx    transaction
	body  body
	batch []relay.Recipient
	// answers are the session's, to the recipients in batch.
	answers []error
	opts    smtp.MailOptions // of MAIL, for as long as the session reads them
	pending []byte           // a command that came between chunks and ended them

	end   End
	blind bool // a DATA was refused that a message may follow all the same

	err error // why the connection failed, if it did
}

// transaction is the sequence of one message's commands: what the session has
// been told of it.
type transaction struct {
	open bool
	utf8 bool // SMTPUTF8 said in MAIL
	over int  // recipients beyond the limit
	res  Result
}

// New returns a connection that is yet to be served. state says what was agreed
// where TLS ended before us; otherwise it is nil.
func New(nc net.Conn, s Session, cfg *Config, state *tls.ConnectionState) *Conn {
	c := &Conn{s: s, cfg: cfg}
	c.w.init(nc)
	c.w.tls = state
	return c
}

// Serve runs the session until the connection has ended, and closes it. A
// panic of the session goes on to the caller, with the connection closed.
func (c *Conn) Serve() End {
	c.end = EndPanic
	defer func() {
		c.finish()
		_ = c.w.nc.Close()
		c.w.release()
	}()
	c.end = ""
	c.network = c.s.Network()
	c.boundLogin()
	if c.cfg.ImplicitTLS != nil && c.w.tls == nil {
		if !c.startTLS(c.cfg.ImplicitTLS, true) {
			return c.end
		}
	}
	c.greet()
	for c.end == "" {
		// An idle client waits in await, where the stack is least deep: it is
		// kept for as long as the client stays.
		if err := c.await(); err != nil {
			c.failed(err)
			continue
		}
		under := c.w.tls
		c.next()
		c.talked = c.w.tls == under
	}
	_ = c.w.flush()
	if c.wordsAreLast() && (c.end == EndErrors || c.w.hasMore()) {
		c.w.linger()
	}
	return c.end
}

// wordsAreLast reports whether the connection ends by our doing, so that the client
// may be about to send more.
func (c *Conn) wordsAreLast() bool {
	switch c.end {
	case EndQuit, EndEOF, EndIO, EndAborted, EndTLS:
		return false
	}
	return true
}

// Err returns why the connection failed, nil if it did not.
func (c *Conn) Err() error { return c.err }

// TLS returns what was agreed, nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState { return c.w.tls }

// Protocol is how messages come in, as a Received line has it (RFC 3848).
func (c *Conn) Protocol() string {
	switch encrypted := c.w.tls != nil; {
	case encrypted && c.authed:
		return "ESMTPSA"
	case encrypted:
		return "ESMTPS"
	case c.authed:
		return "ESMTPA"
	case c.esmtp:
		return "ESMTP"
	}
	return "SMTP"
}

// Drain ends the connection at its next boundary: at once if it is idle, else
// after its message.
func (c *Conn) Drain() { c.w.drain(nil) }

// DrainWith is Drain with another last word than that the server shuts down.
func (c *Conn) DrainWith(lastWord *ClosingError) { c.w.drain(lastWord) }

// Drained returns a channel that is closed by Drain.
func (c *Conn) Drained() <-chan struct{} { return c.w.drained }

// Kill closes the connection whatever it is doing.
func (c *Conn) Kill() { _ = c.w.base.Close() }

// refresh takes the configuration that is in force now.
func (c *Conn) refresh() bool {
	cfg := c.s.Config()
	if cfg == nil {
		c.close(relay.ReplyShuttingDown, EndShutdown)
		return false
	}
	c.cfg = cfg
	return true
}

// startTLS runs the handshake. It reports whether the connection goes on.
func (c *Conn) startTLS(cfg *tls.Config, implicit bool) bool {
	timeout := c.cfg.handshakeTimeout()
	if !c.loginBy.IsZero() {
		timeout = min(timeout, time.Until(c.loginBy))
	}
	h, err := c.w.startTLS(cfg, timeout)
	if err != nil {
		// Neither side knows what the other thinks now.
		c.end, c.err = EndTLS, err
		if r, ok := h.explain(err, implicit); ok {
			c.s.Refused(r)
		}
		return false
	}
	c.s.StartedTLS()
	return true
}

// close says the last word.
func (c *Conn) close(r *relay.Reply, end End) {
	c.w.reply(r)
	c.end = end
}

// failed ends the connection after a read that failed.
func (c *Conn) failed(err error) {
	c.err = err
	switch {
	case errors.Is(err, errDraining):
		c.close(c.w.farewell())
	case isTimeout(err):
		c.close(relay.ReplyIdleTimeout, EndTimeout)
		cause := CauseTimeout
		if errors.Is(err, pace.ErrStalled) {
			cause = CauseStalled
		} else if by := c.limitLogin(); !by.IsZero() && !time.Now().Before(by) {
			cause = CauseLoginTimeout
		}
		c.s.Refused(Refusal{Cause: cause, Reply: relay.ReplyIdleTimeout})
	case errors.Is(err, errTLSHello):
		c.w.discardInput()
		c.end = EndErrors
		c.s.Refused(Refusal{Cause: CauseTLSOnPlainPort})
	case errors.Is(err, errProxyHeader):
		c.w.discardInput()
		c.refuseAndClose(CauseProxyHeader, relay.ReplyProxyHeader, "it came behind the greeting")
	case errors.Is(err, io.EOF):
		c.end = EndEOF
		c.gone(c.w.ahead)
	default:
		c.end = EndIO
		// A client that hangs up over TLS without a word ends its stream in
		// the middle, as TLS sees it.
		c.gone(isReset(err) || errors.Is(err, io.ErrUnexpectedEOF) && c.w.ahead)
		if text := err.Error(); strings.HasPrefix(text, "remote error:") && remoteAlert(text) == CauseCertificateRefused {
			// With TLS 1.3 a client may find fault with the certificate after
			// our side of the handshake.
			c.s.Refused(Refusal{Cause: CauseCertificateRefused, Detail: text})
		} else if detail, ok := strings.CutPrefix(text, proxyError); ok {
			c.s.Refused(Refusal{Cause: CauseProxyHeader, Detail: detail})
		}
	}
}

// proxyError begins the errors of the listener wrapper that reads PROXY headers.
const proxyError = "proxyproto: "

// gone tells of a client that left before it heard the final word.
func (c *Conn) gone(before bool) {
	if c.final && before {
		c.s.Refused(Refusal{Cause: CauseClientGone, Detail: "the client will send the message again"})
	}
}

// ok answers a command that is of use.
func (c *Conn) ok(r *relay.Reply) {
	c.errors = 0
	c.w.reply(r)
}

// refuse answers what the connection refuses by itself, and closes after too
// many of these.
func (c *Conn) refuse(cause Cause, r *relay.Reply, detail string) {
	c.w.reply(r)
	c.s.Refused(Refusal{Cause: cause, Reply: r, Detail: detail})
	c.countError()
}

// refuseAndClose answers what ends the connection.
func (c *Conn) refuseAndClose(cause Cause, r *relay.Reply, detail string) {
	c.close(r, EndErrors)
	c.s.Refused(Refusal{Cause: cause, Reply: r, Detail: detail})
}

func (c *Conn) countError() {
	limit := maxErrorsEarly
	if c.known() {
		limit = maxErrors
	}
	if c.errors++; c.errors >= limit && c.end == "" {
		c.refuseAndClose(CauseTooManyErrors, relay.ReplyTooManyErrors, "")
	}
}

// answer turns an error of the session's into the client's reply. What the
// session refuses it has told of itself.
func (c *Conn) answer(err error) {
	if closing, ok := errors.AsType[*ClosingError](err); ok {
		c.close(closing.Reply, closing.End)
		return
	}
	r := AsReply(err)
	c.w.reply(r)
	switch r {
	case relay.ReplyAuthRequired, relay.ReplySenderRefused:
		c.countError()
	default:
		// The provider's word, or about the provider: no fault of the
		// client's.
	}
}

// AsReply is the reply that an error stands for.
func AsReply(err error) *relay.Reply {
	if r, ok := errors.AsType[*relay.Reply](err); ok && r.Code >= 400 && r.Code < 600 {
		return r
	}
	return relay.ReplyInternal
}
