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
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"strconv"
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
	// address is remote for the access log, which wants it with each message.
	address string
	opened  time.Time
	wire    *wire // nil on go-smtp's loop
	server  string
	// tlsState says what was agreed; nil without TLS.
	tlsState func() *tls.ConnectionState
	local    bool // over a unix socket

	login     string  // the account's name, after AUTH
	bound     binding // what lets the session send
	auth      stretch // of the login, until its first message; zero unless traced
	heloName  string
	messageNo int

	asked     *policy // that the loop was given last
	handshake *policy // that TLS was agreed under

	transaction

	// What others may look at.
	mu    sync.Mutex
	state sessionState
}

// transaction is one message on its way.
type transaction struct {
	gen      *generation // in force at MAIL; nil outside a transaction
	account  *accounts.Account
	from     string
	opts     smtp.MailOptions
	started  time.Time
	tried    int // recipients
	rcpts    int // recipients accepted
	rcptErr  error
	tx       relay.Transaction
	txErr    error // why there is none
	deferred *relay.Recipient
	reported bool
	trace    *messageTrace // nil unless it is sampled
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
	s.asked = g.policy
	return g.policy
}

func (s *session) hello(name string) { s.heloName = name }

// startedTLS forgets who logged in before the handshake.
func (s *session) startedTLS() {
	s.login, s.auth, s.bound = "", stretch{}, binding{}
	s.handshake = s.asked
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
	if p == nil || !s.local && s.tlsState() == nil && !p.allowsPlaintext(s.remote) {
		return nil
	}
	return mechanisms
}

// Auth implements smtp.AuthSession.
func (s *session) Auth(mech string) (sasl.Server, error) {
	if len(s.AuthMechanisms()) == 0 {
		return nil, relay.ReplyTLSRequired
	}
	// The ban holds for connections that were there before it, too.
	if key := clientKey(s.remote); key.IsValid() && failures.banned(addressKey(key), time.Now()) {
		return nil, relay.ReplyBanned
	}
	switch mech {
	case sasl.Plain:
		return &plainServer{check: s.authenticate}, nil
	case sasl.Login:
		return &loginServer{check: s.authenticate}, nil
	}
	return nil, relay.ReplyAuthMechanism
}

// maxLoggedName bounds what a client can make us write or remember.
const maxLoggedName = 256

// authenticate checks a login. A refusal says nothing of its reason.
func (s *session) authenticate(name, password string) error {
	g := s.point.current()
	if g == nil {
		return relay.ReplyShuttingDown
	}
	ctx := s.ctx
	if key := clientKey(s.remote); key.IsValid() {
		// One address cannot take all the places in front of the slow hashes.
		ctx = accounts.WithClient(ctx, key.String())
	}
	from := g.tracing.now()
	a, err := g.directory.Authenticate(ctx, name, password)
	if len(name) > maxLoggedName {
		name = name[:maxLoggedName] // for the log, and for what is remembered
	}
	switch {
	case err == nil:
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
	s.messageNo++
	s.transaction = transaction{gen: g, account: a, from: from, opts: *opts, started: time.Now()}
	s.trace = g.tracing.startMessage(s)
	s.update(func(st *sessionState) { st.inMail, st.account = true, a.Name })
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	if err := s.mayAdd(); err != nil {
		return err
	}
	s.tried++
	err := s.addRcpt(to, opts)
	if err != nil {
		s.rcptErr = err
		s.trace.refused(err)
		return err
	}
	s.rcpts++
	return nil
}

func (s *session) addRcpt(to string, opts *smtp.RcptOptions) error {
	if s.gen.policy.deferred && s.gen.single != nil {
		return s.deferRcpt(to, opts)
	}
	if err := s.begin(); err != nil {
		return err
	}
	from := s.trace.now()
	err := s.tx.Rcpt(s.ctx, to, opts)
	s.trace.flight(from)
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
	s.tried += n
	from := s.trace.now()
	results := batcher.RcptBatch(s.ctx, rcpts[:n])
	s.trace.flight(from)
	for i := range n {
		if errs[i] = relay.ReplyInternal; i < len(results) {
			errs[i] = results[i]
		}
		if errs[i] != nil {
			s.rcptErr = errs[i]
			s.trace.refused(errs[i])
			continue
		}
		s.rcpts++
	}
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
	return nil
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

// Data implements smtp.Session. A positive reply comes as an error too, so
// that go-smtp's loop says the provider's words.
func (s *session) Data(r io.Reader) error {
	reply, err := s.DataReply(r)
	if err != nil {
		return err
	}
	return reply
}

// outcomer is a message that knows how its reading went.
type outcomer interface {
	outcome() (size int64, verdict *relay.Reply, failed bool)
}

// DataReply implements dataReplier.
func (s *session) DataReply(r io.Reader) (*relay.Reply, error) {
	if s.gen == nil || s.tx == nil && s.deferred == nil {
		return nil, relay.ReplyBadSequence
	}
	start := time.Now()
	s.trace.dataFrom(start)
	var reply relay.Reply
	var info relay.Info
	var err error
	if s.deferred != nil {
		reply, info, err = s.gen.single.Send(s.ctx, s.account, s.from, &s.opts, *s.deferred, r)
	} else {
		reply, err = s.tx.Data(s.ctx, r)
		info = s.describe()
	}
	if err == nil && !reply.Positive() {
		err = &reply
	}
	result := outcome{data: time.Since(start), info: info}
	failed := false
	if o, ok := r.(outcomer); ok {
		var verdict *relay.Reply
		result.size, verdict, failed = o.outcome()
		if verdict != nil {
			err = verdict
		}
	}
	switch {
	case failed:
		// The client went, or changed its mind: there is no final reply.
	case err != nil:
		result.reply = asReply(err)
	default:
		result.reply = &reply
	}
	s.report(result)
	if err != nil {
		return nil, err
	}
	if s.gen.policy.replyID {
		reply.Lines = withID(reply.Lines, s.messageID())
	}
	s.update(func(st *sessionState) { st.messages++ })
	return &reply, nil
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

func (s *session) describe() relay.Info {
	if d, ok := s.tx.(relay.Describer); ok {
		return d.Describe()
	}
	return relay.Info{}
}

// messageID tells the messages of a session apart.
func (s *session) messageID() string { return s.id + "." + strconv.Itoa(s.messageNo) }

// report logs and counts what became of a message, once.
func (s *session) report(o outcome) {
	if !s.reported {
		s.reported = true
		s.gen.logMessage(s, o)
	}
}

// Reset implements smtp.Session.
func (s *session) Reset() {
	if s.gen == nil {
		return
	}
	if !s.reported && s.tried > 0 {
		// No message came: why, says the last recipient's reply.
		o := outcome{info: s.describe()}
		if s.rcpts == 0 && s.rcptErr != nil {
			o.reply = asReply(s.rcptErr)
		}
		s.report(o)
	}
	if s.tx != nil {
		s.tx.Abort()
	}
	s.transaction = transaction{}
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
