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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/oauth2"
)

// managers holds the token managers by provider identity. They outlive the
// configurations that use them, so that a reload leaves the tokens warm.
var managers = caddy.NewUsagePool()

// manager keeps the tokens of one provider identity.
type manager struct {
	name    string
	entries *table
	sched   *schedule
	gate    *gate
	breaker breaker

	// ctx ends when the manager is given back. Requests that are under way
	// then still end in their own time, and their results are stored.
	ctx    context.Context
	cancel context.CancelFunc

	// current is the provider configuration in force.
	current atomic.Pointer[Provider]

	mu      sync.Mutex
	gens    []*Provider
	running bool
	closed  bool
	flights sync.WaitGroup
	loops   sync.WaitGroup
	// clientErr is trouble of the client registration (invalid_client),
	// for which all accounts wait.
	clientErr      *Error
	clientUntil    time.Time
	clientFailures int

	// skew is the server's clock minus ours, from its Date header.
	skew atomic.Int64
}

func newManager(p *Provider) *manager {
	m := &manager{name: p.name, entries: newTable(), sched: newSchedule(), gate: newGate()}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	// In force until something is attached: an app is usable from
	// Provision on, since apps start in any order.
	m.current.Store(p)
	m.gate.configure(p.maxParallel, p.MaxPerSecond)
	return m
}

// attach puts a provider's configuration in force.
func (m *manager) attach(p *Provider) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gens = append(m.gens, p)
	m.use(p)
	if !m.running && !m.closed {
		m.running = true
		m.loops.Add(2)
		go m.loop()
		go m.scan(p)
	}
}

// detach takes it back. The one before comes into force again, if its
// configuration is still alive: the load of the new one may have failed.
func (m *manager) detach(p *Provider) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gens = slices.DeleteFunc(m.gens, func(g *Provider) bool { return g == p })
	if n := len(m.gens); n > 0 && m.current.Load() == p {
		m.use(m.gens[n-1])
	}
}

func (m *manager) use(p *Provider) {
	m.current.Store(p)
	m.gate.configure(p.maxParallel, p.MaxPerSecond)
	// The new configuration may hold the right secret.
	m.clientErr, m.clientUntil, m.clientFailures = nil, time.Time{}, 0
}

// Destruct implements caddy.Destructor.
func (m *manager) Destruct() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.gate.stop()
	m.entries.each(func(e *entry) {
		e.mu.Lock()
		defer e.mu.Unlock()
		m.setState(e, stateNone)
	})
	if caddy.Exiting() {
		// A refresh token that was rotated a moment ago is on its way.
		done := make(chan struct{})
		go func() { m.flights.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
		}
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

// cached is the hit path: no lock, no allocation.
func (m *manager) cached(subject, seed string) *oauth2.Token {
	e := m.entries.get(subject)
	if e == nil {
		return nil
	}
	c := e.cur.Load()
	if c == nil || c.seed != seed {
		return nil
	}
	now := time.Now().UnixNano()
	if now >= c.soft {
		return nil
	}
	e.touch(now)
	if now >= c.refreshAt && c.nudged.CompareAndSwap(false, true) {
		m.sched.set(e, time.Unix(0, now))
	}
	return c.token
}

// touch notes the use; not each of them, so that the account's readers don't
// fight for a cache line.
func (e *entry) touch(now int64) {
	if now-e.used.Load() > int64(time.Second) {
		e.used.Store(now)
	}
}

// warm starts a refresh if the account needs one.
func (m *manager) warm(subject, seed string) {
	if m.cached(subject, seed) != nil {
		return
	}
	e := m.entry(subject)
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.touch(now.UnixNano())
	if e.flight == nil && e.usable(now, seed) == nil && m.blocked(e, now, seed) == nil {
		m.startFlight(e, flightForeground, seed, false)
	}
}

// maxSeedRounds bounds how often one call waits for refreshes that other
// calls began with another seed.
const maxSeedRounds = 4

// token returns the account's token, refreshing it if need be.
func (m *manager) token(ctx context.Context, subject, seed string) (*oauth2.Token, error) {
	if t := m.cached(subject, seed); t != nil {
		return t, nil
	}
	e := m.entry(subject)
	for round := 0; ; round++ {
		now := time.Now()
		e.mu.Lock()
		e.touch(now.UnixNano())
		if c := e.usable(now, seed); c != nil {
			e.mu.Unlock()
			return c.token, nil
		}
		f := e.flight
		if f == nil {
			if err := m.blocked(e, now, seed); err != nil {
				t := e.lastResort(now, seed)
				e.mu.Unlock()
				if t != nil {
					return t, nil
				}
				return nil, err.with(m.name, subject)
			}
			f = m.startFlight(e, flightForeground, seed, false)
		}
		e.mu.Unlock()

		select {
		case <-f.done:
		case <-ctx.Done():
			e.mu.Lock()
			t := e.lastResort(time.Now(), seed)
			e.mu.Unlock()
			if t != nil {
				return t, nil
			}
			return nil, &Error{Provider: m.name, Account: subject, Description: "no access token in time: " + ctx.Err().Error(), err: ctx.Err()}
		}
		switch {
		case f.err == nil && f.token != nil && f.seed == seed:
			return f.token.token, nil
		case (f.seed != seed || f.err == nil) && round < maxSeedRounds:
			continue
		}
		e.mu.Lock()
		t := e.lastResort(time.Now(), seed)
		e.mu.Unlock()
		if t != nil {
			return t, nil
		}
		if f.err == nil {
			return nil, &Error{Provider: m.name, Account: subject, Description: "the refresh token changed too often"}
		}
		return nil, f.err.with(m.name, subject)
	}
}

// usable returns the current token if it serves this seed and is fresh.
func (e *entry) usable(now time.Time, seed string) *grantToken {
	c := e.cur.Load()
	if c == nil || now.UnixNano() >= c.soft {
		return nil
	}
	return e.forSeed(c, seed)
}

// forSeed returns c, if it may be lent to somebody with this seed.
func (e *entry) forSeed(c *grantToken, seed string) *grantToken {
	if c.seed == seed {
		return c
	}
	if e.rec == nil {
		return nil
	}
	switch e.rec.seedIs(seed) {
	case seedCurrent:
		// The token came from the store or the keep-alive, which know
		// the seed's fingerprint only.
		n := c.withSeed(seed)
		e.cur.Store(n)
		return n
	case seedOld:
		return c
	}
	return nil
}

// lastResort returns a token that should have been refreshed and could not
// be, while it lasts.
func (e *entry) lastResort(now time.Time, seed string) *oauth2.Token {
	c := e.cur.Load()
	if c == nil || now.UnixNano() >= c.expiry-int64(5*time.Second) {
		return nil
	}
	if c = e.forSeed(c, seed); c == nil {
		return nil
	}
	return c.token
}

// blocked returns why no refresh may be tried now.
func (m *manager) blocked(e *entry, now time.Time, seed string) *Error {
	if e.lastErr == nil || !now.Before(e.blockUntil) {
		return nil
	}
	if seed != e.failedSeed && (e.rec == nil || e.rec.seedIs(seed) == seedNew) {
		return nil
	}
	if e.lastErr.class != classReauth && e.failedUnder != m.current.Load() {
		return nil // a new configuration may have mended it
	}
	return e.lastErr
}

// minRejectInterval bounds how often the upstream's refusals may cause a
// refresh: a mailbox that refuses every token must not cause a request per
// message.
const minRejectInterval = time.Minute

// reject drops t if it is still the current token.
func (m *manager) reject(subject string, t *oauth2.Token) {
	e := m.entries.get(subject)
	if e == nil || t == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.cur.Load()
	if c == nil || c.token.AccessToken != t.AccessToken {
		return
	}
	now := time.Now()
	if !e.rejectedAt.IsZero() && now.Sub(e.rejectedAt) < minRejectInterval {
		return
	}
	e.rejectedAt = now
	e.rejected = sha256.Sum256([]byte(t.AccessToken))
	e.cur.Store(nil)
	if e.state == stateOK {
		m.setState(e, stateIdle)
	}
}
