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
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestReloadChangesConnections changes by a reload what a connection is opened
// with, while one is idle, one carries a message, one is being opened and a
// message waits. What is under way ends well on what it has, and what has been given
// a connection is; everything that begins afterwards has the new setting, the
// message that still waits too.
func TestReloadChangesConnections(t *testing.T) {
	conf, pool := testTLS(t)
	for name, tc := range map[string]struct {
		change func(*settings, *SMTPTransport)
		fresh  func(s *serverConn, hello string) bool // the connection has the new setting
	}{
		"hostname": {
			change: func(s *settings, _ *SMTPTransport) { s.Hostname = "other.test" },
			fresh:  func(_ *serverConn, hello string) bool { return hello == "EHLO other.test" },
		},
		"tls": {
			change: func(s *settings, _ *SMTPTransport) {
				s.TLSMode = smtpclient.StartTLS
				s.TLS = &tls.Config{ServerName: "127.0.0.1", RootCAs: pool}
			},
			fresh: func(s *serverConn, _ string) bool { _, ok := s.nc.(*tls.Conn); return ok },
		},
		"mechanism": {
			change: func(s *settings, _ *SMTPTransport) { s.Mechanism = smtpclient.AuthNone },
			fresh:  func(s *serverConn, _ string) bool { return s.user == "" },
		},
		"proxy": {
			change: func(s *settings, tr *SMTPTransport) {
				tr.proxyRaw = []byte(`{"from":"test"}`)
				u := connectProxy(t)
				s.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
			},
			fresh: func(s *serverConn, _ string) bool {
				_, viaProxy := proxied.Load(ends{s.nc.RemoteAddr().String(), s.nc.LocalAddr().String()})
				return viaProxy
			},
		},
		"source_ip": {
			change: func(s *settings, _ *SMTPTransport) { s.SourceIP = secondLoopback(t) },
			fresh: func(s *serverConn, _ string) bool {
				return s.nc.RemoteAddr().(*net.TCPAddr).IP.String() == "127.0.0.2"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testReloadChanges(t, conf, tc.change, tc.fresh)
		})
	}
}

// testReloadChanges has a message go out in each way before and after a change.
func testReloadChanges(t *testing.T, conf *tls.Config, change func(*settings, *SMTPTransport), fresh func(*serverConn, string) bool) {
	t.Helper()
	var mu sync.Mutex
	hellos := make(map[*serverConn]string)
	how := make(map[string]bool) // by body: whether its connection had the new setting
	slow := make(chan struct{})  // the third connection's greeting
	dialing := make(chan struct{})
	changed := make(chan struct{})
	p := newProvider(t, func(p *provider) {
		p.tls = conf
		p.hook = func(s *serverConn, line string) string {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case line == "<connect>" && s.n == 3:
				mu.Unlock()
				close(dialing)
				<-slow
				mu.Lock()
			case strings.HasPrefix(line, "EHLO"):
				hellos[s] = line
			case strings.HasPrefix(line, "RCPT"):
				to, _, _ := strings.Cut(strings.TrimPrefix(line, "RCPT TO:<"), "@")
				how[to] = fresh(s, hellos[s])
				if to == "dialing" { // or its connection would serve the other before the change
					mu.Unlock()
					<-changed
					mu.Lock()
				}
			}
			return ""
		}
	})
	tr := &SMTPTransport{
		Hostname: "gateway.test", Dial: p.ln.Addr().String(), MaxConnsPerAccount: 3,
		TLS: &UpstreamTLS{Mode: smtpclient.NoTLS}, Auth: &UpstreamAuth{Mechanism: smtpclient.AuthPlain},
	}
	before := testSettings(t, nil, func(o *SMTPTransport) { *o = *tr })
	after := testSettings(t, nil, func(o *SMTPTransport) { *o = *tr })
	change(after, tr)
	after.identity = tr.identity(after)
	if after.identity == before.identity {
		t.Fatal("the change makes no difference")
	}
	u := start(t, after)
	u.attach(before)
	a := testAccount("a@a.test")
	begin := func(to string) *transaction {
		tx, err := u.begin(t.Context(), a, "from@a.test", nil)
		if err == nil {
			err = tx.Rcpt(t.Context(), to+"@b.test", nil)
		}
		if err != nil {
			t.Error(to, err)
		}
		return tx
	}
	end := func(tx *transaction, body string) {
		if _, err := tx.Data(t.Context(), strings.NewReader(body)); err != nil {
			t.Error(body, err)
		}
	}
	busy, idle := begin("busy"), begin("idle")
	end(idle, "idle")
	var wg sync.WaitGroup
	last := begin("kept") // takes the idle one
	wg.Go(func() { end(begin("dialing"), "dialing") })
	<-dialing
	wg.Go(func() { end(begin("waiting"), "waiting") })
	for ac := u.peek(a.Name); ; time.Sleep(time.Millisecond) { // nothing says that another waits
		ac.mu.Lock()
		n := ac.nWait
		ac.mu.Unlock()
		if n == 2 {
			break
		}
	}
	end(last, "kept") // serves the first of the two
	u.detach(before)
	close(changed)
	close(slow)
	end(busy, "busy")
	wg.Wait()
	end(begin("next"), "next")
	if err := single(u, a, "flight"); err != nil {
		t.Error(err)
	}
	for _, body := range []string{"idle", "kept", "busy", "dialing", "waiting", "next", "flight"} {
		if n := p.holds(body); n != 1 {
			t.Errorf("%d messages %q, want one", n, body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if how["busy"] || how["kept"] || how["idle"] || how["dialing"] {
		t.Errorf("before the change: %v", how)
	}
	if !how["next"] || !how["to"] || !how["waiting"] {
		t.Errorf("after the change: %v", how)
	}
}

// TestSettingsOfBefore has messages come with the settings that were in force a
// moment before a reload, between others that have the new ones: the pool keeps to
// those that are in force, or it would retire each connection that it opens.
func TestSettingsOfBefore(t *testing.T) {
	p := newProvider(t)
	before := testSettings(t, p)
	after := testSettings(t, p, func(tr *SMTPTransport) { tr.Hostname = "other.test" })
	u := start(t, after)
	u.attach(before)
	a := testAccount("a@a.test")
	if err := deliver(u, a, "one"); err != nil {
		t.Fatal(err)
	}
	u.detach(before)
	ac := u.account(a, before)
	defer ac.done()
	c, reply := ac.lease(t.Context(), before, clock(), false)
	if reply != nil {
		t.Fatal(reply)
	}
	if c.identity != after.identity {
		t.Error("a connection of before")
	}
	ac.putBack(c)
	if err := deliver(u, a, "two"); err != nil {
		t.Fatal(err)
	}
	if n := p.dialed(); n != 2 {
		t.Errorf("%d connections, want one before and one after", n)
	}
}

// secondLoopback is an address to send from that is not the usual one.
func secondLoopback(t *testing.T) netip.Addr {
	t.Helper()
	a := netip.MustParseAddr("127.0.0.2")
	ln, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Skip("the machine has one loopback address only: ", err)
	}
	_ = ln.Close()
	return a
}

// ends are the two addresses of a connection. One alone is used again.
type ends struct{ from, to string }

// proxied holds the ends of what proxies have opened.
var proxied sync.Map

// connectProxy is a proxy that knows CONNECT.
func connectProxy(t *testing.T) *url.URL {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { proxyOne(nc) })
		}
	})
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

func proxyOne(nc net.Conn) {
	defer nc.Close()
	req, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return
	}
	up, err := net.Dial("tcp", req.Host)
	if err != nil {
		return
	}
	defer up.Close()
	proxied.Store(ends{up.LocalAddr().String(), up.RemoteAddr().String()}, true)
	_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(up, nc); _ = up.Close() })
	_, _ = io.Copy(nc, up)
	_ = nc.Close()
	wg.Wait()
}
