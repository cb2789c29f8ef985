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
	"time"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/relay"
)

// failClass says whose fault a failed dial is, and so what follows from it.
type failClass int

const (
	failConnect   failClass = iota // unreachable, TLS, greeting: the breaker counts it
	failDown                       // not tried: the breaker is open
	failLocal                      // the account's own source address or proxy
	failToken                      // no access token to be had
	failLogin                      // the provider refused the credentials
	failThrottled                  // the provider limits logins: 421, 454
	failBusy                       // the provider limits connections: 432
)

// dialResults are the values of the metric's label, by class.
var dialResults = [...]string{
	failConnect: "connect_error", failDown: "breaker_open", failLocal: "local_error",
	failToken: "token_error", failLogin: "auth_refused", failThrottled: "throttled", failBusy: "busy",
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

// reauth is what the error of a token source that needs a human implements.
type reauth interface {
	error
	ReauthRequired() bool
}

// dial opens a connection for the account and logs in. A refused token is
// replaced once, on a new connection.
func (u *upstream) dial(ctx context.Context, s *settings, ac *account, id credentials) (*conn, *dialError) {
	start := time.Now()
	var token *oauth2.Token
	var tokenTime time.Duration
	for attempt := 0; ; attempt++ {
		ok, probe := u.breaker.allow(clock())
		if !ok {
			u.metrics.dial(dialResults[failDown])
			return nil, &dialError{class: failDown, stage: "breaker", reply: relay.ReplyUpstreamDown, err: errBreakerOpen}
		}
		if s.oauth() {
			var derr *dialError
			t0 := time.Now()
			token, derr = fetchToken(ctx, s, id)
			tokenTime += time.Since(t0)
			if derr != nil {
				u.breaker.done(clock(), false, false, probe)
				u.metrics.dial(dialResults[derr.class])
				return nil, derr
			}
		}
		c, err := connect(ctx, s, id)
		if err == nil {
			u.breaker.done(clock(), true, true, probe)
			err = c.login(s, id, token)
		} else {
			// An account's own source address is its own trouble.
			opened := u.breaker.done(clock(), false, err.class == failConnect && id.sourceIP == "", probe)
			if opened {
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
			return c, nil
		}
		if c != nil {
			c.abandon()
		}
		u.metrics.dial(dialResults[err.class])
		if err.class == failLogin && token != nil {
			s.tokens.Reject(s.provider, id.name, id.mailbox, token)
			if attempt == 0 {
				continue
			}
		}
		return nil, err
	}
}

var errBreakerOpen = errors.New("too many connect failures lately, not tried")

func fetchToken(ctx context.Context, s *settings, id credentials) (*oauth2.Token, *dialError) {
	ctx, cancel := context.WithTimeout(ctx, s.dialTimeout)
	defer cancel()
	token, err := s.tokens.Token(ctx, s.provider, id.name, id.mailbox, id.seed)
	if err == nil && (token == nil || token.AccessToken == "") {
		err = errors.New("empty token")
	}
	if err == nil {
		return token, nil
	}
	reply := relay.ReplyTokenUnavailable
	if r, ok := errors.AsType[reauth](err); ok && r.ReauthRequired() {
		reply = relay.ReplyReauthRequired
	}
	return nil, &dialError{class: failToken, stage: "token", reply: reply, err: err}
}

// connect opens a connection up to the reply to EHLO, encrypted as configured.
func connect(ctx context.Context, s *settings, id credentials) (*conn, *dialError) {
	ctx, cancel := context.WithTimeout(ctx, s.dialTimeout)
	defer cancel()
	fail := func(stage string, err error) *dialError {
		return &dialError{class: failConnect, stage: stage, reply: relay.ReplyUpstreamDown, err: err}
	}

	tcp, derr := dialTCP(ctx, s, id)
	if derr != nil {
		return nil, derr
	}
	c := &conn{s: s, identity: s.identity, creds: id, tcp: tcp, nc: tcp}
	c.ready.init(tcp)
	c.br = bufio.NewReaderSize(tcp, replyBuffer)
	c.replies = relay.NewReplyReader(c.br)
	if err := c.arm(s.dialTimeout); err != nil {
		c.abandon()
		return nil, fail("connect", err)
	}
	if s.tlsMode == tlsImplicit {
		if err := c.handshake(ctx); err != nil {
			c.abandon()
			return nil, fail("tls", err)
		}
	}
	if derr := c.greet(ctx); derr != nil {
		c.abandon()
		return nil, derr
	}
	return c, nil
}

// greet reads the greeting, says EHLO and takes up TLS.
func (c *conn) greet(ctx context.Context) *dialError {
	fail := func(stage string, err error) *dialError {
		return &dialError{class: failConnect, stage: stage, reply: relay.ReplyUpstreamDown, err: err}
	}
	code, err := c.replies.Read()
	if err != nil {
		return fail("greeting", err)
	}
	if code != 220 {
		return c.refused("greeting")
	}
	if code, err = c.ehlo(); err != nil {
		return fail("ehlo", err)
	}
	if code != 250 {
		return c.refused("ehlo")
	}
	if c.s.tlsMode != tlsStartTLS {
		return nil
	}
	if !c.caps.startTLS {
		// Going on in the clear would be what an attacker in the middle wants.
		return fail("starttls", errors.New("the provider does not offer STARTTLS"))
	}
	if code, err = c.command([]byte("STARTTLS\r\n")); err != nil {
		return fail("starttls", err)
	}
	if code != 220 {
		return c.refused("starttls")
	}
	// RFC 3207 section 6: what came in the clear after the 220 is nobody's.
	if c.br.Buffered() > 0 {
		return fail("starttls", errors.New("plaintext injected before TLS"))
	}
	if err := c.handshake(ctx); err != nil {
		return fail("tls", err)
	}
	if code, err = c.ehlo(); err != nil { // RFC 3207 section 4.2: begin again
		return fail("ehlo", err)
	}
	if code != 250 {
		return c.refused("ehlo")
	}
	return nil
}

// refused makes an error of a negative reply before login. A 421 or other 4yz
// is the upstream's trouble like a refused connection.
func (c *conn) refused(stage string) *dialError {
	r := c.replies.Reply()
	if r.Code == 432 {
		return &dialError{class: failBusy, stage: stage, reply: relay.ReplyUpstreamBusy(r), err: r}
	}
	return &dialError{class: failConnect, stage: stage, reply: relay.ReplyUpstreamDown, err: r}
}

func (c *conn) handshake(ctx context.Context) error {
	tc := tls.Client(c.tcp, c.s.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.nc = tc
	c.deadline = time.Time{}
	c.br.Reset(tc)
	c.replies.Reset(c.br)
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
