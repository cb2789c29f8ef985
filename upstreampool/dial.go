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
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// dial opens a connection for the account and logs in. A refused token is
// replaced once, on a new connection.
func (u *upstream) dial(ctx context.Context, s *settings, ac *account, id credentials) (*conn, *smtpclient.Error) {
	start := time.Now()
	var token *oauth2.Token
	var tokenTime time.Duration
	var opening relay.Opening
	for attempt := 0; ; attempt++ {
		_, ok, probe := u.breaker.Allow(clock())
		if !ok {
			u.metrics.Failed(smtpclient.FailDown)
			derr := &smtpclient.Error{Class: smtpclient.FailDown, Stage: "breaker", Reply: relay.ReplyUpstreamDown, Err: errBreakerOpen}
			if last := u.refused.Load(); last != nil {
				derr.Reply, derr.Err = last.Reply, fmt.Errorf("%w; last: %w", errBreakerOpen, last)
			}
			return nil, derr
		}
		if s.OAuth() {
			var derr *smtpclient.Error
			t0 := time.Now()
			token, derr = fetchToken(ctx, s, id, s.tokens.Token)
			tokenTime += time.Since(t0)
			opening.Token = t0
			if derr != nil {
				u.breaker.Done(clock(), breaker.Neither, probe)
				u.metrics.Failed(derr.Class)
				return nil, derr
			}
		}
		opening.Dial = time.Now()
		if derr := ac.dials(); derr != nil {
			u.breaker.Done(clock(), breaker.Neither, probe)
			u.metrics.Failed(derr.Class)
			return nil, derr
		}
		sc, err := smtpclient.Dial(ctx, &s.Config, id.sourceIP, nil)
		if err == nil {
			u.breaker.Done(clock(), breaker.Up, probe)
			u.refused.Store(nil)
			if err = ac.dials(); err == nil {
				sc.Join(&ac.live)
				err = sc.Login(id.login(token))
			}
		} else {
			outcome := breaker.Neither
			if err.Class == smtpclient.FailConnect && id.sourceIP == "" {
				// An account's own source address is its own trouble.
				outcome = breaker.Down
			}
			what := "upstream unreachable, breaker opened"
			if outcome == breaker.Down {
				u.refused.Store(nil)
				if err.Words() != nil {
					what = "upstream refuses connections, breaker opened"
					u.refused.Store(err)
				}
			}
			if u.breaker.Done(clock(), outcome, probe) {
				s.logger.Error(what, zap.String("upstream", u.name), zap.Error(err))
			}
		}
		if err == nil {
			u.metrics.Opened()
			now := clock()
			c := &conn{
				Conn: sc, pool: ac.pool, s: s, identity: s.identity, creds: id,
				opened: now, idleSince: now, retireAt: now + int64(s.maxAge),
			}
			if token != nil && !token.Expiry.IsZero() {
				// A session is not worth more than the token it began with.
				if left := time.Until(token.Expiry); left > 30*time.Second && int64(left) < int64(s.maxAge) {
					c.retireAt = now + int64(left) - int64(15*time.Second)
				}
			}
			c.tokenTime, c.dialTime = tokenTime, time.Since(start)-tokenTime
			opening.Ready = time.Now()
			c.opening = &opening
			return c, nil
		}
		if sc != nil {
			sc.Abandon()
		}
		u.metrics.Failed(err.Class)
		if err.Class == smtpclient.FailLogin && token != nil {
			s.tokens.Reject(id.grant(s.provider), token)
			if attempt == 0 {
				continue
			}
		}
		return nil, err
	}
}

// dials says why a connection that was taken may not be opened any more. It is asked
// before the login too: that is what providers count, and dialing takes time.
func (ac *account) dials() *smtpclient.Error {
	if ac.holder.Dials() {
		return nil
	}
	return &smtpclient.Error{Class: smtpclient.FailLimits, Stage: "limits", Reply: relay.ReplyLimitsNotStored, Err: errNotLent}
}

var (
	errNotLent     = errors.New("this node may not use the mailbox's connections for the moment, other nodes may have them")
	errBreakerOpen = errors.New("too many connect failures lately, not tried")
)

// tokenFunc is a method of a token source.
type tokenFunc func(context.Context, oauthgrant.Request) (*oauth2.Token, error)

func fetchToken(ctx context.Context, s *settings, id credentials, get tokenFunc) (*oauth2.Token, *smtpclient.Error) {
	ctx, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()
	token, err := get(ctx, id.grant(s.provider))
	if err == nil && (token == nil || token.AccessToken == "") {
		err = errors.New("empty token")
	}
	if err == nil {
		return token, nil
	}
	reply := relay.ReplyTokenUnavailable
	if r, ok := errors.AsType[oauthgrant.Refusal](err); ok {
		if text := r.Reply(); text != "" {
			reply = relay.ReplyToken(text)
		} else if r.ReauthRequired() {
			reply = relay.ReplyReauthRequired
		}
	}
	return nil, &smtpclient.Error{Class: smtpclient.FailToken, Stage: "token", Reply: reply, Err: err}
}

// warmPause is how long a token that was asked for ahead stays asked for.
const warmPause = 30 * time.Second

// warm fetches the token that the account's next connection will need. It is
// called at each login and costs nothing where connections are open already.
func (u *upstream) warm(a *accounts.Account) {
	s := u.current.Load()
	if s == nil || !s.OAuth() {
		return
	}
	ac := u.account(a, s)
	if !ac.warmable(clock()) {
		ac.done()
		return
	}
	select {
	case u.warming <- struct{}{}:
		go func() {
			defer func() { <-u.warming }()
			_, _ = fetchToken(context.Background(), s, ac.credentials(), s.tokens.Token) // the message that needs it will hear of a failure
			ac.done()
		}()
	default: // the message itself will fetch it
		ac.done()
	}
}

// warmable reports whether a token has to be fetched, and notes that it is.
func (p *pool) warmable(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns > 0 || p.warmedAt != 0 && now-p.warmedAt < int64(warmPause) {
		return false
	}
	p.warmedAt = now
	return true
}
