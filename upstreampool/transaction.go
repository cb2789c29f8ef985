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
	"slices"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// transaction is one message on its way. It owns its connection until it ends.
type transaction struct {
	up   *upstream
	ac   *account
	c    *conn
	acct *accounts.Account
	env  smtpclient.Envelope

	stale    bool         // the connection waited in the pool and may have died there
	mailed   bool         // MAIL was sent
	inBody   bool         // its octets are being sent
	fatal    *relay.Reply // the connection is gone: the answer to everything
	accepted int          // recipients
	orphan   limits.Slot  // of the connection that was not replaced
	done     bool
	stepping bool               // one command at a time, whatever is announced
	taken    []relay.Recipient  // accepted
	room     [1]relay.Recipient // of taken
	renewed  bool               // its envelope was said again

	info relay.Info
}

func newTransaction(u *upstream, a *accounts.Account, from string, opts *smtp.MailOptions) *transaction {
	t := &transaction{up: u, acct: a, env: smtpclient.Envelope{From: from}}
	if opts != nil {
		t.env.Opts = *opts
	}
	// What the client says there is never passed on: the gateway vouches for
	// its account alone.
	t.env.Opts.Auth = nil
	if s := u.current.Load(); s != nil && s.submitter {
		t.env.Opts.Auth = &a.Name
	}
	return t
}

// begin reserves what one message needs.
func (u *upstream) begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (*transaction, error) {
	t := newTransaction(u, a, from, opts)
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
	if reply := c.CheckMail(&t.env); reply != nil {
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
	c.Endure(!t.stale)
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
	if first && !t.ac.lim.Lends(&t.c.slot) {
		t.fail(relay.ReplyLimitsNotStored, errs)
		return
	}
	t.mailed = true
	var before []error
	if first && len(errs) > 1 {
		before = slices.Clone(errs)
	}
	stepping := !t.c.Pipelining()
	err := t.envelope(ctx, rcpts, errs, first)
	confused := err != nil && t.confused(err, len(rcpts), stepping)
	if err != nil && first && (t.stale && smtpclient.Replaceable(err) || confused) {
		// Nothing was committed: the same flight goes out once more, on a
		// connection that is certainly new.
		if before == nil {
			errs[0] = smtpclient.ErrPending
		}
		copy(errs, before)
		t.stepping = confused
		if reply := t.replace(ctx); reply != nil {
			t.fail(reply, errs)
			return
		}
		if err = t.envelope(ctx, rcpts, errs, first); err == nil && confused {
			t.c.s.Learned.NoPipelining.Store(true)
			t.c.s.Logger.Warn("the provider announces PIPELINING and can't: commands go one by one from now on", zap.String("upstream", t.up.name))
		}
	}
	if err == nil && !stepping && !confused && first {
		t.c.s.Learned.Pipelining.Store(true)
	}
	if err != nil && !first && !t.renewed && smtpclient.Replaceable(err) {
		// The provider ended the connection while the client was busy with
		// something else.
		if reply := t.again(ctx); reply != nil {
			t.fail(reply, errs)
			return
		}
		err = t.envelope(ctx, rcpts, errs, false)
	}
	for i, e := range errs {
		if e == nil {
			t.accept(rcpts[i])
		}
	}
	if err != nil {
		t.fail(smtpclient.LostReply(err), errs)
	}
}

// accept notes an accepted recipient.
func (t *transaction) accept(rcpt relay.Recipient) {
	if t.taken == nil {
		t.taken = t.room[:0]
	}
	t.taken = append(t.taken, rcpt)
	t.accepted++
}

// again replaces the connection and says on the new one what was accepted on the
// old. Nothing was committed there. If the recipients are not accepted once more
// as they were, the client tries again.
func (t *transaction) again(ctx context.Context) *relay.Reply {
	t.renewed = true
	if reply := t.replace(ctx); reply != nil {
		return reply
	}
	errs := make([]error, len(t.taken))
	for i := range errs {
		errs[i] = smtpclient.ErrPending
	}
	if err := t.envelope(ctx, t.taken, errs, true); err != nil {
		return smtpclient.LostReply(err)
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return relay.ReplyUpstreamLost
	}
	t.accepted = len(t.taken)
	return nil
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
		case t.env.Refused != nil:
			errs[i] = t.env.Refused
		case ctx.Err() != nil:
			errs[i] = relay.ReplyInternal
		default:
			if reply := t.checkRcpt(ctx, &rcpts[i]); reply != nil {
				errs[i] = reply
				continue
			}
			errs[i] = smtpclient.ErrPending
			any = true
		}
	}
	return any
}

// checkRcpt refuses a recipient that can't be sent, and takes the slots of one
// that can.
func (t *transaction) checkRcpt(ctx context.Context, rcpt *relay.Recipient) *relay.Reply {
	if reply := t.c.CheckRcpt(&t.env, rcpt.To); reply != nil {
		return reply
	}
	if err := t.ac.lim.Recipients(ctx, &t.c.slot, 1); err != nil {
		return t.up.limitReply(err)
	}
	return nil
}

// envelope sends MAIL, if it is due, and the pending recipients.
func (t *transaction) envelope(ctx context.Context, rcpts []relay.Recipient, errs []error, mail bool) error {
	err := t.c.Flight(ctx, &t.env, rcpts, errs, mail)
	if mail {
		t.learn(t.env.Refused)
	}
	return err
}

// learn takes note of what a refusal, if there is one, says about the account.
func (t *transaction) learn(r *relay.Reply) {
	if r == nil || r.Code != 432 {
		return
	}
	t.ac.mu.Lock()
	t.ac.adapt.Lower(t.ac.conns-t.ac.dialing-1, clock())
	t.ac.mu.Unlock()
}

// confused reports whether a flight failed as at a provider without the
// PIPELINING that it announces. Where that has worked it is something else.
func (t *transaction) confused(err error, n int, stepping bool) bool {
	return !stepping && !t.c.s.Learned.Pipelining.Load() && smtpclient.Confused(err, n)
}

// replace opens a new connection in the slot of the one that died.
func (t *transaction) replace(ctx context.Context) *relay.Reply {
	s := t.up.current.Load()
	old := t.c
	t.ac.mu.Lock()
	id := t.ac.id
	// Its neighbours have likely met the same end.
	for c := t.ac.idleHead; c != nil; c = c.next {
		c.Suspect()
	}
	t.ac.mu.Unlock()
	old.Abandon()
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
		t.ac.adapt.Failed(derr, t.ac.conns-t.ac.dialing-1, clock())
		t.ac.mu.Unlock()
		return derr.Reply
	}
	c.lend(s, t.orphan)
	t.take(c)
	if !t.ac.lim.Lends(&c.slot) {
		return relay.ReplyLimitsNotStored
	}
	if t.stepping {
		c.OneByOne()
	}
	t.env.Refused, t.accepted = nil, 0
	if !c.Carries(&t.env, old.Conn) {
		return relay.ReplyUpstreamLost // and the next connection may announce it again
	}
	return nil
}

// fail notes that the connection is gone and answers what is pending.
func (t *transaction) fail(reply *relay.Reply, errs []error) {
	t.fatal = reply
	for i := range errs {
		if errs[i] == smtpclient.ErrPending { //nolint:errorlint // a mark of this file
			errs[i] = reply
		}
	}
	t.finish(false)
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
	sound = !c.Unasked() && sound
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

// Wanted implements relay.Holder: others of the mailbox wait for a connection,
// or others of the upstream do and no more may be opened, or the provider has
// closed this one.
func (t *transaction) Wanted() bool {
	if t.done || t.c == nil {
		return false
	}
	// Within the body replies to chunks may be there already.
	if t.mailed && !t.inBody && !t.c.Silent() {
		return true
	}
	t.ac.mu.Lock()
	waiting := t.ac.nWait > 0 || t.ac.owed
	t.ac.mu.Unlock()
	return waiting || t.up.nStarved.Load() > 0
}

// Interface guards
var (
	_ relay.Transaction = (*transaction)(nil)
	_ relay.RcptBatcher = (*transaction)(nil)
	_ relay.Describer   = (*transaction)(nil)
	_ relay.Holder      = (*transaction)(nil)
)
