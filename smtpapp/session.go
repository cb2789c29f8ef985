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
	"strconv"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// session is one client's session: who it is, what it may send, and the
// message on its way. It is what stands behind a connection of smtpserver,
// which keeps the sequence of commands.
//
// It is bound to no generation of the configuration: each MAIL takes the one
// that is in force.
type session struct {
	ctx    context.Context
	cancel context.CancelFunc
	id     string
	point  *point
	place  *front.Conn
	remote netip.Addr
	// address is remote for the access log, which wants it with each message.
	address string
	opened  time.Time
	conn    *smtpserver.Conn
	server  string
	local   bool   // over a unix socket
	end     ending // how it ended; of a panic until Serve has returned

	login     string  // the account's name, after AUTH
	bound     binding // what lets the session send
	auth      stretch // of the login, until its first message; zero unless traced
	heloName  string
	messageNo int

	asked     *policy // that the connection was given last
	handshake *policy // that TLS was agreed under

	transaction

	// What others may look at.
	mu    sync.Mutex
	state sessionState
}

// transaction is one message on its way.
type transaction struct {
	gen      *generation // in force at MAIL
	account  *accounts.Account
	from     string
	opts     smtp.MailOptions
	started  time.Time
	allowed  time.Time // when it was seen last that the client may send it
	tx       relay.Transaction
	txErr    error // why there is none
	deferred *relay.Recipient
	about    relay.Info
	data     time.Duration          // from DATA or the first BDAT to the final reply
	trace    *messageTrace          // nil unless it is sampled
	rcpts    []messagelog.Recipient // for the message log; nil without one
}

// sessionState is what Sessions shows.
type sessionState struct {
	account  string
	inMail   bool
	messages int
	tls      bool
}

// Config implements smtpserver.Session.
func (s *session) Config() *smtpserver.Config {
	g := s.point.current()
	if g == nil {
		return nil
	}
	s.asked = g.policy
	return &g.policy.Config
}

// Network implements smtpserver.Session.
func (s *session) Network() smtpserver.Network {
	_, trusted := s.asked.trusts(s.remote)
	return smtpserver.Network{Trusted: trusted, LFOnly: s.asked.endsWithLF(s.remote)}
}

// Hello implements smtpserver.Session.
func (s *session) Hello(name string) { s.heloName = name }

// StartedTLS implements smtpserver.Session: it forgets who logged in before.
func (s *session) StartedTLS() {
	s.place.RemoveGuest()
	s.place.AddGuest(s)
	s.login, s.auth, s.bound = "", stretch{}, binding{}
	s.handshake = s.asked
	s.update(func(st *sessionState) { st.tls, st.account = true, "" })
}

func (s *session) update(f func(*sessionState)) {
	s.mu.Lock()
	f(&s.state)
	s.mu.Unlock()
}

// MayLogin implements smtpserver.Session.
func (s *session) MayLogin() bool {
	g := s.point.current()
	return g != nil && (s.local || s.conn.TLS() != nil || g.policy.allowsPlaintext(s.remote))
}

// What ends a session with its reply.
var (
	errShuttingDown = &smtpserver.ClosingError{Reply: relay.ReplyShuttingDown, End: smtpserver.EndShutdown}
	errEnded        = &smtpserver.ClosingError{Reply: relay.ReplySessionEnded, End: endEnded}
	errLoginGone    = &smtpserver.ClosingError{Reply: relay.ReplyLoginGone, End: endLoginGone}
	errCrowdedOut   = &smtpserver.ClosingError{Reply: relay.ReplyTooManyConns, End: endLimit}
	errBanned       = &smtpserver.ClosingError{Reply: relay.ReplyBanned, End: smtpserver.EndBanned}
)

// maxLoggedName bounds what a client can make us write or remember.
const maxLoggedName = 256

// Login implements smtpserver.Session. A refusal says nothing of its reason.
func (s *session) Login(name, plain string) (err error) {
	g := s.point.current()
	if g == nil {
		return errShuttingDown
	}
	attempt, err := g.guard.Begin(s.ctx, front.Login{
		Server: g.name, Remote: s.remote, Policy: &g.policy.guard, Name: accounts.FoldName(name), Password: plain,
	}, s.conn.Drained())
	switch {
	case errors.Is(err, front.ErrEnding):
		return relay.ReplyAuthOverloaded // and the last word behind it
	case errors.Is(err, front.ErrBanned):
		s.refused(g, refusal{Refusal: smtpserver.Refusal{Cause: causeBanned, Reply: relay.ReplyBanned}, account: clip(name, maxLoggedName)})
		return errBanned
	case err != nil:
		return s.overloaded(g, name)
	}
	defer attempt.End()
	ctx := s.ctx
	if key := clientKey(s.remote); key.IsValid() {
		// One address cannot take all the places in front of the slow hashes.
		ctx = password.WithClient(ctx, key.String())
	}
	from := g.tracing.now()
	// Whose password is being looked at is not idle. Who waits for a turn, or for the
	// answer to a wrong one, is a guest still: there is no bound to those.
	s.place.RemoveGuest()
	a, err := g.directory.Authenticate(ctx, name, plain)
	if err != nil {
		s.place.AddGuest(s)
	}
	if len(name) > maxLoggedName {
		name = name[:maxLoggedName] // for the log, and for what is remembered
	}
	switch {
	case err == nil:
		attempt.Succeeded()
		s.login, s.auth = a.Name, stretch{from, g.tracing.now()}
		s.bound = binding{by: byPassword, name: a.Name, credential: a.Credential}
		s.update(func(st *sessionState) { st.account = a.Name })
		g.metrics.auth(g.name, "ok")
		if g.warmer != nil {
			g.warmer.Warm(a.Account)
		}
		return nil
	case errors.Is(err, accounts.ErrPaused):
		g.metrics.auth(g.name, "paused")
		s.refused(g, refusal{Refusal: smtpserver.Refusal{Cause: causePaused, Reply: relay.ReplyAuthFailed}, account: name})
		// A right password must not be told from a wrong one by its time.
		g.guard.Wait(s.ctx, attempt.Withheld(), s.conn.Drained())
		return relay.ReplyAuthFailed
	case errors.Is(err, accounts.ErrBadCredentials):
		g.metrics.auth(g.name, "failed")
		o := attempt.Failed()
		s.loginFailed(g, name, !o.Repeated)
		g.logBans(o.Bans)
		g.guard.Wait(s.ctx, o.Delay, s.conn.Drained())
		return relay.ReplyAuthFailed
	case errors.Is(err, accounts.ErrOverloaded):
		return s.overloaded(g, name)
	}
	g.metrics.auth(g.name, "error")
	return relay.ReplyInternal
}

func (s *session) overloaded(g *generation, name string) error {
	g.metrics.auth(g.name, "overloaded")
	s.refused(g, refusal{Refusal: smtpserver.Refusal{Cause: causeOverloaded, Reply: relay.ReplyAuthOverloaded}, account: clip(name, maxLoggedName)})
	return relay.ReplyAuthOverloaded
}

// Mail implements smtpserver.Session.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	g := s.point.current()
	if g == nil {
		return errShuttingDown
	}
	a, err := s.allow(g, from, opts)
	if err != nil {
		return err
	}
	s.place.RemoveGuest()
	if with := s.conn.Protocol(); with != relay.Protocol(s.ctx) {
		s.ctx = relay.WithProtocol(s.ctx, with)
	}
	s.messageNo++
	now := time.Now()
	s.transaction = transaction{gen: g, account: a, from: from, opts: *opts, started: now, allowed: now}
	s.trace = g.tracing.startMessage(s)
	s.update(func(st *sessionState) { st.inMail, st.account = true, a.Name })
	return nil
}

// inHand is how long MAIL stands that was allowed. A client can keep a transaction
// open for hours, and as many as it may have connections.
const inHand = 30 * time.Second

// stillMay looks again at what lets the client send, unless that was a moment before
// now.
func (s *session) stillMay(now time.Time) error {
	if now.Sub(s.allowed) < inHand {
		return nil
	}
	g := s.point.current()
	if g == nil {
		g = s.gen // what was begun may be finished
	}
	_, err := s.allow(g, s.from, &s.opts)
	if err == nil {
		s.allowed = now
	}
	return err
}

// begins has a message leave under what is in force now: MAIL was said before, and
// may have been when the account was another. An old record would bring back what
// has been changed: credentials, limits, senders, the upstream.
func (s *session) begins() error {
	g := s.point.current()
	if g == nil {
		g = s.gen // what was begun may be finished
	}
	a, err := s.allow(g, s.from, &s.opts)
	if err == nil {
		s.gen, s.account, s.allowed = g, a, time.Now()
	}
	return err
}

// Rcpt implements smtpserver.Session.
func (s *session) Rcpt(rcpts []relay.Recipient, answers []error) {
	err := s.stillMay(time.Now())
	if err == nil && s.tx == nil && s.txErr == nil && s.deferred == nil {
		err = s.begins()
	}
	single := s.gen.policy.deferred && s.gen.single != nil
	if err == nil && !single {
		err = s.begin()
	}
	switch {
	case err != nil:
		for i := range answers {
			answers[i] = err
		}
	case single:
		s.deferRcpts(rcpts, answers)
	default:
		s.flight(rcpts, answers)
	}
	s.keepRcpts(rcpts, answers)
	for _, err := range answers {
		if err != nil {
			s.trace.refused(err)
		}
	}
}

// flight sends recipients to the provider, in one go if that is possible.
func (s *session) flight(rcpts []relay.Recipient, answers []error) {
	from := s.trace.now()
	defer func() { s.trace.flight(from) }()
	if b, ok := s.tx.(relay.RcptBatcher); ok && len(rcpts) > 1 {
		results := b.RcptBatch(s.ctx, rcpts)
		for i := copy(answers, results); i < len(answers); i++ {
			answers[i] = relay.ReplyInternal
		}
		return
	}
	for i := range rcpts {
		answers[i] = s.tx.Rcpt(s.ctx, rcpts[i].To, &rcpts[i].Opts)
	}
}

// deferRcpts keeps the one recipient, which leaves with the message.
func (s *session) deferRcpts(rcpts []relay.Recipient, answers []error) {
	for i := range rcpts {
		if s.deferred != nil {
			answers[i] = relay.ReplyOneRecipient
			continue
		}
		s.deferred = &relay.Recipient{To: rcpts[i].To, Opts: rcpts[i].Opts}
	}
}

// begin opens the transaction with the first recipient. A failure stands for
// all of them: waiting once is enough.
func (s *session) begin() error {
	if s.tx != nil || s.txErr != nil {
		return s.txErr
	}
	from := s.trace.now()
	s.tx, s.txErr = s.gen.upstream.Begin(s.ctx, s.account, s.from, &s.opts)
	s.trace.began(from, s.txErr)
	if s.txErr != nil {
		s.tx = nil
	}
	return s.txErr
}

// Data implements smtpserver.Session.
func (s *session) Data(body io.Reader) (*relay.Reply, error) {
	start := time.Now()
	look := s.stillMay
	if s.deferred != nil {
		look = func(time.Time) error { return s.begins() }
	}
	if err := look(start); err != nil {
		return nil, err
	}
	s.trace.dataFrom(start)
	reply := new(relay.Reply)
	var err error
	if s.deferred != nil {
		*reply, s.about, err = relay.Send(s.ctx, s.gen.upstream, s.account, s.from, &s.opts, *s.deferred, body)
	} else {
		*reply, err = s.tx.Data(s.ctx, body)
	}
	s.data = time.Since(start)
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Whole implements smtpserver.Session.
func (s *session) Whole(rcpt *relay.Recipient, body io.Reader) (refused error, reply *relay.Reply, err error) {
	start := time.Now()
	if err := s.begins(); err != nil {
		return err, nil, nil
	}
	reply = new(relay.Reply)
	*reply, s.about, err = relay.Send(s.ctx, s.gen.upstream, s.account, s.from, &s.opts, *rcpt, body)
	if err != nil && s.about.Refused {
		refused, err = err, nil
		s.trace.flight(start)
		s.trace.refused(refused)
	} else {
		s.trace.dataFrom(start)
		s.data = time.Since(start)
	}
	if err != nil || refused != nil {
		reply = nil
	}
	s.keepRcpts([]relay.Recipient{*rcpt}, []error{refused})
	return refused, reply, err
}

// Stalled implements smtpserver.Session.
func (s *session) Stalled() bool {
	h, ok := s.tx.(relay.Holder)
	return ok && h.Wanted()
}

// Finish implements smtpserver.Session.
func (s *session) Finish(res *smtpserver.Result) {
	if d, ok := s.tx.(relay.Describer); ok {
		s.about = d.Describe()
	}
	if res.Tried > 0 {
		s.gen.logMessage(s, res)
	}
	if res.Data && res.Reply != nil && res.Reply.Positive() {
		s.update(func(st *sessionState) { st.messages++ })
		if s.gen.policy.replyID {
			said := *res.Reply
			said.Lines = withID(said.Lines, s.messageID())
			res.Reply = &said
		}
	}
	if s.tx != nil {
		s.tx.Abort()
	}
	s.transaction = transaction{}
	s.update(func(st *sessionState) { st.inMail = false })
}

// withID appends an id to the last of a reply's lines, which are not ours.
func withID(lines []string, id string) []string {
	out := append([]string(nil), lines...)
	if len(out) == 0 {
		out = []string{""}
	}
	out[len(out)-1] += " [mg-" + id + "]"
	return out
}

// messageID tells the messages of a session apart.
func (s *session) messageID() string { return s.id + "." + strconv.Itoa(s.messageNo) }

// Interface guards
var _ smtpserver.Session = (*session)(nil)
