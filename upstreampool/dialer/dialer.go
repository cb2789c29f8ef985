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

package dialer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/meter"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Pace of the breaker, which spares the messages of all mailboxes the wait for
// a provider that cannot be reached.
const (
	BreakerAfter = 5 // connect failures in a row
	BreakerPause = time.Second
	breakerCap   = 30 * time.Second
)

// maxWarming is how many tokens are fetched ahead at a time.
const maxWarming = 64

// Dialer opens the connections of one upstream. It outlives configurations.
type Dialer struct {
	// Breaker is told of each attempt.
	Breaker *breaker.Breaker

	name    string
	metrics *meter.Upstream
	refused atomic.Pointer[smtpclient.Error] // the last dial's, if the provider took no connection
	warming chan struct{}                    // semaphore
}

// New returns the dialer of an upstream.
func New(name string, metrics *meter.Upstream) *Dialer {
	return &Dialer{
		Breaker: breaker.New(breaker.Settings{After: BreakerAfter, Min: BreakerPause, Max: breakerCap}),
		name:    name,
		metrics: metrics,
		warming: make(chan struct{}, maxWarming),
	}
}

// Settings are what a configuration says of opening connections.
type Settings struct {
	smtpclient.Config
	Provider string // of tokens
	Tokens   oauthgrant.Source
	Logger   *zap.Logger
}

// Opened is a connection that is logged in, and what that took.
type Opened struct {
	Conn      *smtpclient.Conn
	Token     *oauth2.Token // nil without OAuth
	TokenTime time.Duration
	DialTime  time.Duration // all of the rest
	Opening   *relay.Opening
}

// Refused returns why the provider did not take the last connection, in its words;
// nil: it did, or said nothing.
func (d *Dialer) Refused() *smtpclient.Error { return d.refused.Load() }

// Dial opens a connection for the account in a place of its mailbox, has it join
// live and logs in. A refused token is replaced once, on a new connection.
func (d *Dialer) Dial(ctx context.Context, s *Settings, id Credentials, place limits.Holder, live *smtpclient.Live) (*Opened, *smtpclient.Error) {
	start := time.Now()
	var token *oauth2.Token
	var tokenTime time.Duration
	var opening relay.Opening
	for attempt := 0; ; attempt++ {
		_, ok, probe := d.Breaker.Allow(limits.Now())
		if !ok {
			d.metrics.Failed(smtpclient.FailDown)
			return nil, d.notTried()
		}
		if s.OAuth() {
			var derr *smtpclient.Error
			t0 := time.Now()
			token, derr = Token(ctx, s, id, s.Tokens.Token)
			tokenTime += time.Since(t0)
			opening.Token = t0
			if derr != nil {
				d.Breaker.Done(limits.Now(), breaker.Neither, probe)
				d.metrics.Failed(derr.Class)
				return nil, derr
			}
		}
		opening.Dial = time.Now()
		if derr := Allowed(place); derr != nil {
			d.Breaker.Done(limits.Now(), breaker.Neither, probe)
			d.metrics.Failed(derr.Class)
			return nil, derr
		}
		c, err := smtpclient.Dial(ctx, &s.Config, id.SourceIP, nil)
		if err == nil {
			d.Breaker.Done(limits.Now(), breaker.Up, probe)
			d.refused.Store(nil)
			if err = Allowed(place); err == nil {
				c.Join(live)
				err = c.Login(id.Login(token))
			}
		} else {
			d.failed(s, id, err, probe)
		}
		if err == nil {
			d.metrics.Opened()
			opening.Ready = time.Now()
			return &Opened{Conn: c, Token: token, TokenTime: tokenTime, DialTime: time.Since(start) - tokenTime, Opening: &opening}, nil
		}
		if c != nil {
			c.Abandon()
		}
		d.metrics.Failed(err.Class)
		if err.Class == smtpclient.FailLogin && token != nil {
			s.Tokens.Reject(id.Grant(s.Provider), token)
			if attempt == 0 {
				continue
			}
		}
		return nil, err
	}
}

// notTried says why the breaker lets nothing through.
func (d *Dialer) notTried() *smtpclient.Error {
	derr := &smtpclient.Error{Class: smtpclient.FailDown, Stage: "breaker", Reply: relay.ReplyUpstreamDown, Err: errBreakerOpen}
	if last := d.refused.Load(); last != nil {
		derr.Reply, derr.Err = last.Reply, fmt.Errorf("%w; last: %w", errBreakerOpen, last)
	}
	return derr
}

// failed tells the breaker of a connection that could not be opened.
func (d *Dialer) failed(s *Settings, id Credentials, err *smtpclient.Error, probe bool) {
	outcome := breaker.Neither
	if err.Class == smtpclient.FailConnect && id.SourceIP == "" {
		// An account's own source address is its own trouble.
		outcome = breaker.Down
	}
	what := "upstream unreachable, breaker opened"
	if outcome == breaker.Down {
		d.refused.Store(nil)
		if err.Words() != nil {
			what = "upstream refuses connections, breaker opened"
			d.refused.Store(err)
		}
	}
	if d.Breaker.Done(limits.Now(), outcome, probe) {
		s.Logger.Error(what, zap.String("upstream", d.name), zap.Error(err))
	}
}

// Allowed says why a connection in a place that was taken may not be opened any more.
// It is asked before the login too: that is what providers count, and dialing takes
// time.
func Allowed(place limits.Holder) *smtpclient.Error {
	if place.Dials() {
		return nil
	}
	return &smtpclient.Error{Class: smtpclient.FailLimits, Stage: "limits", Reply: relay.ReplyLimitsNotStored, Err: errNotLent}
}

var (
	errNotLent     = errors.New("this node may not use the mailbox's connections for the moment, other nodes may have them")
	errBreakerOpen = errors.New("too many connect failures lately, not tried")
)

// Warm fetches the token that the account's next connection will need, and says done
// then. It reports whether it does: not if many are being fetched.
func (d *Dialer) Warm(s *Settings, id Credentials, done func()) bool {
	select {
	case d.warming <- struct{}{}:
		go func() {
			defer func() { <-d.warming }()
			_, _ = Token(context.Background(), s, id, s.Tokens.Token) // the message that needs it will hear of a failure
			done()
		}()
		return true
	default:
		return false
	}
}
