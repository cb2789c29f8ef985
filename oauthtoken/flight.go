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

package oauthtoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/gate"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

type flightKind uint8

const (
	flightNone       flightKind = iota
	flightForeground            // a caller waits
	flightAhead                 // ahead of expiry
	flightKeepAlive             // of an idle account
	flightSave                  // of a rotated token that was not stored
	flightRetry                 // of a grant that was refused
)

// flight is one refresh. A grant has one at a time; every caller who needs a
// token of it waits, and it ends in its own time whoever still waits.
type flight struct {
	kind flightKind
	seed string
	// account is who asked first; empty for work of our own accord.
	account string
	scopes  *scoped
	// again asks even though the last answer was that a human is needed.
	again bool
	// force asks whatever is known.
	force bool
	// held says why a request must not leave: the lock was lost. nil: there is none.
	held func(context.Context) error
	done chan struct{}

	// set before done is closed
	token  *grantToken
	err    *authserver.Error
	asked  bool // the server was asked, and its answer is err
	posts  int
	result string
}

// startFlight is called with e.mu held and no flight under way. slot says
// that the caller took a background slot of the gate for it.
func (m *manager) startFlight(e *entry, s *scoped, begin flight, slot bool) *flight {
	f := &begin
	f.scopes, f.again, f.done = s, e.again || f.force, make(chan struct{})
	e.again = false
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		if slot {
			m.gate.Release(true)
		}
		f.err = errClosing
		close(f.done)
		return f
	}
	m.flights.Add(1)
	m.mu.Unlock()
	e.flight = f
	m.setState(e, stateRefreshing)
	go m.fly(e, f, slot)
	return f
}

var errClosing = &authserver.Error{Description: "the configuration is being replaced"}

// lease is a slot of the gate that a flight gives back while it sleeps.
type lease struct {
	g    *gate.Gate
	bg   bool
	held bool
}

func (l *lease) take(ctx context.Context) error {
	if l.held {
		return nil
	}
	err := l.g.Acquire(ctx, l.bg)
	l.held = err == nil
	return err
}

func (l *lease) give() {
	if l.held {
		l.g.Release(l.bg)
	}
	l.held = false
}

func (m *manager) fly(e *entry, f *flight, slot bool) {
	defer m.flights.Done()
	p := m.current.Load()
	start := time.Now()
	l := &lease{g: m.gate, bg: f.kind != flightForeground, held: slot}
	ctx, cancel := context.WithTimeout(m.ctx, p.flightTimeout())
	var gt *grantToken
	err := l.take(ctx)
	switch {
	case err != nil:
		err = &authserver.Error{Description: "waiting for a slot: " + err.Error(), Err: err}
	case p.UsesStore():
		// A lock that was lost before anything was sent is taken anew, and the
		// record is read anew.
		for try := 0; try == 0 || try < 3 && errors.Is(err, tokenstore.ErrLost); try++ {
			gt, err = newRefresh(m, p, e, f, l).run(ctx)
		}
	default:
		gt, err = m.refreshPlain(ctx, p, e, f, l)
	}
	l.give()
	cancel()
	var failed *authserver.Error
	if err != nil {
		failed = authserver.AsError(err, authserver.ClassTemporary)
	}
	m.finish(p, e, f, gt, failed, start)
}

// refreshPlain serves grants with nothing to store.
func (m *manager) refreshPlain(ctx context.Context, p *served, e *entry, f *flight, l *lease) (*grantToken, error) {
	sent := time.Now()
	r, err := m.post(ctx, p, e.subject, "", f, l)
	if err != nil {
		f.asked = true
		return nil, err
	}
	return newGrantToken(p, r.AccessToken, f.seed, sent, sent.Add(r.Lifetime)), nil
}

// finish publishes a flight's result.
func (m *manager) finish(p *served, e *entry, f *flight, gt *grantToken, err *authserver.Error, start time.Time) {
	now := time.Now()
	s := f.scopes
	e.mu.Lock()
	wasReauth := s.refused()
	e.flight = nil
	f.token, f.err = gt, err
	if gt != nil {
		s.cur.Store(gt)
	}
	if err == nil {
		s.forget()
	} else {
		s.fail(p, f, err, now)
	}
	if e.unsaved != nil {
		e.saveAfter = now.Add(authserver.Backoff(5*time.Second, time.Minute, max(1, s.failures)))
	}
	m.setState(e, e.standing())
	failures := s.failures
	if !m.isClosed() {
		if kind, _ := m.background(p, e, now); kind != flightNone {
			m.sched.set(e, now)
		}
	}
	warn := m.warning(p, e, now)
	e.mu.Unlock()
	close(f.done)

	if p = m.current.Load(); m.isClosed() {
		return
	}
	m.observe(f, err, time.Since(start))
	if warn != "" {
		p.logger.Warn("token warning", zap.String("account", e.subject), zap.String("warning", warn))
	}
	if err != nil {
		m.announce(p, e.subject, err, failures, wasReauth)
	} else if c := p.logger.Check(zap.DebugLevel, "token refreshed"); c != nil {
		c.Write(zap.String("account", e.subject), zap.Int("requests", f.posts),
			zap.String("result", f.result), zap.Duration("duration", time.Since(start)))
	}
}

// fail notes a failed refresh, and when to look again.
func (s *scoped) fail(p *served, f *flight, err *authserver.Error, now time.Time) {
	s.failures++
	s.lastErr, s.lastErrAt, s.failedSeed, s.failedUnder = err, now, f.seed, p
	s.blockUntil = now.Add(blockFor(err, s.failures))
	if err.Class != authserver.ClassReauth {
		return
	}
	if f.asked {
		s.refusals++
		s.askAfter = now.Add(err.AskAgain(s.refusals))
	}
	if !p.UsesStore() {
		// No consent will appear in the store: an administrator has to
		// mend something at the provider, and the server is asked.
		s.blockUntil = s.askAfter
	}
}

// standing is the state that follows from what is known. The provider's own
// scopes speak for the grant, where they are in use.
func (e *entry) standing() (st state) {
	st = stateIdle
	e.sets(func(s *scoped) bool {
		switch {
		case s.refused() && s.lastErr.Passing():
			st = stateRefused
		case s.refused():
			st = stateReauth
		case s.lastErr != nil:
			st = stateError
		case s.cur.Load() != nil:
			st = stateOK
		default:
			return true
		}
		return false
	})
	return st
}

func (m *manager) isClosed() bool { return m.ctx.Err() != nil }

// blockFor is how long an account waits after the n-th failure in a row.
func blockFor(err *authserver.Error, n int) time.Duration {
	first, most := time.Second, 30*time.Second
	switch err.Class {
	case authserver.ClassReauth:
		// Not to ask the server again (that is askAfter), but to see
		// whether another process has stored a new consent.
		return 30 * time.Second
	case authserver.ClassTemporary, authserver.ClassProvider:
		first, most = 5*time.Second, 5*time.Minute
	}
	return max(authserver.Backoff(first, most, n), min(err.RetryAfter, 10*time.Minute))
}

// newGrantToken makes a token that is lent until expiry.
func newGrantToken(p *served, access, seed string, obtained, expiry time.Time) *grantToken {
	life := expiry.Sub(obtained)
	ahead := min(p.refreshAhead, life/3)
	return &grantToken{
		token:     &oauth2.Token{AccessToken: access, TokenType: "Bearer", Expiry: expiry.Round(0)},
		seed:      seed,
		obtained:  obtained.UnixNano(),
		refreshAt: expiry.Add(-ahead - rand.N(ahead/2+1)).UnixNano(),
		soft:      expiry.Add(-softMargin(life)).UnixNano(),
		expiry:    expiry.UnixNano(),
		nudged:    new(atomic.Bool),
	}
}

// softMargin is how long before its expiry a token is no longer lent, if
// another can be had.
func softMargin(life time.Duration) time.Duration { return min(time.Minute, life/10) }

func (c *grantToken) withSeed(seed string) *grantToken {
	n := *c
	n.seed = seed
	return &n
}

// wasRejected reports whether the upstream refused this access token. It is
// called with e.mu held.
func (s *scoped) wasRejected(access string) bool {
	return !s.rejectedAt.IsZero() && sha256.Sum256([]byte(access)) == s.rejected
}
