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
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/gate"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// managers holds the token managers by provider identity. They outlive the
// configurations that use them, so that a reload leaves the tokens warm.
var managers = caddy.NewUsagePool()

// manager keeps the tokens of one provider identity.
type manager struct {
	name    string
	entries *table
	sched   *schedule
	gate    *gate.Gate
	// breaker keeps requests away from a token endpoint that is down. What the
	// endpoint says of one grant never counts as a failure: it answered.
	breaker *breaker.Breaker
	born    time.Time // its clock begins here

	// ctx ends when the manager is given back. Requests that are under way
	// then still end in their own time, and their results are stored.
	ctx    context.Context
	cancel context.CancelFunc

	// current is the provider configuration in force.
	current atomic.Pointer[served]

	gens generation.Stack[*served]

	mu      sync.Mutex
	running bool
	closed  bool
	flights sync.WaitGroup
	loops   sync.WaitGroup
	// clientErr is trouble of the client registration (invalid_client),
	// for which all accounts wait.
	clientErr      *authserver.Error
	clientUntil    time.Time
	clientFailures int
	throttles      int

	// scanned is closed when the records of the store are known.
	scanned chan struct{}

	clock authserver.Clock // the server's
}

// breakerThreshold is how many requests in a row fail before others are held back.
const breakerThreshold = 5

// ticks is the breaker's clock.
func (m *manager) ticks() int64 { return int64(time.Since(m.born)) }

func newManager(p *served) *manager {
	m := &manager{
		name: p.Name(), entries: newTable(), sched: newSchedule(), gate: gate.New(), scanned: make(chan struct{}),
		breaker: breaker.New(breaker.Settings{After: breakerThreshold, Min: 5 * time.Second, Max: time.Minute}), born: time.Now(),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	// In force until something is attached: an app is usable from
	// Provision on, since apps start in any order.
	m.current.Store(p)
	m.gate.Configure(p.MaxParallel, p.MaxPerSecond)
	return m
}

// attach puts a provider's configuration in force.
func (m *manager) attach(p *served) {
	m.gens.Attach(p, func(bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.use(p)
		if !m.running && !m.closed {
			m.running = true
			m.loops.Add(2)
			go m.loop()
			go m.scan(p)
		}
	})
}

// detach takes it back. The one before comes into force again, if its
// configuration is still alive: the load of the new one may have failed.
func (m *manager) detach(p *served) {
	m.gens.Detach(p, func(now *served, last bool) {
		if last {
			return // requests that are under way end with what they began with
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.use(now)
	})
}

// use puts p in force; the caller holds the lock.
func (m *manager) use(p *served) {
	m.current.Store(p)
	m.gate.Configure(p.MaxParallel, p.MaxPerSecond)
	// The new configuration may hold the right secret.
	m.clientErr, m.clientUntil, m.clientFailures = nil, time.Time{}, 0
}

// Destruct implements caddy.Destructor.
func (m *manager) Destruct() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.gate.Stop()
	m.entries.each(func(e *entry) {
		e.mu.Lock()
		defer e.mu.Unlock()
		m.setState(e, stateNone)
	})
	if caddy.Exiting() {
		m.lastWrites()
	}
	return nil
}

func (m *manager) entry(subject string) *entry {
	e, added := m.entries.getOrAdd(subject)
	if added && !m.isClosed() {
		e.mu.Lock()
		m.setState(e, stateIdle)
		e.mu.Unlock()
	}
	return e
}

// want is a request in the terms of one manager.
type want struct {
	subject string // whose grant
	account string // who asks
	seed    string
	scopes  []string
	key     string // of the scopes
}

// cached is the hit path: no lock, no allocation.
func (m *manager) cached(q want) *oauth2.Token {
	e := m.entries.get(q.subject)
	if e == nil {
		return nil
	}
	s := e.find(q.key)
	if s == nil {
		return nil
	}
	c := s.cur.Load()
	if c == nil || c.seed != q.seed {
		return nil
	}
	now := time.Now().UnixNano()
	if now >= c.soft {
		return nil
	}
	s.touch(now)
	if now >= c.refreshAt && c.nudged.CompareAndSwap(false, true) {
		m.sched.set(e, time.Unix(0, now))
	}
	return c.token
}

// touch notes the use; not each of them, so that the grant's readers don't
// fight for a cache line.
func (s *scoped) touch(now int64) {
	if now-s.used.Load() > int64(time.Second) {
		s.used.Store(now)
	}
}

// warm starts a refresh if the grant needs one.
func (m *manager) warm(q want) {
	if m.cached(q) != nil {
		return
	}
	e := m.entry(q.subject)
	s := e.set(q)
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	s.touch(now.UnixNano())
	if e.flight == nil && e.usable(s, now, q.seed) == nil && m.blocked(e, s, now, q.seed) == nil {
		m.startFlight(e, s, flight{kind: flightForeground, seed: q.seed, account: q.account}, false)
	}
}

// maxSeedRounds bounds how often one call waits for refreshes that other
// calls began with another seed or for other scopes.
const maxSeedRounds = 4

// token returns an access token, refreshing it if need be.
func (m *manager) token(ctx context.Context, q want) (*oauth2.Token, error) {
	if t := m.cached(q); t != nil {
		return t, nil
	}
	e := m.entry(q.subject)
	s := e.set(q)
	for round := 0; ; round++ {
		now := time.Now()
		e.mu.Lock()
		s.touch(now.UnixNano())
		if c := e.usable(s, now, q.seed); c != nil {
			e.mu.Unlock()
			return c.token, nil
		}
		f := e.flight
		if f == nil {
			if err := m.blocked(e, s, now, q.seed); err != nil {
				t := e.lastResort(s, now, q.seed)
				e.mu.Unlock()
				if t != nil {
					return t, nil
				}
				return nil, err.With(m.name, q.subject)
			}
			f = m.startFlight(e, s, flight{kind: flightForeground, seed: q.seed, account: q.account}, false)
		}
		e.mu.Unlock()

		select {
		case <-f.done:
		case <-ctx.Done():
			return m.otherwise(e, s, q, &authserver.Error{Description: "no access token in time: " + ctx.Err().Error(), Err: ctx.Err()})
		}
		mine := f.seed == q.seed && f.scopes == s
		switch {
		case f.err == nil && f.token != nil && mine:
			return f.token.token, nil
		case (!mine || f.err == nil) && round < maxSeedRounds:
			continue
		case f.err == nil:
			return m.otherwise(e, s, q, &authserver.Error{Description: "the refresh token changed too often"})
		}
		return m.otherwise(e, s, q, f.err)
	}
}

// fresh returns an access token that was issued after the call. The one in
// use stays in use until there is another.
func (m *manager) fresh(ctx context.Context, q want) (*oauth2.Token, error) {
	e := m.entry(q.subject)
	s := e.set(q)
	for {
		e.mu.Lock()
		s.touch(time.Now().UnixNano())
		f, mine := e.flight, false
		if f == nil {
			mine = true
			f = m.startFlight(e, s, flight{kind: flightForeground, seed: q.seed, account: q.account, force: true}, false)
		}
		e.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, (&authserver.Error{Description: "no access token in time: " + ctx.Err().Error(), Err: ctx.Err()}).With(m.name, q.subject)
		}
		switch {
		case !mine:
		case f.err != nil:
			return nil, f.err.With(m.name, q.subject)
		default:
			return f.token.token, nil
		}
	}
}

// otherwise returns a token that should have been refreshed, while it lasts,
// or else why there is none.
func (m *manager) otherwise(e *entry, s *scoped, q want, err *authserver.Error) (*oauth2.Token, error) {
	e.mu.Lock()
	t := e.lastResort(s, time.Now(), q.seed)
	e.mu.Unlock()
	if t != nil {
		return t, nil
	}
	return nil, err.With(m.name, q.subject)
}

// usable returns the current token if it serves this seed and is fresh.
func (e *entry) usable(s *scoped, now time.Time, seed string) *grantToken {
	c := s.cur.Load()
	if c == nil || now.UnixNano() >= c.soft {
		return nil
	}
	return e.forSeed(s, c, seed)
}

// forSeed returns c, if it may be lent to an account with this seed.
func (e *entry) forSeed(s *scoped, c *grantToken, seed string) *grantToken {
	if c.seed == seed {
		return c
	}
	if e.rec == nil {
		return nil
	}
	switch e.rec.SeedIs(seed) {
	case tokenstore.SeedCurrent:
		// The token came from the store or the keep-alive, which know
		// the seed's fingerprint only.
		n := c.withSeed(seed)
		s.cur.Store(n)
		return n
	case tokenstore.SeedOld:
		return c
	}
	return nil
}

// lastResort returns a token that should have been refreshed and could not
// be, while it lasts.
func (e *entry) lastResort(s *scoped, now time.Time, seed string) *oauth2.Token {
	c := s.cur.Load()
	if c == nil || now.UnixNano() >= c.expiry-int64(5*time.Second) {
		return nil
	}
	if c = e.forSeed(s, c, seed); c == nil {
		return nil
	}
	return c.token
}

// blocked returns why no refresh may be tried now.
func (m *manager) blocked(e *entry, s *scoped, now time.Time, seed string) *authserver.Error {
	if s.lastErr == nil || e.again || !now.Before(s.blockUntil) {
		return nil
	}
	if seed != s.failedSeed && (e.rec == nil || e.rec.SeedIs(seed) == tokenstore.SeedNew) {
		return nil
	}
	if !(s.refused() && s.lastErr.Final()) && s.failedUnder != m.current.Load() {
		return nil // a new configuration may have mended it
	}
	return s.lastErr
}

// minRejectInterval bounds how often the upstream's refusals may cause a
// refresh: a mailbox that refuses every token must not cause a request per
// message.
const minRejectInterval = time.Minute

// reject drops t if it is still the current token.
func (m *manager) reject(q want, t *oauth2.Token) {
	e := m.entries.get(q.subject)
	if e == nil || t == nil {
		return
	}
	s := e.find(q.key)
	if s == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := s.cur.Load()
	if c == nil || c.token.AccessToken != t.AccessToken {
		return
	}
	now := time.Now()
	if !s.rejectedAt.IsZero() && now.Sub(s.rejectedAt) < minRejectInterval {
		return
	}
	s.rejectedAt = now
	s.rejected = sha256.Sum256([]byte(t.AccessToken))
	s.cur.Store(nil)
	if e.state == stateOK {
		m.setState(e, stateIdle)
	}
}
