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
	"fmt"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// tracer reports steps with the time that each took.
type tracer struct {
	step  func(relay.VerifyStep)
	begin time.Time
}

func (t *tracer) done(name, said string, err error) {
	now := time.Now()
	s := relay.VerifyStep{Name: name, Took: now.Sub(t.begin), Said: said}
	if err != nil {
		s.Error = err.Error()
	}
	if c, ok := errors.AsType[*smtpclient.ChallengeError](err); ok {
		s.Challenge = c.Challenge
	}
	t.begin = now
	t.step(s)
}

// Verify implements relay.Verifier. It takes one of the account's connections.
func (t *SMTPTransport) Verify(ctx context.Context, a *accounts.Account, from string, step func(relay.VerifyStep)) error {
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
	if err := smtpclient.Resolve(ctx, &s.Config, tr.done); err != nil {
		return err
	}
	var token *oauth2.Token
	if derr := dialer.Allowed(ac.holder); derr != nil {
		return derr
	}
	c, derr := smtpclient.Dial(ctx, &s.Config, id.SourceIP, tr.done)
	if derr != nil {
		return derr
	}
	defer c.Abandon()
	if s.OAuth() {
		// A token that is in memory says nothing of the client secret that
		// the next refresh needs.
		if token, derr = dialer.Token(ctx, &s.Settings, id, s.Tokens.Fresh); derr != nil {
			tr.done("token", "", derr.Err)
			return derr
		}
		said := "no expiry given"
		if !token.Expiry.IsZero() {
			said = "expires " + token.Expiry.UTC().Format(time.RFC3339)
		}
		tr.done("token", said, nil)
	}
	if derr = dialer.Allowed(ac.holder); derr != nil {
		return derr
	}
	if derr = c.Login(id.Login(token)); derr != nil {
		if derr.Class == smtpclient.FailLogin && token != nil {
			s.Tokens.Reject(id.Grant(s.Provider), token)
		}
		tr.done("auth", "", derr.Err)
		return derr
	}
	said := ""
	if s.Mechanism != smtpclient.AuthNone {
		said = c.Said().Error()
	}
	tr.done("auth", said, nil)
	u.dialer.Breaker.Done(clock(), breaker.Up, false)
	ac.welcomed()
	if from != "" {
		if err := c.TryMail(from); err != nil {
			tr.done("mail", "", err)
			return err
		}
		tr.done("mail", c.Said().Error(), nil)
	}
	c.Quit(u.quitWithin())
	tr.done("quit", "", nil)
	return nil
}

// welcomed says that a login has worked: nothing has to wait any more.
func (p *pool) welcomed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adapt.Dialed(clock())
	p.dispatch(clock())
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

// Interface guard
var _ relay.Verifier = (*SMTPTransport)(nil)
