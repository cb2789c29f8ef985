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

package authserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// TokenQuery is one token request.
type TokenQuery struct {
	url  string
	form url.Values
	// user and password are the client's, where they go into the
	// Authorization header.
	user, password string
	// Assertion says that the form holds one with our idea of the time.
	Assertion bool
	// May is asked right before the form is sent, over a connection that is there by
	// then, after the header. If it says why not, nothing of the form is. It may be nil.
	May func(context.Context) error
	// secrets is what an error must not repeat.
	secrets []string
}

// guarded is a form that asks before it is read.
type guarded struct {
	form io.Reader
	ask  func() error // nil: it has said yes
}

func (g *guarded) Read(b []byte) (int, error) {
	if g.ask != nil {
		if err := g.ask(); err != nil {
			return 0, err
		}
		g.ask = nil
	}
	return g.form.Read(b)
}

// Exchange makes one request to the token endpoint.
func (p *Provider) Exchange(ctx context.Context, q *TokenQuery) (*TokenResponse, *Error) {
	status, header, body, err := p.postForm(ctx, q)
	if err != nil {
		return nil, err
	}
	return parseResponse(status, header, body, q.secrets...)
}

func (p *Provider) postForm(ctx context.Context, q *TokenQuery) (int, http.Header, []byte, *Error) {
	form := q.form.Encode()
	body := func() (io.ReadCloser, error) {
		g := &guarded{form: strings.NewReader(form)}
		if q.May != nil {
			g.ask = func() error { return q.May(ctx) }
		}
		return io.NopCloser(g), nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, nil)
	if err != nil {
		return 0, nil, nil, &Error{Description: Sanitize(err.Error(), q.secrets...), Class: ClassTemporary}
	}
	// The transport sends it again where a connection was closed while it was idle.
	req.GetBody, req.ContentLength = body, int64(len(form))
	req.Body, _ = body()
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if q.user != "" {
		// RFC 6749 section 2.3.1: both are form-encoded first.
		req.SetBasicAuth(url.QueryEscape(q.user), url.QueryEscape(q.password))
	}
	return p.do(req, q.secrets...)
}

// do sends a request and reads the bounded response.
func (p *Provider) do(req *http.Request, secrets ...string) (int, http.Header, []byte, *Error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mailgateway")
	sent := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, nil, networkError(err, secrets)
	}
	defer resp.Body.Close()
	p.clock.note(resp.Header, sent, time.Now())
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return 0, nil, nil, networkError(err, secrets)
	}
	if len(body) > maxResponse {
		return 0, nil, nil, &Error{Status: resp.StatusCode, Description: "the token endpoint's answer is larger than 1 MiB", Class: ClassTransient}
	}
	return resp.StatusCode, resp.Header, body, nil
}

func networkError(err error, secrets []string) *Error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // without the URL, which is in the configuration
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e // of who was asked before
	}
	text := err.Error()
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		text = "no answer from the token endpoint in time"
	}
	return &Error{Description: Sanitize(text, secrets...), Class: ClassTransient, Err: err}
}
