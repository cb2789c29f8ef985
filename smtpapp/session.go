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
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// session is one client's session: who it is, what it may send, and the
// message on its way. It implements go-smtp's AuthSession and can run on its
// server loop as well as on ours.
//
// It is bound to no generation of the configuration: each MAIL takes the one
// that is in force.
type session struct {
	ctx    context.Context
	cancel context.CancelFunc
	id     string
	point  *point
	remote netip.Addr
	opened time.Time
	wire   *wire // nil on go-smtp's loop
	isTLS  func() bool

	gen       *generation // the one in force at MAIL
	account   *accounts.Account
	login     string // the name of who logged in, or is trusted
	trusted   bool   // by network, not by password
	heloName  string
	messageNo int

	// The transaction.
	from     string
	opts     smtp.MailOptions
	started  time.Time
	rcpts    int
	tx       relay.Transaction
	txErr    error // why there is none
	deferred *relay.Recipient
	envelope time.Duration

	// What others may look at.
	mu    sync.Mutex
	state sessionState
}

// sessionState is what Sessions shows.
type sessionState struct {
	account  string
	inMail   bool
	messages int
	tls      bool
}

func (s *session) policy() *policy {
	g := s.point.current()
	if g == nil {
		return nil
	}
	return g.policy
}

func (s *session) hello(name string) { s.heloName = name }

// startedTLS forgets who logged in before the handshake.
func (s *session) startedTLS() {
	s.login, s.account, s.trusted = "", nil, false
	s.update(func(st *sessionState) { st.tls, st.account = true, "" })
}

func (s *session) update(f func(*sessionState)) {
	s.mu.Lock()
	f(&s.state)
	s.mu.Unlock()
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string {
	p := s.policy()
	if p == nil || !s.isTLS() && !p.allowsPlaintext(s.remote) {
		return nil
	}
	return mechanisms
}

// Auth implements smtp.AuthSession.
func (s *session) Auth(mech string) (sasl.Server, error) {
	if len(s.AuthMechanisms()) == 0 {
		return nil, relay.ReplyTLSRequired
	}
	switch mech {
	case sasl.Plain:
		return &plainServer{check: s.authenticate}, nil
	case sasl.Login:
		return &loginServer{check: s.authenticate}, nil
	}
	return nil, relay.ReplyAuthMechanism
}

// authenticate checks a login. A refusal says nothing of its reason.
func (s *session) authenticate(name, password string) error {
	g := s.point.current()
	if g == nil {
		return relay.ReplyShuttingDown
	}
	a, err := g.directory.Authenticate(s.ctx, name, password)
	switch {
	case err == nil:
		s.login, s.account, s.trusted = a.Name, a, false
		s.update(func(st *sessionState) { st.account = a.Name })
		g.metrics.auth(g.name, "ok")
		if g.warmer != nil {
			g.warmer.Warm(a)
		}
		return nil
	case errors.Is(err, accounts.ErrPaused):
		g.metrics.auth(g.name, "paused")
		g.logAuth(s, name, "paused")
		return relay.ReplyAuthFailed
	case errors.Is(err, accounts.ErrBadCredentials):
		g.metrics.auth(g.name, "failed")
		g.logAuth(s, name, "failed")
		s.punish(g, name)
		return relay.ReplyAuthFailed
	case errors.Is(err, accounts.ErrOverloaded):
		g.metrics.auth(g.name, "overloaded")
		return relay.ReplyAuthOverloaded
	}
	g.metrics.auth(g.name, "error")
	return relay.ReplyInternal
}

// identify finds the account that a message would be sent as.
func (s *session) identify(g *generation) (*accounts.Account, error) {
	name := s.login
	if name == "" {
		var ok bool
		if name, ok = g.policy.trusts(s.remote); !ok {
			return nil, relay.ReplyAuthRequired
		}
	}
	a, ok := g.directory.Lookup(name)
	if !ok {
		// Deleted since the login.
		return nil, relay.ReplyAuthRequired
	}
	if a.Paused {
		return nil, relay.ReplyPaused
	}
	return a, nil
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	g := s.point.current()
	if g == nil {
		return relay.ReplyShuttingDown
	}
	if s.gen != nil {
		return relay.ReplyNestedMail
	}
	a, err := s.identify(g)
	if err != nil {
		return err
	}
	if opts.Size > g.policy.maxSize {
		return relay.ReplyTooBig
	}
	if !a.MaySend(from) {
		g.logRefused(s, a, from)
		return relay.ReplySenderRefused
	}
	s.gen, s.account, s.from, s.opts = g, a, from, *opts
	s.started = time.Now()
	s.update(func(st *sessionState) { st.inMail, st.account = true, a.Name })
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	if err := s.mayAdd(); err != nil {
		return err
	}
	if s.gen.policy.deferred && s.gen.single != nil {
		return s.deferRcpt(to, opts)
	}
	if err := s.begin(); err != nil {
		return err
	}
	start := time.Now()
	err := s.tx.Rcpt(s.ctx, to, opts)
	s.envelope += time.Since(start)
	if err == nil {
		s.rcpts++
	}
	return err
}

// RcptBatch implements rcptBatcher.
func (s *session) RcptBatch(rcpts []relay.Recipient) []error {
	errs := make([]error, len(rcpts))
	batcher := s.batcher(len(rcpts))
	if batcher == nil {
		for i := range rcpts {
			errs[i] = s.Rcpt(rcpts[i].To, &rcpts[i].Opts)
		}
		return errs
	}
	n := min(len(rcpts), max(0, s.gen.policy.maxRcpts-s.rcpts))
	start := time.Now()
	for i, err := range batcher.RcptBatch(s.ctx, rcpts[:n]) {
		errs[i] = err
		if err == nil {
			s.rcpts++
		}
	}
	s.envelope += time.Since(start)
	for i := n; i < len(rcpts); i++ {
		errs[i] = relay.ReplyTooManyRcpts
	}
	return errs
}

// batcher returns the transaction as a batcher, if it is worth it.
func (s *session) batcher(n int) relay.RcptBatcher {
	if n < 2 || s.mayAdd() != nil || s.gen.policy.deferred && s.gen.single != nil || s.begin() != nil {
		return nil
	}
	b, _ := s.tx.(relay.RcptBatcher)
	return b
}

func (s *session) mayAdd() error {
	if s.gen == nil {
		return relay.ReplyBadSequence
	}
	if s.rcpts >= s.gen.policy.maxRcpts {
		return relay.ReplyTooManyRcpts
	}
	return nil
}

func (s *session) deferRcpt(to string, opts *smtp.RcptOptions) error {
	if s.deferred != nil {
		return relay.ReplyOneRecipient
	}
	s.deferred = &relay.Recipient{To: to, Opts: *opts}
	s.rcpts++
	return nil
}

// begin opens the transaction with the first recipient. A failure stands for
// all of them: waiting once is enough.
func (s *session) begin() error {
	if s.tx != nil || s.txErr != nil {
		return s.txErr
	}
	start := time.Now()
	s.tx, s.txErr = s.gen.upstream.Begin(s.ctx, s.account, s.from, &s.opts)
	if s.txErr != nil {
		s.tx = nil
		s.gen.logMessage(s, nil, s.txErr, 0, time.Since(start))
	}
	return s.txErr
}

// Data implements smtp.Session. A positive reply comes as an error too, so
// that go-smtp's loop says the provider's words.
func (s *session) Data(r io.Reader) error {
	reply, err := s.DataReply(r)
	if err != nil {
		return err
	}
	return reply
}

// DataReply implements dataReplier.
func (s *session) DataReply(r io.Reader) (*relay.Reply, error) {
	if s.gen == nil || s.tx == nil && s.deferred == nil {
		return nil, relay.ReplyBadSequence
	}
	start := time.Now()
	var reply relay.Reply
	var info relay.Info
	var err error
	if s.deferred != nil {
		reply, info, err = s.gen.single.Send(s.ctx, s.account, s.from, &s.opts, *s.deferred, r)
	} else {
		reply, err = s.tx.Data(s.ctx, r)
	}
	var size int64
	if b, ok := r.(*body); ok {
		size = b.size
	}
	s.gen.logMessage(s, &reply, err, size, time.Since(start))
	_ = info
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Reset implements smtp.Session.
func (s *session) Reset() {
	if s.tx != nil {
		s.tx.Abort()
	}
	if s.gen == nil {
		return
	}
	s.tx, s.txErr, s.gen, s.deferred = nil, nil, nil, nil
	s.from, s.opts, s.rcpts, s.envelope = "", smtp.MailOptions{}, 0, 0
	s.update(func(st *sessionState) { st.inMail = false })
}

// Logout implements smtp.Session.
func (s *session) Logout() error {
	s.Reset()
	s.cancel()
	return nil
}

// Interface guards
var (
	_ smtp.AuthSession = (*session)(nil)
	_ backend          = (*session)(nil)
)
