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

package sandbox

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/sandbox/authority"
	"github.com/caddymail/mailgateway/sandbox/certs"
	"github.com/caddymail/mailgateway/sandbox/fault"
	"github.com/caddymail/mailgateway/sandbox/record"
	"github.com/caddymail/mailgateway/sandbox/webapi"
)

// Sandbox is a running provider. It needs no Caddy.
type Sandbox struct {
	settings atomic.Pointer[settings]
	logger   *zap.Logger
	faults   fault.Table
	rec      *record.Recorder
	certs    certs.Certificates
	oauth    *authority.Server
	web      *http.Server
	webAPI   *webapi.Server

	done chan struct{} // closed by Close
	wg   sync.WaitGroup

	mu      sync.Mutex
	ports   map[string]*port // by role: smtp, smtps
	httpLn  net.Listener
	conns   map[*conn]struct{}
	closing bool

	nextConn atomic.Uint64
}

// port is one SMTP listener, which can be closed and opened again to refuse
// connections for a while.
type port struct {
	addr     string
	ln       net.Listener
	implicit bool
}

// Start runs a provider. An address that is empty, or has port 0, is picked by
// the system; the App's defaults for addresses are Caddy's matter. The logger
// may be nil.
func Start(cfg *App, logger *zap.Logger) (*Sandbox, error) {
	s, err := newSandbox(cfg, logger)
	if err != nil {
		return nil, err
	}
	if err := s.listen(cfg); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.certs.WriteCA(cfg.CAFile); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func newSandbox(cfg *App, logger *zap.Logger) (*Sandbox, error) {
	st, err := newSettings(cfg)
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = zap.NewNop()
	}
	s := &Sandbox{
		logger: logger,
		done:   make(chan struct{}),
		ports:  make(map[string]*port),
		conns:  make(map[*conn]struct{}),
	}
	s.webAPI = webapi.New(webHost{s})
	s.rec = record.New(st.keep, verbNames[:])
	s.oauth = authority.New(oauthHost{s})
	if err := s.certs.Init(cfg.sign); err != nil {
		return nil, err
	}
	if err := s.apply(st); err != nil {
		return nil, err
	}
	return s, nil
}

// apply makes settings the current ones. Connections and messages stay.
func (s *Sandbox) apply(st *settings) error {
	s.settings.Store(st)
	s.oauth.Seed(st.app.Mailboxes)
	s.faults.ClearConfigured()
	for _, f := range st.app.Faults {
		if _, err := s.faults.Add(f, true); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) listen(cfg *App) error {
	for _, p := range []struct {
		role, addr string
		implicit   bool
	}{{"smtp", cfg.SMTP, false}, {"smtps", cfg.SMTPS, true}} {
		ln, err := net.Listen("tcp", orAny(p.addr))
		if err != nil {
			return err
		}
		pt := &port{addr: ln.Addr().String(), ln: ln, implicit: p.implicit}
		s.ports[p.role] = pt
		s.wg.Go(func() { s.accept(ln, pt.implicit) })
	}
	ln, err := net.Listen("tcp", orAny(cfg.HTTP))
	if err != nil {
		return err
	}
	s.httpLn = ln
	s.web = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          zap.NewStdLog(s.logger.Named("http")),
	}
	s.wg.Go(func() { _ = s.web.Serve(ln) })
	return nil
}

func orAny(addr string) string {
	if addr == "" {
		return "127.0.0.1:0"
	}
	return addr
}

func (s *Sandbox) accept(ln net.Listener, implicit bool) {
	for {
		raw, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely.
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		c := newConn(s, raw, implicit)
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			_ = raw.Close()
			return
		}
		s.adopted(c)
		s.mu.Unlock()
		s.wg.Go(c.serve)
	}
}

// adopted counts a connection in; the caller holds the lock.
func (s *Sandbox) adopted(c *conn) {
	s.conns[c] = struct{}{}
	s.rec.Conn(len(s.conns))
}

func (s *Sandbox) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// SetListening closes the SMTP ports, so that connections are refused, or
// opens them again at the same addresses. Connections stay.
func (s *Sandbox) SetListening(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		switch {
		case !on && p.ln != nil:
			_ = p.ln.Close()
			p.ln = nil
		case on && p.ln == nil && !s.closing:
			ln, err := net.Listen("tcp", p.addr)
			if err != nil {
				return err
			}
			p.ln = ln
			s.wg.Go(func() { s.accept(ln, p.implicit) })
		}
	}
	return nil
}

// DropConns ends all SMTP connections at once, as a provider does that
// restarts: by closing them, or with a TCP reset. It returns their number.
func (s *Sandbox) DropConns(reset bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.kill(reset)
	}
	return len(s.conns)
}

// Farewell ends all SMTP connections at their next read, which for idle ones
// is now, with a last reply such as `421 4.3.2 Service shutting down`. It
// returns their number.
func (s *Sandbox) Farewell(reply string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.farewell.Store(&reply)
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	}
	return len(s.conns)
}

// SMTPAddr is the address of submission with STARTTLS.
func (s *Sandbox) SMTPAddr() string { return s.ports["smtp"].addr }

// SMTPSAddr is the address of submission with implicit TLS.
func (s *Sandbox) SMTPSAddr() string { return s.ports["smtps"].addr }

// HTTPURL is the base of the OAuth endpoints and the inspection API.
func (s *Sandbox) HTTPURL() string { return "http://" + s.httpLn.Addr().String() }

// TokenURL is the token endpoint.
func (s *Sandbox) TokenURL() string { return s.HTTPURL() + "/token" }

// CertPool holds the authority that signed the sandbox's certificate.
func (s *Sandbox) CertPool() *x509.CertPool { return s.certs.Pool() }

// CAPEM is that authority's certificate.
func (s *Sandbox) CAPEM() []byte { return s.certs.CAPEM() }

// Close stops everything and waits for it.
func (s *Sandbox) Close() {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		s.wg.Wait()
		return
	}
	s.closing = true
	close(s.done)
	for _, p := range s.ports {
		if p.ln != nil {
			_ = p.ln.Close()
		}
	}
	for c := range s.conns {
		c.kill(false)
	}
	s.mu.Unlock()
	if s.web != nil {
		_ = s.web.Close()
	}
	s.wg.Wait()
}

// sleep waits, but no longer than the sandbox lives.
func (s *Sandbox) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// WaitMessages waits until n messages have been accepted since the start or
// the last DeleteMessages.
func (s *Sandbox) WaitMessages(ctx context.Context, n uint64) error {
	return s.rec.Wait(ctx, func() bool { return s.rec.Count() >= n })
}

// WaitNoConns waits until no SMTP connection is left.
func (s *Sandbox) WaitNoConns(ctx context.Context) error {
	for {
		s.mu.Lock()
		n := len(s.conns)
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
