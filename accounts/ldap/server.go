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

package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/breaker"
)

// server is one server of the directory.
type server struct {
	url      string
	network  string
	addr     string
	tls      *tls.Config // nil: none
	starttls bool
	timeout  time.Duration
	breaker  *breaker.Breaker
	failure  atomic.Pointer[error] // the last one for which it was away
	logger   *zap.Logger
}

var began = time.Now()

func now() int64 { return int64(time.Since(began)) }

// parseServer checks the address of a server. Passwords go over the wire as they
// are: without TLS only to this machine.
func parseServer(text string, starttls, insecure bool) (*server, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "ldapi" && strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("'%s' has more in it than a host and a port", u.Redacted())
	}
	s := &server{url: text, network: "tcp"}
	port := "389"
	switch u.Scheme {
	case "ldapi":
		if s.addr = u.Path; s.addr == "" {
			return nil, fmt.Errorf("'%s' has no path, as in ldapi:///run/slapd/ldapi", text)
		}
		s.network = "unix"
		return s, nil
	case "ldaps":
		port = "636"
	case "ldap":
		if !starttls && !insecure && !local(u.Hostname()) {
			return nil, fmt.Errorf("'%s' would get passwords in the clear: use ldaps or starttls", text)
		}
	default:
		return nil, fmt.Errorf("'%s' does not begin with ldaps://, ldap:// or ldapi://", text)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("'%s' names no host", text)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	s.addr = net.JoinHostPort(u.Hostname(), port)
	if s.starttls = starttls && u.Scheme == "ldap"; s.starttls || u.Scheme == "ldaps" {
		s.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	}
	return s, nil
}

func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// dial connects. The connection is nobody's yet.
func (s *server) dial(ctx context.Context) (*ldap.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, s.network, s.addr)
	if err != nil {
		return nil, err
	}
	// Neither the library's StartTLS nor a handshake knows a context.
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline)
	secure := s.tls != nil && !s.starttls
	conn := raw
	if secure {
		c := tls.Client(raw, s.tls)
		if err := c.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		conn = c
	}
	c := ldap.NewConn(conn, secure)
	c.SetTimeout(s.timeout)
	c.Start()
	if s.starttls {
		if err := c.StartTLS(s.tls); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("STARTTLS: %w", err)
		}
	}
	_ = raw.SetDeadline(time.Time{})
	return c, nil
}

// done tells the breaker what became of an attempt.
func (s *server) done(outcome breaker.Outcome, err error, probe bool) {
	if outcome == breaker.Down {
		s.failure.Store(&err)
	}
	if s.breaker.Done(now(), outcome, probe) {
		s.logger.Warn("server of a directory is away", zap.String("server", s.url), zap.Error(err))
	}
}

// rests is why a server is not asked now.
func (s *server) rests() error {
	const text = "it did not answer a moment ago"
	if err := s.failure.Load(); err != nil {
		return fmt.Errorf("%s: %s: %w", s.url, text, *err)
	}
	return fmt.Errorf("%s: %s", s.url, text)
}

// away reports whether an error says that a server does not answer, or not now.
func away(err error) bool {
	return err != nil && !isRefused(err) && (ldap.IsErrorAnyOf(err, ldap.ErrorNetwork, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable,
		ldap.ErrorUnexpectedMessage, ldap.ErrorUnexpectedResponse) || !isResult(err))
}

func isResult(err error) bool {
	_, ok := errors.AsType[*ldap.Error](err)
	return ok
}
