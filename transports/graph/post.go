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

package graph

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
)

const (
	tokenTimeout = 30 * time.Second
	maxAnswer    = 64 << 10
	idleTimeout  = 90 * time.Second
)

// client posts messages. One HTTP connection serves every mailbox.
type client struct {
	t    *Transport
	http *http.Client
}

func newClient(t *Transport) *client {
	tr := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: maxAnswer,
		TLSHandshakeTimeout:    30 * time.Second,
	}
	return &client{t: t, http: &http.Client{
		Transport: tr,
		// A redirected POST would be a second one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// path is the mailbox's endpoint.
func (c *client) path(a *accounts.Account) string {
	if c.t.User == "me" {
		return c.t.Endpoint + "/v1.0/me/sendMail"
	}
	return c.t.Endpoint + "/v1.0/users/" + url.PathEscape(a.Mailbox) + "/sendMail"
}

// send posts a message. A repeat happens in two cases only, each once, and
// neither may have sent anything: the token was refused, or the connection was
// gone before a byte of the body was read.
func (c *client) send(ctx context.Context, a *accounts.Account, mime []byte, info *relay.Info) (*relay.Reply, outcome) {
	req := c.t.request(a)
	fresh, again := true, true
	for {
		start := time.Now()
		token, reply := c.token(ctx, req)
		info.Token += time.Since(start)
		if reply != nil {
			return reply, outcome{}
		}
		ans, sent := c.post(ctx, a, token, mime)
		switch {
		case ans == nil && sent == nothing && again && ctx.Err() == nil:
			again = false
			continue
		case ans == nil && sent == everything:
			return relay.ReplyAPIUnknown, outcome{unknown: true}
		case ans == nil && sent == nothing:
			return relay.ReplyUpstreamDown, outcome{}
		case ans == nil:
			return relay.ReplyAPIUntouched, outcome{}
		}
		if ans.status == http.StatusUnauthorized {
			c.t.tokens.Reject(req, token)
			if fresh && !ans.claims {
				fresh = false
				continue
			}
		}
		return ans.reply()
	}
}

// token returns an access token, or what to tell the client.
func (c *client) token(ctx context.Context, req grant.Request) (*oauth2.Token, *relay.Reply) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	token, err := c.t.tokens.Token(ctx, req)
	if err == nil && token != nil && token.AccessToken != "" {
		return token, nil
	}
	if r, ok := errors.AsType[grant.Refusal](err); ok {
		if text := r.Reply(); text != "" {
			return nil, relay.ReplyToken(text)
		}
		if r.ReauthRequired() {
			return nil, relay.ReplyReauthRequired
		}
	}
	return nil, relay.ReplyTokenUnavailable
}

// How much of a request's body has left.
type progress int

const (
	nothing progress = iota
	part
	everything
)

// post sends one request. Without an answer, how much of the body had left says
// whether the message may have been sent.
func (c *client) post(ctx context.Context, a *accounts.Account, token *oauth2.Token, mime []byte) (*answer, progress) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.t.Timeout))
	defer cancel()
	body := &watched{b: mime}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.path(a), body)
	if err != nil {
		return nil, nothing
	}
	req.ContentLength = int64(len(mime))
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	req.Header.Set("User-Agent", "Mailgateway")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, body.stop()
	}
	defer resp.Body.Close()
	// The status says it all; a body that breaks off changes nothing.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return newAnswer(resp, text), everything
}

// watched is a request's body that knows how far it was read. Once stopped it
// gives no more, so that what was decided about it stays true.
type watched struct {
	mu      sync.Mutex
	b       []byte
	begun   bool
	stopped bool
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return 0, errors.New("the request is over")
	}
	if len(w.b) == 0 {
		return 0, io.EOF
	}
	w.begun = true
	n := copy(p, w.b)
	w.b = w.b[n:]
	return n, nil
}

// stop ends it and says how far it was read.
func (w *watched) stop() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	switch {
	case len(w.b) == 0:
		return everything
	case w.begun:
		return part
	}
	return nothing
}

// claimed reports whether an answer asks for more of the user than a token: a
// policy (Conditional Access, continuous evaluation).
func claimed(h http.Header) bool {
	for _, v := range h.Values("WWW-Authenticate") {
		if strings.Contains(v, "claims=") || strings.Contains(v, "insufficient_claims") {
			return true
		}
	}
	return false
}
