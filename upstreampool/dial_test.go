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
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestBreakerOpens checks that an upstream that refuses connections stops
// costing a dial each, and that messages go again when it is back.
func TestBreakerOpens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	u := start(t, testSettings(t, nil, func(tr *SMTPTransport) { tr.Dial = addr }))
	for range dialer.BreakerAfter {
		if err := deliver(u, testAccount("a@a.test"), "x"); !errors.Is(err, relay.ReplyUpstreamDown) {
			t.Fatal(err)
		}
	}
	if st := u.dialer.Breaker.State(clock()); st != breaker.Open {
		t.Fatal(st)
	}
	begin := time.Now()
	for range 100 { // other accounts hear of it too, at once
		if err := deliver(u, testAccount("b@a.test"), "x"); !errors.Is(err, relay.ReplyUpstreamDown) {
			t.Fatal(err)
		}
	}
	t.Logf("100 messages refused in %v", time.Since(begin))
	settled(t, u, "a@a.test")

	// Back again: the first dial after the pause is the probe.
	if ln, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port is taken:", err)
	}
	p := &provider{t: t, ln: ln, caps: allCaps, live: make(map[net.Conn]struct{})}
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.stop)
	for u.dialer.Breaker.State(clock()) == breaker.Open {
		wait, _, _ := u.dialer.Breaker.Allow(clock())
		time.Sleep(wait)
	}
	if err := deliver(u, testAccount("a@a.test"), "x"); err != nil {
		t.Error(err)
	}
	if st := u.dialer.Breaker.State(clock()); st != breaker.Closed {
		t.Error(st)
	}
}

// TestTroubleStaysItsOwn checks that refused logins of one account neither open
// the breaker nor slow another account down.
func TestTroubleStaysItsOwn(t *testing.T) {
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if strings.HasPrefix(line, "AUTH PLAIN "+b64("\x00bad")[:4]) {
				return "454 4.7.0 Too many login attempts"
			}
			return ""
		}
	})
	u := start(t, testSettings(t, p))
	for range 20 {
		err := deliver(u, testAccount("bad@a.test"), "x")
		if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Code != 451 || !strings.Contains(r.Lines[0], "454 4.7.0 Too many login attempts") {
			t.Fatal(err)
		}
		if err := deliver(u, testAccount("good@a.test"), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if st := u.dialer.Breaker.State(clock()); st != breaker.Closed {
		t.Error(st)
	}
	if n := p.count("AUTH PLAIN"); n > 5 {
		t.Errorf("%d logins", n)
	}
}

// TestManyWaitersOneDeadProvider checks that everyone who waits for a connection
// that can't be opened hears so, once, and that nothing is left behind.
func TestManyWaitersOneDeadProvider(t *testing.T) {
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if strings.HasPrefix(line, "AUTH") {
				return "<close>"
			}
			return ""
		}
	})
	u := start(t, testSettings(t, p))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := deliver(u, testAccount("a@a.test"), "x"); !errors.Is(err, relay.ReplyUpstreamDown) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	settled(t, u, "a@a.test")
}

func TestTokenEndRetires(t *testing.T) {
	p := newProvider(t)
	k := &tokens{current: &oauth2.Token{AccessToken: "x", Expiry: time.Now().Add(time.Minute)}}
	s := oauthSettings(t, p, k, smtpclient.XOAUTH2)
	u := start(t, s)
	tx, err := u.begin(t.Context(), testAccount("a@a.test"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	if left := time.Duration(tx.c.retireAt - clock()); left > time.Minute || left < 30*time.Second {
		t.Errorf("a connection lives %v with a token of one minute", left)
	}
}

func TestThroughProxy(t *testing.T) {
	p := newProvider(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	var mu sync.Mutex
	var targets, logins []string
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				req, err := http.ReadRequest(bufio.NewReader(nc))
				if err != nil {
					return
				}
				mu.Lock()
				targets = append(targets, req.Method+" "+req.Host)
				logins = append(logins, req.Header.Get("Proxy-Authorization"))
				mu.Unlock()
				up, err := net.Dial("tcp", req.Host)
				if err != nil {
					_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
					return
				}
				defer up.Close()
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
				wg.Go(func() { _, _ = io.Copy(up, nc); _ = up.Close() })
				_, _ = io.Copy(nc, up)
			})
		}
	})
	s := testSettings(t, p)
	s.Proxy = func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: ln.Addr().String(), User: url.UserPassword("u", "p")}, nil
	}
	u := start(t, s)
	if err := deliver(u, testAccount("a@a.test"), "x"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(targets) != 1 || targets[0] != "CONNECT "+p.ln.Addr().String() || logins[0] != "Basic "+b64("u:p") {
		t.Error(targets, logins)
	}
}
