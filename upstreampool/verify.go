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
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
)

// VerifyStep is relay.VerifyStep.
type VerifyStep = relay.VerifyStep

// Verify tries the way of a message of the account, up to a successful login,
// and, if from is not empty, to a MAIL command that is taken back. It sends no
// message. Each step is reported when it is over; the error is the failed one's.
func (a *App) Verify(ctx context.Context, acct *accounts.Account, from string, step func(VerifyStep)) error {
	t, ok := a.transports[acct.Upstream]
	if !ok {
		return fmt.Errorf("%w: '%s'", ErrNoUpstream, acct.Upstream)
	}
	v, ok := t.(relay.Verifier)
	if !ok {
		return ErrUnsupported
	}
	return v.Verify(ctx, acct, from, step)
}

// tracer reports steps. A nil tracer reports nothing.
type tracer struct {
	step  func(VerifyStep)
	begin time.Time
}

func (t *tracer) done(name, said string, err error) {
	if t == nil {
		return
	}
	now := time.Now()
	s := VerifyStep{Name: name, Took: now.Sub(t.begin), Said: said}
	if err != nil {
		s.Error = err.Error()
	}
	if c, ok := errors.AsType[*challengeError](err); ok {
		s.Challenge = c.challenge
	}
	t.begin = now
	t.step(s)
}

// challengeError is a refused login with the challenge that explained it.
type challengeError struct {
	error
	challenge string
}

func (e *challengeError) Unwrap() error { return e.error }

// Verify implements relay.Verifier. It takes one of the account's connections.
func (t *SMTPTransport) Verify(ctx context.Context, a *accounts.Account, from string, step func(VerifyStep)) error {
	u := t.live()
	if u == nil {
		return errors.New("the upstream is not started")
	}
	s := u.current.Load()
	if s == nil {
		return errors.New("the upstream is closed")
	}
	ac := u.account(a, s)
	defer ac.done()
	if reply := ac.place(ctx, s); reply != nil {
		return fmt.Errorf("all of the mailbox's connections are busy, try again: %w", reply)
	}
	defer ac.leave()
	id := ac.credentials()

	tr := &tracer{step: step, begin: time.Now()}
	if s.proxy == nil {
		if err := resolveHost(ctx, s, tr); err != nil {
			return err
		}
	}
	var token *oauth2.Token
	c, derr := connect(ctx, s, id, tr)
	if derr != nil {
		return derr
	}
	defer c.abandon()
	if s.oauth() {
		// A token that is in memory says nothing of the client secret that
		// the next refresh needs.
		if token, derr = fetchToken(ctx, s, id, s.tokens.Fresh); derr != nil {
			tr.done("token", "", derr.err)
			return derr
		}
		said := "no expiry given"
		if !token.Expiry.IsZero() {
			said = "expires " + token.Expiry.UTC().Format(time.RFC3339)
		}
		tr.done("token", said, nil)
	}
	if derr = c.login(s, id, token); derr != nil {
		if derr.class == failLogin && token != nil {
			s.tokens.Reject(id.grant(s.provider), token)
		}
		tr.done("auth", "", derr.err)
		return derr
	}
	said := ""
	if s.mechanism != mechNone {
		said = c.said().Error()
	}
	tr.done("auth", said, nil)
	u.breaker.Done(clock(), breaker.Up, false)
	ac.welcomed()
	if from != "" {
		if err := c.tryMail(from); err != nil {
			tr.done("mail", "", err)
			return err
		}
		tr.done("mail", c.said().Error(), nil)
	}
	c.quit(quitTimeout)
	tr.done("quit", "", nil)
	return nil
}

// welcomed says that a login has worked: nothing has to wait any more.
func (p *pool) welcomed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adapt.dialed(clock())
	p.dispatch(clock())
}

// tryMail says MAIL and takes it back with RSET.
func (c *conn) tryMail(from string) error {
	var opts smtp.MailOptions
	if from == "<>" {
		from = ""
	}
	for i := range len(from) {
		opts.UTF8 = opts.UTF8 || from[i] >= 0x80
	}
	if reply := checkMail(&c.caps, from, &opts); reply != nil {
		return reply
	}
	if err := c.arm(c.s.commandTimeout); err != nil {
		return err
	}
	code, err := c.command(appendMail(nil, &c.caps, from, &opts))
	if err != nil {
		return err
	}
	reply := c.said()
	if code >= 300 {
		return reply
	}
	if err := c.write([]byte("RSET\r\n")); err != nil {
		return err
	}
	return nil // QUIT follows; its reply and this one's are nobody's concern
}

// place takes a place in the mailbox's and the upstream's connections, like a
// message that needs a new one. An idle connection makes room, when it is
// closed.
func (ac *account) place(ctx context.Context, s *settings) *relay.Reply {
	w := &waiter{ac: ac, ch: make(chan grant, 1)}
	ac.mu.Lock()
	ac.places = append(ac.places, w)
	ac.dispatch(clock())
	ac.mu.Unlock()
	timeout := time.NewTimer(s.maxWait)
	defer timeout.Stop()
	select {
	case <-w.ch:
		return nil
	case <-timeout.C:
	case <-ctx.Done():
	case <-ac.up.ended():
	}
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if i := slices.Index(ac.places, w); i >= 0 {
		ac.places = slices.Delete(ac.places, i, i+1)
		return relay.ReplyNoConnection
	}
	return nil // granted in this moment
}

// leave gives the place back.
func (p *pool) leave() {
	p.up.unreserve()
	p.left()
}

func resolveHost(ctx context.Context, s *settings, tr *tracer) error {
	if _, err := netip.ParseAddr(s.host); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.dialTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", s.host)
	var list []string
	for _, a := range addrs {
		list = append(list, a.Unmap().String())
	}
	tr.done("dns", strings.Join(list, ", "), err)
	return err
}

// describeTLS says what was agreed on.
func (c *conn) describeTLS() string {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return ""
	}
	st := tc.ConnectionState()
	said := tls.VersionName(st.Version) + ", " + tls.CipherSuiteName(st.CipherSuite)
	if len(st.PeerCertificates) > 0 {
		cert := st.PeerCertificates[0]
		said += ", certificate of " + cert.Subject.CommonName + " until " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	return said
}

// Interface guard
var _ relay.Verifier = (*SMTPTransport)(nil)
