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
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/breaker"
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
func (m *manager) post(ctx context.Context, p *Provider, subject, refresh string, f *flight, l *lease) (*tokenResponse, error) {
	var last *Error
	assertionAgain := true
	for try := 1; ; try++ {
		if err := l.take(ctx); err != nil {
			if last != nil {
				return nil, last
			}
			return nil, &Error{Description: "waiting for a slot: " + err.Error(), err: err}
		}
		// The response counts even if the configuration that asked for it
		// ends meanwhile.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
		skew := m.skew.Load()
		q, err := p.tokenRequest(rctx, m, subject, refresh, f.scopes.scopes)
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
			var r *tokenResponse
			r, err = p.exchange(rctx, m, q)
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
		err.appOnly = !p.usesStore()
		last = err
		if q != nil && q.assertion && assertionAgain && try < p.maxAttempts && skewed(m.skew.Load()) && !skewed(skew) {
			// Its Date header says that our clock, and with it our
			// assertion, was off.
			assertionAgain = false
			continue
		}
		if err.class == classProvider {
			m.clientFails(err)
		}
		if err.Status == http.StatusTooManyRequests {
			m.gate.pauseBackground(max(time.Second, min(err.RetryAfter, time.Minute)))
		}
		if err.class != classTransient || try >= p.maxAttempts || err.RetryAfter > maxRetryAfter {
			return nil, err
		}
		l.give()
		timer := time.NewTimer(max(err.RetryAfter, backoff(p.retryFirst, 8*time.Second, try)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// outcomeOf is what a request says of the endpoint.
func outcomeOf(err *Error) breaker.Outcome {
	switch {
	case err == nil || err.class != classTransient || err.Status != 0 && err.Status < 500:
		return breaker.Up
	case err.noResources():
		return breaker.Neither
	}
	return breaker.Down
}

// heldBack returns why no request may go out: a client that the server does
// not accept, or an endpoint that is down. probe is what the breaker is told
// with the outcome.
func (m *manager) heldBack() (why *Error, probe bool) {
	m.mu.Lock()
	known, until := m.clientErr, m.clientUntil
	m.mu.Unlock()
	if known != nil && time.Now().Before(until) {
		e := known.with(m.name, "")
		e.quiet, e.RetryAfter = true, time.Until(until)
		return e, false
	}
	wait, ok, probe := m.breaker.Allow(m.ticks())
	if !ok {
		return &Error{Code: "endpoint_down", Description: "the token endpoint is down and is given a rest", RetryAfter: max(wait, time.Second), quiet: true}, false
	}
	return nil, probe
}

// clientFails notes invalid_client. When it came a few times with no success
// in between, it is the registration, and all accounts wait.
func (m *manager) clientFails(err *Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clientFailures++
	if n := m.clientFailures - 2; n > 0 {
		m.clientErr = err
		m.clientUntil = time.Now().Add(backoff(5*time.Second, 5*time.Minute, n))
	}
}

func (m *manager) clientWorks() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clientErr, m.clientUntil, m.clientFailures = nil, time.Time{}, 0
}

// tokenQuery is one token request.
type tokenQuery struct {
	url  string
	form url.Values
	// user and password are the client's, where they go into the
	// Authorization header.
	user, password string
	// assertion says that the form holds one with our idea of the time.
	assertion bool
	// secrets is what an error must not repeat.
	secrets []string
}

// exchange makes one request to the token endpoint.
func (p *Provider) exchange(ctx context.Context, m *manager, q *tokenQuery) (*tokenResponse, *Error) {
	status, header, body, err := p.postForm(ctx, m, q)
	if err != nil {
		return nil, err
	}
	return parseResponse(status, header, body, q.secrets...)
}

func (p *Provider) postForm(ctx context.Context, m *manager, q *tokenQuery) (int, http.Header, []byte, *Error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, strings.NewReader(q.form.Encode()))
	if err != nil {
		return 0, nil, nil, &Error{Description: sanitize(err.Error(), q.secrets...), class: classTemporary}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if q.user != "" {
		// RFC 6749 section 2.3.1: both are form-encoded first.
		req.SetBasicAuth(url.QueryEscape(q.user), url.QueryEscape(q.password))
	}
	return p.do(req, m, q.secrets...)
}

// do sends a request and reads the bounded response.
func (p *Provider) do(req *http.Request, m *manager, secrets ...string) (int, http.Header, []byte, *Error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mailgateway")
	sent := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, nil, networkError(err, secrets)
	}
	defer resp.Body.Close()
	if m != nil {
		m.noteClock(resp.Header, sent, time.Now())
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return 0, nil, nil, networkError(err, secrets)
	}
	if len(body) > maxResponse {
		return 0, nil, nil, &Error{Status: resp.StatusCode, Description: "the token endpoint's answer is larger than 1 MiB", class: classTransient}
	}
	return resp.StatusCode, resp.Header, body, nil
}

func networkError(err error, secrets []string) *Error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // without the URL, which is in the configuration
	}
	text := err.Error()
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		text = "no answer from the token endpoint in time"
	}
	return &Error{Description: sanitize(text, secrets...), class: classTransient, err: err}
}

// minSkew is how far the clocks may be apart before it matters. The Date
// header is in whole seconds.
const minSkew = 30 * time.Second

func skewed(ns int64) bool { return time.Duration(ns).Abs() >= minSkew }

// noteClock compares the server's clock with ours.
func (m *manager) noteClock(h http.Header, sent, received time.Time) {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil || received.Sub(sent) > minSkew/2 {
		return
	}
	d := t.Sub(received)
	if !skewed(int64(d)) {
		d = 0
	}
	m.skew.Store(int64(d))
}
