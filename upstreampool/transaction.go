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
	"slices"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// transaction is one message on its way. It owns its connection until it ends.
type transaction struct {
	up   *upstream
	ac   *account
	c    *conn
	acct *accounts.Account
	from string
	opts smtp.MailOptions

	stale    bool         // the connection waited in the pool and may have died there
	mailed   bool         // MAIL was sent
	inBody   bool         // its octets are being sent
	refused  *relay.Reply // of MAIL: the answer to every recipient
	fatal    *relay.Reply // the connection is gone: the answer to everything
	accepted int          // recipients
	orphan   limits.Slot  // of the connection that was not replaced
	done     bool
	stepping bool              // one command at a time, whatever is announced
	taken    []relay.Recipient // accepted, while BDAT has not proved to work

	info relay.Info
}

// begin reserves what one message needs.
func (u *upstream) begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (*transaction, error) {
	t := &transaction{up: u, acct: a, from: from}
	if opts != nil {
		t.opts = *opts
	}
	if err := t.reserve(ctx, false); err != nil {
		return nil, err
	}
	return t, nil
}

// reserve takes slots and a connection, and checks what can be checked now.
func (t *transaction) reserve(ctx context.Context, forced bool) error {
	ac, c, waited, err := t.up.acquire(ctx, t.acct, forced)
	t.info.Upstream = t.up.name
	t.info.Wait += waited
	if waited > 0 {
		t.info.Waited, t.info.Got = waited, time.Now()
	}
	if err != nil {
		return err
	}
	t.ac = ac
	t.take(c)
	if reply := checkMail(&c.caps, t.from, &t.opts); reply != nil {
		t.done = true
		ac.giveBack(c)
		return reply
	}
	return nil
}

func (t *transaction) take(c *conn) {
	t.c = c
	t.info.Reused = c.messages > 0
	t.stale = t.info.Reused || clock()-c.opened > int64(recentUse)
	if !t.info.Reused {
		t.info.Dial, t.info.Token = c.dialTime, c.tokenTime
		t.info.Opening = c.opening
		t.info.Wait = max(0, t.info.Wait-c.dialTime-c.tokenTime)
	}
}

// Rcpt implements relay.Transaction.
func (t *transaction) Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error {
	one := [1]relay.Recipient{{To: to}}
	if opts != nil {
		one[0].Opts = *opts
	}
	var errs [1]error
	t.rcpts(ctx, one[:], errs[:])
	return errs[0]
}

// RcptBatch implements relay.RcptBatcher.
func (t *transaction) RcptBatch(ctx context.Context, rcpts []relay.Recipient) []error {
	errs := make([]error, len(rcpts))
	t.rcpts(ctx, rcpts, errs)
	return errs
}

// errPending marks a recipient that has no answer yet.
var errPending = errors.New("pending")

// rcpts sends recipients in one flight where the provider has PIPELINING
// (RFC 2920), else one by one; MAIL goes in front of the first.
func (t *transaction) rcpts(ctx context.Context, rcpts []relay.Recipient, errs []error) {
	if t.admit(ctx, rcpts, errs) {
		t.flight(ctx, rcpts, errs)
	}
}

// flight sends the pending recipients.
func (t *transaction) flight(ctx context.Context, rcpts []relay.Recipient, errs []error) {
	start := time.Now()
	defer func() { t.info.Envelope += time.Since(start) }()
	first := !t.mailed
	t.mailed = true
	var before []error
	if first && len(errs) > 1 {
		before = slices.Clone(errs)
	}
	stepping := !t.c.caps.pipelining
	err := t.envelope(ctx, rcpts, errs, first)
	confused := err != nil && t.confused(err, len(rcpts), stepping)
	if err != nil && first && (t.stale && replaceable(err) || confused) {
		// Nothing was committed: the same flight goes out once more, on a
		// connection that is certainly new.
		if before == nil {
			errs[0] = errPending
		}
		copy(errs, before)
		t.stepping = confused
		if reply := t.replace(ctx); reply != nil {
			t.fail(reply, errs)
			return
		}
		if err = t.envelope(ctx, rcpts, errs, first); err == nil && confused {
			t.c.s.learnt.noPipelining.Store(true)
			t.c.s.logger.Warn("the provider announces PIPELINING and can't: commands go one by one from now on", zap.String("upstream", t.up.name))
		}
	}
	if err == nil && !stepping && !confused && first {
		t.c.s.learnt.pipelining.Store(true)
	}
	proved := t.c == nil || !t.c.caps.chunking || t.c.s.learnt.bdat.Load()
	for i, e := range errs {
		if e == nil {
			t.accepted++
			if !proved {
				t.taken = append(t.taken, rcpts[i])
			}
		}
	}
	if err != nil {
		t.fail(lostReply(err), errs)
	}
}

// admit answers the recipients that need not be sent and marks the others.
func (t *transaction) admit(ctx context.Context, rcpts []relay.Recipient, errs []error) bool {
	any := false
	for i := range rcpts {
		switch {
		case t.fatal != nil:
			// A 503 here would let an MTA bounce this recipient for the
			// provider's passing trouble.
			errs[i] = t.fatal
		case t.done:
			errs[i] = relay.ReplyBadSequence
		case t.refused != nil:
			errs[i] = t.refused
		case ctx.Err() != nil:
			errs[i] = relay.ReplyInternal
		default:
			if reply := t.checkRcpt(ctx, &rcpts[i]); reply != nil {
				errs[i] = reply
				continue
			}
			errs[i] = errPending
			any = true
		}
	}
	return any
}

// checkRcpt refuses a recipient that can't be sent, and takes the slots of one
// that can.
func (t *transaction) checkRcpt(ctx context.Context, rcpt *relay.Recipient) *relay.Reply {
	if rcpt.To == "" || !safePath(rcpt.To, t.opts.UTF8) {
		return relay.ReplyBadRecipient
	}
	if t.c != nil && !t.c.caps.utf8 && !ascii(rcpt.To) {
		return relay.ReplyNoSMTPUTF8
	}
	if err := t.ac.lim.Recipients(ctx, &t.c.slot, 1); err != nil {
		return t.up.limitReply(err)
	}
	return nil
}

// flightError is a connection that failed during a flight.
type flightError struct {
	err     error
	replies int // that came before
	code    int // of a 421, or of a refusal that means a forgotten session
	reply   *relay.Reply
	forgot  bool // the provider has forgotten the session
}

func (e *flightError) Error() string { return e.err.Error() }
func (e *flightError) Unwrap() error { return e.err }

var errForgotten = errors.New("the provider has forgotten the session")

var errClosing = errors.New("the provider closes the connection")

// envelope sends MAIL, if it is due, and the pending recipients, and reads the
// replies. An error means that the connection can't be used any more.
func (t *transaction) envelope(ctx context.Context, rcpts []relay.Recipient, errs []error, mail bool) error {
	c := t.c
	if err := c.armContext(ctx, c.s.commandTimeout); err != nil {
		return &flightError{err: err}
	}
	if !c.silent() {
		return c.goodbye(0)
	}
	if !c.caps.pipelining {
		return t.stepwise(rcpts, errs, mail)
	}
	b := c.wbuf[:0]
	reset := mail && c.needReset
	if reset {
		b = append(b, "RSET\r\n"...)
	}
	if mail {
		b = appendMail(b, &c.caps, t.from, &t.opts)
	}
	for i := range rcpts {
		if errs[i] == errPending { //nolint:errorlint // a mark of this file
			b = appendRcpt(b, &c.caps, rcpts[i].To, &rcpts[i].Opts)
		}
	}
	c.keep(b)
	if err := c.write(b); err != nil {
		return &flightError{err: err}
	}
	seen := 0
	if reset {
		if err := c.expectReset(); err != nil {
			return err
		}
	}
	if mail {
		if err := t.readMail(); err != nil {
			return err
		}
		seen++
	}
	for i := range rcpts {
		if errs[i] != errPending { //nolint:errorlint // a mark of this file
			continue
		}
		if err := t.readRcpt(&errs[i], seen); err != nil {
			return err
		}
		seen++
	}
	if c.doubtful() {
		return &flightError{err: relay.ErrReply, replies: seen}
	}
	return nil
}

// stepwise is envelope for a provider without PIPELINING.
func (t *transaction) stepwise(rcpts []relay.Recipient, errs []error, mail bool) error {
	c := t.c
	if mail && c.needReset {
		if err := c.write([]byte("RSET\r\n")); err != nil {
			return &flightError{err: err}
		}
		if err := c.expectReset(); err != nil {
			return err
		}
		if !c.silent() {
			return c.goodbye(0)
		}
	}
	asked := !mail
	if mail {
		b := appendMail(c.wbuf[:0], &c.caps, t.from, &t.opts)
		c.keep(b)
		if err := c.write(b); err != nil {
			return &flightError{err: err}
		}
		if err := t.readMail(); err != nil {
			return err
		}
	}
	for i := range rcpts {
		if errs[i] != errPending { //nolint:errorlint // a mark of this file
			continue
		}
		if t.refused != nil {
			errs[i] = t.refused
			continue
		}
		if !asked && !c.silent() {
			return c.goodbye(1)
		}
		asked = false
		b := appendRcpt(c.wbuf[:0], &c.caps, rcpts[i].To, &rcpts[i].Opts)
		c.keep(b)
		if err := c.write(b); err != nil {
			return &flightError{err: err, replies: 1}
		}
		if err := t.readRcpt(&errs[i], 1); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) expectReset() error {
	code, err := c.replies.Read()
	if err != nil {
		return &flightError{err: err}
	}
	if code != 250 {
		return &flightError{err: errClosing, code: code}
	}
	c.needReset = false
	return nil
}

// readMail reads the reply to MAIL.
func (t *transaction) readMail() error {
	c := t.c
	code, err := c.replies.Read()
	switch {
	case err != nil:
		return &flightError{err: err}
	case code == 421:
		return &flightError{err: errClosing, code: code, reply: c.said()}
	case code == 250:
		c.needReset = true
	case code < 400:
		return &flightError{err: relay.ErrReply, replies: 1}
	default:
		r := c.said()
		if forgotten(r) {
			return forgot(r, 0)
		}
		t.refused = r
		t.learn(r)
	}
	return nil
}

// readRcpt reads the reply to one RCPT. If MAIL was refused, its refusal is the
// answer, whatever the provider says to a RCPT out of order.
func (t *transaction) readRcpt(dst *error, seen int) error {
	c := t.c
	code, err := c.replies.Read()
	switch {
	case err != nil:
		return &flightError{err: err, replies: seen}
	case code == 421:
		return &flightError{err: errClosing, replies: seen, code: code, reply: c.said()}
	case t.refused != nil:
		if code < 300 {
			c.needReset = true // it took a recipient after all
		}
		*dst = t.refused
	case code/10 == 25:
		*dst = nil
	case code < 400:
		return &flightError{err: relay.ErrReply, replies: seen}
	default:
		r := c.said()
		if forgotten(r) {
			return forgot(r, seen)
		}
		*dst = r
	}
	return nil
}

func forgot(r *relay.Reply, seen int) error {
	return &flightError{err: errForgotten, replies: seen, code: r.Code, reply: forgottenReply(r), forgot: true}
}

// learn takes note of what a refusal says about the account.
func (t *transaction) learn(r *relay.Reply) {
	if r.Code != 432 {
		return
	}
	t.ac.mu.Lock()
	t.ac.adapt.lower(t.ac.conns-t.ac.dialing-1, clock())
	t.ac.mu.Unlock()
}

// confused reports whether a flight failed as it does at a provider that
// announces PIPELINING and loses what follows the first command, or takes it
// amiss: MAIL was answered, and then not all of the rest. Where PIPELINING has
// worked it is something else.
func (t *transaction) confused(err error, n int, stepping bool) bool {
	fe, ok := errors.AsType[*flightError](err)
	return ok && !stepping && !t.c.s.learnt.pipelining.Load() && fe.replies >= 1 && fe.replies <= n && (!fe.forgot || fe.code == 503)
}

// replaceable tells whether the first flight failed as it does on a connection
// that was closed while it was idle: no reply came, or the goodbye in the place
// of MAIL's, or the provider no longer knew the session.
func replaceable(err error) bool {
	fe, ok := errors.AsType[*flightError](err)
	return ok && (fe.forgot || fe.replies == 0 && !timedOut(fe.err) && !errors.Is(fe.err, relay.ErrReply))
}

// replace opens a new connection in the slot of the one that died.
func (t *transaction) replace(ctx context.Context) *relay.Reply {
	s := t.up.current.Load()
	old := t.c
	t.ac.mu.Lock()
	id := t.ac.id
	// Its neighbours have likely met the same end.
	for c := t.ac.idleHead; c != nil; c = c.next {
		c.suspect = true
	}
	t.ac.mu.Unlock()
	old.abandon()
	old.stopExpiry()
	t.c, t.orphan = nil, old.slot
	if s == nil {
		return relay.ReplyShuttingDown
	}
	ctx, cancel := context.WithTimeout(ctx, s.maxWait)
	c, derr := t.up.connect(ctx, s, t.ac, id)
	cancel()
	if derr != nil {
		t.ac.mu.Lock()
		t.ac.adapt.failed(derr, t.ac.conns-t.ac.dialing-1, clock())
		t.ac.mu.Unlock()
		return derr.reply
	}
	c.slot = t.orphan
	t.take(c)
	if t.stepping {
		c.caps.pipelining = false
	}
	t.refused, t.accepted = nil, 0
	return checkMail(&c.caps, t.from, &t.opts)
}

// fail notes that the connection is gone and answers what is pending.
func (t *transaction) fail(reply *relay.Reply, errs []error) {
	t.fatal = reply
	for i := range errs {
		if errs[i] == errPending { //nolint:errorlint // a mark of this file
			errs[i] = reply
		}
	}
	t.finish(false)
}

// lostReply is what the client hears of a connection that failed before the
// end of data: the provider's goodbye if there was one.
func lostReply(err error) *relay.Reply {
	if fe, ok := errors.AsType[*flightError](err); ok && fe.reply != nil {
		return fe.reply
	}
	if errors.Is(err, relay.ErrReply) {
		return relay.ReplyUpstreamProtocol
	}
	return relay.ReplyUpstreamLost
}

// finish gives everything back, once.
func (t *transaction) finish(sound bool) {
	if t.done {
		return
	}
	t.done = true
	use := usage{sent: t.mailed, rcpts: int64(t.accepted)}
	c := t.c
	t.c = nil
	if c == nil {
		// The connection was lost and its successor never came.
		t.ac.lost(t.orphan, use)
		return
	}
	if t.mailed {
		c.messages++
	}
	// A reply that answers nothing would answer the next message.
	sound = sound && !c.buffered()
	t.ac.release(c, use, sound)
}

// Abort implements relay.Transaction.
func (t *transaction) Abort() {
	if t.done {
		return
	}
	// An open transaction is closed by RSET in front of the next MAIL.
	t.finish(true)
}

// Describe implements relay.Describer.
func (t *transaction) Describe() relay.Info { return t.info }

// keep keeps a flight's buffer for the next, unless it grew out of proportion.
func (c *conn) keep(b []byte) {
	if cap(b) <= 2<<10 {
		c.wbuf = b[:0]
	}
}

// Interface guards
var (
	_ relay.Transaction = (*transaction)(nil)
	_ relay.RcptBatcher = (*transaction)(nil)
	_ relay.Describer   = (*transaction)(nil)
)
