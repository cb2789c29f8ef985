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
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/oauth2"

	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
)

// failClass says whose fault a failed dial is, and so what follows from it.
type failClass int

const (
	failConnect   failClass = iota // unreachable, TLS, greeting: the breaker counts it
	failDown                       // not tried: the breaker is open
	failLocal                      // the account's own source address or proxy
	failLost                       // lost during the login: the account is paced
	failToken                      // no access token to be had
	failLogin                      // the provider refused the credentials
	failThrottled                  // the provider limits logins: 421, 454
	failBusy                       // the provider limits connections: 432
)

// dialResults are the values of the metric's label, by class.
var dialResults = [...]string{
	failConnect: "connect_error", failDown: "breaker_open", failLocal: "local_error",
	failLost: "connect_error", failToken: "token_error", failLogin: "auth_refused", failThrottled: "throttled", failBusy: "busy",
}

// dialError says why a connection could not be opened, to the log, and to the
// client in the words of reply.
type dialError struct {
	class failClass
	stage string
	reply *relay.Reply
	err   error
}

func (e *dialError) Error() string {
	if e.err == nil {
		return e.stage + ": " + e.reply.Error()
	}
	return e.stage + ": " + e.err.Error()
}

func (e *dialError) Unwrap() error { return e.reply }

// dial opens a connection for the account and logs in. A refused token is
// replaced once, on a new connection.
func (u *upstream) dial(ctx context.Context, s *settings, ac *account, id credentials) (*conn, *dialError) {
	start := time.Now()
	var token *oauth2.Token
	var tokenTime time.Duration
	var opening relay.Opening
	for attempt := 0; ; attempt++ {
		_, ok, probe := u.breaker.Allow(clock())
		if !ok {
			u.metrics.dial(dialResults[failDown])
			return nil, &dialError{class: failDown, stage: "breaker", reply: relay.ReplyUpstreamDown, err: errBreakerOpen}
		}
		if s.oauth() {
			var derr *dialError
			t0 := time.Now()
			token, derr = fetchToken(ctx, s, id, s.tokens.Token)
			tokenTime += time.Since(t0)
			opening.Token = t0
			if derr != nil {
				u.breaker.Done(clock(), breaker.Neither, probe)
				u.metrics.dial(dialResults[derr.class])
				return nil, derr
			}
		}
		opening.Dial = time.Now()
		c, err := connect(ctx, s, id, nil)
		if err == nil {
			u.breaker.Done(clock(), breaker.Up, probe)
			err = c.login(s, id, token)
		} else {
			outcome := breaker.Neither
			if err.class == failConnect && id.sourceIP == "" {
				// An account's own source address is its own trouble.
				outcome = breaker.Down
			}
			if u.breaker.Done(clock(), outcome, probe) {
				s.logger.Error("upstream unreachable, breaker opened: " + u.name)
			}
		}
		if err == nil {
			u.metrics.dial("ok")
			now := clock()
			c.ac = ac
			c.opened, c.idleSince = now, now
			c.retireAt = now + int64(s.maxAge)
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
		if c != nil {
			c.abandon()
		}
		u.metrics.dial(dialResults[err.class])
		if err.class == failLogin && token != nil {
			s.tokens.Reject(id.grant(s.provider), token)
			if attempt == 0 {
				continue
			}
		}
		return nil, err
	}
}

var errBreakerOpen = errors.New("too many connect failures lately, not tried")

// tokenFunc is a method of a token source.
type tokenFunc func(context.Context, oauthgrant.Request) (*oauth2.Token, error)

func fetchToken(ctx context.Context, s *settings, id credentials, get tokenFunc) (*oauth2.Token, *dialError) {
	ctx, cancel := context.WithTimeout(ctx, s.dialTimeout)
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
	return nil, &dialError{class: failToken, stage: "token", reply: reply, err: err}
}

// connect opens a connection up to the reply to EHLO, encrypted as configured.
func connect(ctx context.Context, s *settings, id credentials, tr *tracer) (*conn, *dialError) {
	dialing, cancel := context.WithTimeout(ctx, s.dialTimeout)
	tcp, derr := dialTCP(dialing, s, id)
	cancel()
	if derr != nil {
		tr.done("tcp", "", derr.err)
		return nil, derr
	}
	tr.done("tcp", "connected to "+tcp.RemoteAddr().String(), nil)
	c := &conn{s: s, identity: s.identity, creds: id, tcp: tcp, nc: tcp}
	c.ready.init(tcp)
	c.br = bufio.NewReaderSize((*patient)(c), replyBuffer)
	c.replies = relay.NewReplyReader(c.br)
	if stage, err := c.greet(ctx, tr); err != nil {
		c.abandon()
		tr.done(stage, "", err)
		if r, ok := errors.AsType[*relay.Reply](err); ok && r.Code == 432 {
			return nil, &dialError{class: failBusy, stage: stage, reply: relay.ReplyUpstreamBusy(r), err: err}
		}
		return nil, &dialError{class: failConnect, stage: stage, reply: relay.ReplyUpstreamDown, err: err}
	}
	return c, nil
}

// greet takes the connection from its first byte to the reply to EHLO. An error
// is the connection's or the provider's reply; stage tells where it came up.
func (c *conn) greet(ctx context.Context, tr *tracer) (stage string, err error) {
	if err := c.arm(c.s.dialTimeout); err != nil {
		return "tcp", err
	}
	if c.s.tlsMode == tlsImplicit {
		if err := c.handshake(ctx, tr); err != nil {
			return "tls", err
		}
	}
	if err := c.arm(c.s.greetingTimeout); err != nil {
		return "greeting", err
	}
	if code, err := c.replies.Read(); timedOut(err) {
		return "greeting", fmt.Errorf("no greeting within %v (the longer of dial_timeout and a minute): %w", c.s.greetingTimeout, err)
	} else if err != nil {
		return "greeting", err
	} else if code != 220 {
		return "greeting", c.said()
	}
	c.tell(tr, "greeting")
	if err := c.arm(c.s.dialTimeout); err != nil {
		return "ehlo", err
	}
	if err := c.ehlo(); err != nil {
		return "ehlo", err
	}
	c.tell(tr, "ehlo")
	if c.s.tlsMode != tlsStartTLS {
		return "", nil
	}
	if !c.caps.startTLS {
		// Going on in the clear would be what an attacker in the middle wants.
		return "starttls", errors.New("the provider does not offer STARTTLS")
	}
	if code, err := c.command([]byte("STARTTLS\r\n")); err != nil {
		return "starttls", err
	} else if code != 220 {
		return "starttls", c.said()
	}
	// RFC 3207 section 6: what came in the clear after the 220 is nobody's.
	if c.br.Buffered() > 0 {
		return "starttls", errors.New("plaintext injected before TLS")
	}
	c.tell(tr, "starttls")
	if err := c.handshake(ctx, tr); err != nil {
		return "tls", err
	}
	if err := c.ehlo(); err != nil { // RFC 3207 section 4.2: begin again
		return "ehlo", err
	}
	c.tell(tr, "ehlo")
	return "", nil
}

// tell reports a step with the reply that ended it.
func (c *conn) tell(tr *tracer, name string) {
	if tr != nil {
		tr.done(name, strings.Join(c.said().Lines, "\n"), nil)
	}
}

func (c *conn) handshake(ctx context.Context, tr *tracer) error {
	c.deaf = &deafConn{Conn: c.tcp}
	tc := tls.Client(c.deaf, c.s.tls)
	ctx, cancel := context.WithTimeout(ctx, c.s.dialTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.nc = tc
	c.br.Reset((*patient)(c))
	c.replies.Reset(c.br)
	if tr != nil {
		tr.done("tls", c.describeTLS(), nil)
	}
	return c.arm(c.s.dialTimeout)
}

// dialTCP connects, from the account's source address if it has one, else from
// the upstream's. An address that can't be bound fails: mail must not leave
// from another one.
func dialTCP(ctx context.Context, s *settings, id credentials) (net.Conn, *dialError) {
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4}}
	network, source := "tcp", s.sourceIP
	if id.sourceIP != "" {
		var err error
		if source, err = netip.ParseAddr(id.sourceIP); err != nil {
			return nil, &dialError{class: failLocal, stage: "source_ip", reply: relay.ReplyUpstreamDown, err: fmt.Errorf("malformed address '%s'", id.sourceIP)}
		}
	}
	if source.IsValid() {
		source = source.Unmap()
		if network = "tcp6"; source.Is4() {
			network = "tcp4"
		}
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	var nc net.Conn
	var err error
	if s.proxy != nil {
		nc, err = dialProxy(ctx, d, network, s)
	} else {
		nc, err = d.DialContext(ctx, network, s.address())
	}
	if err == nil {
		return nc, nil
	}
	class := failConnect
	if source.IsValid() && bindFailed(err) {
		class = failLocal
	}
	return nil, &dialError{class: class, stage: "connect", reply: relay.ReplyUpstreamDown, err: err}
}
