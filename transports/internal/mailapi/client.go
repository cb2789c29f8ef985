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

package mailapi

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
)

const (
	tokenTimeout = 30 * time.Second
	maxAnswer    = 64 << 10
	idleTimeout  = 90 * time.Second
	dialTimeout  = 30 * time.Second
	// pingAfter is how long a connection of HTTP/2 may say nothing before it is
	// asked, pingTimeout how long it has for the answer.
	pingAfter   = 20 * time.Second
	pingTimeout = 15 * time.Second
	// maxHold bounds what a provider may ask for.
	maxHold = 24 * time.Hour
)

// Answer is an HTTP answer.
type Answer struct {
	Status int
	Header http.Header
	// Body is its beginning.
	Body []byte
	// Strikes is how often in a row the mailbox was asked to wait before.
	Strikes int

	by string // whose certificate it was
}

// tokenRefused reports whether the access token is no good.
func (a *Answer) tokenRefused() bool { return a.Status == http.StatusUnauthorized }

// Verdict is what an answer means.
type Verdict struct {
	Reply   *relay.Reply
	Outcome Outcome
	// Elsewhere: it was not the API that refused, but something on the way (a
	// proxy's page, a login to the network) or another endpoint. That says nothing
	// of the message. The reply is made of it.
	Elsewhere bool
}

// Elsewhere reports whether it was not the API that answered: a redirect, or an error
// whose status alone says too little. told: it is in the API's form.
func Elsewhere(status int, told bool) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return false
	}
	return status >= 300 && status < 400 || status >= 400 && status < 500 && !told
}

// Outcome is what the ledger learns from a request.
type Outcome struct {
	// Sent: the message counts.
	Sent bool
	// Unknown: it counts, and the request may be running yet at the provider.
	Unknown bool
	// Hold is how long the mailbox shall send nothing; with HoldAll, every
	// mailbox of the upstream.
	Hold    time.Duration
	HoldAll bool
	// Mailbox: it is not about the message, so that the next one will hear the
	// same until somebody does something about it.
	Mailbox bool
	// Strike: the provider asked to wait, and if that was not enough the next
	// Hold of the kind is to be longer.
	Strike bool
}

// maxDoubled is where Doubled ends: the longest window in which providers count
// requests is ten minutes.
const maxDoubled = 10 * time.Minute

// Doubled is how long to wait: first at the first time, then twice as long each
// time, up to ten minutes, or to first if that is longer. What the provider asks for
// grows as well: some say one second each time.
func Doubled(first time.Duration, strikes int) time.Duration {
	d := first
	for range strikes {
		if d *= 2; d >= maxDoubled {
			return max(first, maxDoubled)
		}
	}
	return d
}

// Unclear is the outcome of a request whose answer leaves open what became of it;
// wait is how long it asks to wait, if at all.
func Unclear(wait time.Duration, strikes int) Outcome {
	if wait == 0 {
		return Outcome{Unknown: true}
	}
	return Outcome{Unknown: true, Hold: Doubled(wait, strikes), Strike: true}
}

// newHTTP returns an HTTP client. One connection serves every mailbox.
func newHTTP(u *Upstream) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			OnProxyConnectResponse: connected,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: u.Roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    64,
			MaxResponseHeaderBytes: maxAnswer,
			TLSHandshakeTimeout:    dialTimeout,
			// One connection of HTTP/2 carries all mailboxes. Once it is dead
			// and nothing says so, each of their messages would be unknown.
			HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		},
		// A redirected POST would be a second one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// send posts a message. The package's comment says when it does so twice.
func (u *Upstream) send(ctx context.Context, p *place, a *accounts.Account, body *Body, info *relay.Info) (*relay.Reply, Outcome) {
	ctx, over := p.request(ctx)
	defer over()
	req := u.Request(a)
	fresh, again := true, true
	for {
		start := time.Now()
		token, reply := u.token(ctx, req)
		info.Token += time.Since(start)
		if reply == nil {
			var refused bool
			if reply, refused = u.identify(ctx, a, token); refused {
				u.Tokens.Reject(req, token)
				if fresh {
					fresh = false
					continue
				}
			}
			if reply != nil {
				p.standing(Verdict{Reply: reply, Outcome: Outcome{Mailbox: reply != relay.ReplyAPIWhose}})
			}
		}
		var up *load
		if reply == nil {
			up, reply = p.l.upload(ctx, u, a, body.length())
		}
		if reply != nil {
			return reply, Outcome{}
		}
		if !p.lends() || !up.lends() {
			// A token may have taken its time.
			up.end(false)
			return relay.ReplyLimitsNotStored, Outcome{}
		}
		ans, sent := u.post(ctx, a, token, body)
		up.end(true)
		if err := body.failure(); err != nil && ans == nil {
			// The client's doing: the request broke off before its end.
			if r, ok := errors.AsType[*relay.Reply](err); ok {
				return r, Outcome{}
			}
			return relay.ReplyInternal, Outcome{}
		}
		switch {
		case ans == nil && sent == nothing && again && ctx.Err() == nil:
			again = false
			continue
		case ans == nil && sent == everything:
			return relay.ReplyAPIUnknown, Outcome{Unknown: true}
		case ans == nil && errors.Is(context.Cause(ctx), errLeaseEnded):
			return relay.ReplyLimitsNotStored, Outcome{}
		case ans == nil && sent == nothing:
			return relay.ReplyUpstreamDown, Outcome{}
		case ans == nil:
			return relay.ReplyAPIUntouched, Outcome{}
		}
		ans.Strikes = p.strikes()
		v := u.verdict(a.Name, ans)
		p.standing(v)
		if v.Reply.Positive() && sent != everything {
			// It cannot have been about the message, or not about all of it.
			return relay.ReplyAPIUnknown, Outcome{Unknown: true}
		}
		if ans.tokenRefused() {
			u.Tokens.Reject(req, token)
			// A policy that wants the user would refuse another token as well.
			if !ans.Claims() && fresh && body.failure() == nil && body.replayable() {
				fresh = false
				continue
			}
		}
		if v.Outcome.Hold > 0 {
			v.Outcome.Hold = min(v.Outcome.Hold, maxHold)
			u.Logger.Warn("the provider asked to wait, or stopped the mailbox: nothing is sent until then",
				zap.String("upstream", u.name), zap.String("account", a.Name), zap.Bool("all_mailboxes", v.Outcome.HoldAll),
				zap.Duration("for", v.Outcome.Hold), zap.Int("status", ans.Status), zap.Error(v.Reply))
		}
		return v.Reply, v.Outcome
	}
}

// token returns an access token, or what to tell the client.
func (u *Upstream) token(ctx context.Context, req grant.Request) (*oauth2.Token, *relay.Reply) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	token, err := u.Tokens.Token(ctx, req)
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

// post sends one request, and says how much of the body had left before the answer,
// or without one: that is whether the message may have been sent.
func (u *Upstream) post(over context.Context, a *accounts.Account, token *oauth2.Token, body *Body) (*Answer, progress) {
	ctx, cancel := context.WithCancel(over)
	defer cancel()
	f, ok := body.open(u.Timeout, cancel)
	if !ok {
		return nil, part
	}
	r := request{method: http.MethodPost, url: u.URL(a), token: token, body: f, length: body.length()}
	if u.RequestID != "" {
		r.id = newID()
	}
	ans, err := u.do(ctx, r)
	sent := f.stop()
	if sent != nothing && (err != nil || ans.Status >= http.StatusInternalServerError) {
		// What its support is asked with.
		u.Logger.Warn("the provider's API gave no clear answer", zap.String("upstream", u.name), zap.String("account", a.Name),
			zap.String("request", r.id), zap.Bool("whole", sent == everything), zap.Error(err))
	}
	if err != nil {
		if sent == nothing && over.Err() == nil {
			u.unreached(a.Name, err)
		}
		return nil, sent
	}
	return ans, sent
}

// request is one HTTP request.
type request struct {
	method, url string
	token       *oauth2.Token // nil: none
	body        io.Reader
	length      int64  // of the body; -1 if that is not known
	id          string // what it is called; empty: nothing
}

var errOther = errors.New("the answer is another request's")

// do sends a request and reads the answer.
func (u *Upstream) do(ctx context.Context, r request) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, r.body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = r.length
	if r.body != nil {
		req.Header.Set("Content-Type", u.ContentType)
	}
	if r.id != "" {
		req.Header.Set(u.RequestID, r.id)
	}
	if r.token != nil {
		req.Header.Set("Authorization", "Bearer "+r.token.AccessToken)
	}
	req.Header.Set("User-Agent", "Mailgateway")
	resp, err := u.http.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			ledgerOf(u.name).contact.Store(relay.ContactFailed)
		}
		return nil, trouble(req, err)
	}
	defer resp.Body.Close()
	ledgerOf(u.name).contact.Store(relay.ContactAnswered)
	if r.id != "" {
		if id := resp.Header.Get(u.RequestID); id != "" && !strings.EqualFold(id, r.id) {
			// What follows on that connection would be off by one too.
			u.http.CloseIdleConnections()
			return nil, errOther
		}
	}
	// The status says it all; a body that breaks off changes nothing.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	ans := &Answer{Status: resp.StatusCode, Header: resp.Header, Body: text}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		ans.by = issuer(resp.TLS.PeerCertificates[0])
	}
	return ans, nil
}

// newID is a random UUID (RFC 9562 section 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// RetryAfter is how long an answer asks to wait, in seconds or until a date (RFC
// 9110 section 10.2.3); 0 if it does not.
func (a *Answer) RetryAfter() time.Duration {
	v := strings.TrimSpace(a.Header.Get("Retry-After"))
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return min(max(time.Duration(n)*time.Second, 0), maxHold)
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now := time.Now()
	// Dates are the provider's, whose clock may be another.
	if d, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		now = d
	}
	return min(max(t.Sub(now), 0), maxHold)
}

// Claims reports whether an answer asks for more of the user than a token: a
// policy (Conditional Access, continuous evaluation).
func (a *Answer) Claims() bool {
	for _, v := range a.Header.Values("WWW-Authenticate") {
		if strings.Contains(v, "claims=") || strings.Contains(v, "insufficient_claims") {
			return true
		}
	}
	return false
}

// InsufficientScope reports whether an answer says that the token was not granted
// what the request takes (RFC 6750 section 3.1).
func (a *Answer) InsufficientScope() bool {
	for _, v := range a.Header.Values("WWW-Authenticate") {
		if strings.Contains(v, `error="insufficient_scope"`) {
			return true
		}
	}
	return false
}

// Later is a refusal in the provider's words with the time after which the
// message may be tried again, where that is known.
func Later(code, class, subject, detail int, said string, after time.Duration) *relay.Reply {
	r := relay.ReplyAPI(code, class, subject, detail, said)
	if r.Temporary() {
		r.After = after
	}
	return r
}
