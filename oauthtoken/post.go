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
	"errors"
	"net/http"
	"time"

	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// maxRetryAfter is how long a refresh waits within itself because the server
// says so; beyond, it fails and the account waits.
const maxRetryAfter = 10 * time.Second

// post sends the token request, again where the failure is transient.
//
// A request whose response was lost may have rotated the refresh token. To
// send it again with the same token is all that can be done: servers that
// rotate honour the old token until its successor is used (or for a while),
// for exactly this reason; Microsoft keeps old ones valid, Google doesn't rotate.
func (m *manager) post(ctx context.Context, p *served, subject, refresh string, f *flight, l *lease) (*authserver.TokenResponse, error) {
	var last *authserver.Error
	assertionAgain := true
	for try := 1; ; try++ {
		if err := l.take(ctx); err != nil {
			if last != nil {
				return nil, last
			}
			return nil, &authserver.Error{Description: "waiting for a slot: " + err.Error(), Err: err}
		}
		// The response counts even if the configuration that asked for it
		// ends meanwhile.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(p.Timeout))
		off := m.clock.Off()
		q, err := p.TokenRequest(rctx, subject, refresh, f.scopes.scopes)
		if err == nil {
			held, probe := m.heldBack()
			if held != nil && !f.force {
				cancel()
				if last != nil {
					return nil, last
				}
				return nil, held
			}
			f.posts++
			q.May = f.held
			var r *authserver.TokenResponse
			r, err = p.Exchange(rctx, q)
			if m.breaker.Done(m.ticks(), outcomeOf(err), probe) {
				m.announceDown(p, err)
			}
			if err == nil {
				cancel()
				m.clientWorks()
				return r, nil
			}
		}
		cancel()
		err.AppOnly = !p.UsesStore()
		if last != nil && errors.Is(err, tokenstore.ErrLost) {
			return nil, last.Because(err) // the server's says more
		}
		last = err
		if q != nil && q.Assertion && assertionAgain && try < p.MaxAttempts && m.clock.Off() && !off {
			// Its Date header says that our clock, and with it our
			// assertion, was off.
			assertionAgain = false
			continue
		}
		if err.Class == authserver.ClassProvider {
			m.clientFails(err)
		}
		if err.Status == http.StatusTooManyRequests {
			m.gate.PauseBackground(max(min(err.RetryAfter, time.Minute), authserver.Backoff(2*time.Second, time.Minute, m.throttled())))
		}
		if err.Class != authserver.ClassTransient || try >= p.MaxAttempts || err.RetryAfter > maxRetryAfter {
			return nil, err
		}
		l.give()
		timer := time.NewTimer(max(err.RetryAfter, authserver.Backoff(p.retryFirst, 8*time.Second, try)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// outcomeOf is what a request says of the endpoint.
func outcomeOf(err *authserver.Error) breaker.Outcome {
	switch {
	case err != nil && (err.Class == authserver.ClassStore || err.NoResources()):
		return breaker.Neither
	case err == nil || err.Class != authserver.ClassTransient || err.Status != 0 && err.Status < 500:
		return breaker.Up
	}
	return breaker.Down
}

// heldBack returns why no request may go out: a client that the server does
// not accept, or an endpoint that is down. probe is what the breaker is told
// with the outcome.
func (m *manager) heldBack() (why *authserver.Error, probe bool) {
	m.mu.Lock()
	known, until := m.clientErr, m.clientUntil
	m.mu.Unlock()
	if known != nil && time.Now().Before(until) {
		e := known.With(m.name, "")
		e.Quiet, e.RetryAfter = true, time.Until(until)
		return e, false
	}
	wait, ok, probe := m.breaker.Allow(m.ticks())
	if !ok {
		return &authserver.Error{Code: "endpoint_down", Description: "the token endpoint is down and is given a rest", RetryAfter: max(wait, time.Second), Quiet: true}, false
	}
	return nil, probe
}

// clientFails notes invalid_client. When it came a few times with no success
// in between, it is the registration, and all accounts wait.
func (m *manager) clientFails(err *authserver.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clientFailures++
	if n := m.clientFailures - 2; n > 0 {
		m.clientErr = err
		m.clientUntil = time.Now().Add(authserver.Backoff(5*time.Second, 5*time.Minute, n))
	}
}

// throttled counts the answers in a row that say there are too many requests: what a
// server asks for with them can be too little, for ever.
func (m *manager) throttled() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.throttles++
	return m.throttles
}

func (m *manager) clientWorks() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.throttles = 0
	m.clientErr, m.clientUntil, m.clientFailures = nil, time.Time{}, 0
}
