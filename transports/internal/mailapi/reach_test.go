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
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// lines are what a log says, each with its fields.
func lines(logs *observer.ObservedLogs) (all []string) {
	for _, e := range logs.All() {
		enc := zapcore.NewMapObjectEncoder()
		for _, f := range e.Context {
			f.AddTo(enc)
		}
		all = append(all, fmt.Sprintf("%s %v", e.Message, enc.Fields))
	}
	return all
}

// TestIntercepted: a device opens TLS on the way, with an authority that is not
// trusted. Nothing leaves, no token, and the log and who asks whether the provider is
// reached hear whose certificate it was; of many messages one line.
func TestIntercepted(t *testing.T) {
	device := testpki.NewAuthority("Example Inspection CA")
	cert := device.Issue(testpki.Leaf{Names: []string{"127.0.0.1"}})
	w := newWire(t, func(w *wire, c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		w.request(bufio.NewReader(s), -1)
	})
	at := strings.Replace(w.url, "http:", "https:", 1)
	u := posting(t, at, false, 30*time.Second, testpki.NewAuthority("Example Root").Pool())
	core, logs := observer.New(zapcore.DebugLevel)
	u.Logger, u.Endpoint = zap.New(core), at
	for i := range 5 {
		if got := post(t, u, fmt.Sprintf("box%d@example.com", i), "hello"); !strings.HasPrefix(got, "451 4.4.1") {
			t.Errorf("message %d: %s", i, got)
		}
	}
	want := []string{"certificate signed by unknown authority", "the certificate is by 'Example Inspection CA'", w.Addr().String()}
	said := lines(logs)
	_, err := u.Reach(t.Context())
	if err == nil || len(said) != 1 {
		t.Fatalf("%v; %q", err, said)
	}
	for _, words := range want {
		if !strings.Contains(said[0], words) || !strings.Contains(err.Error(), words) {
			t.Errorf("no %q in the log's %q or in %q", words, said[0], err)
		}
	}
	if heads, _ := w.counts("hello"); heads != 0 {
		t.Errorf("%d requests", heads)
	}
}

// TestReach holds that any answer will do, that the question carries no token and
// goes nowhere else, and that it says whose certificate it was.
func TestReach(t *testing.T) {
	for _, status := range []string{"404 Not Found", "302 Found\r\nLocation: https://127.0.0.1:1/", "405 Method Not Allowed"} {
		authority := testpki.NewAuthority("Example Root")
		cert := authority.Issue(testpki.Leaf{Names: []string{"127.0.0.1"}})
		asked := make(chan *http.Request, 10)
		w := newWire(t, func(_ *wire, c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
			br := bufio.NewReader(s)
			for {
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				asked <- r
				_, _ = io.WriteString(s, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			}
		})
		at := strings.Replace(w.url, "http:", "https:", 1)
		u := posting(t, at, false, 30*time.Second, authority.Pool())
		u.Endpoint, u.Also = at, []string{at + "userinfo"}
		said, err := u.Reach(t.Context())
		if err != nil || strings.Count(said, "HTTP "+status[:3]) != 2 || !strings.Contains(said, "certificate by 'Example Root'") {
			t.Errorf("%s: %q, %v", status, said, err)
		}
		for range 2 {
			if r := <-asked; r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
				t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
			}
		}
	}
}

// TestRefusedByProxy holds that the log says what a proxy refused.
func TestRefusedByProxy(t *testing.T) {
	for said, want := range map[string]string{
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n":                                                               "the proxy answers HTTP 403 to CONNECT",
		"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=secret\r\nContent-Length: 0\r\n\r\n": "the proxy answers HTTP 407 to CONNECT",
		"HTTP/1.1 200 OK\r\n\r\n": "server gave HTTP response to HTTPS client",
	} {
		p := newWire(t, func(_ *wire, c net.Conn) {
			br := bufio.NewReader(c)
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, said)
			if _, err := br.ReadByte(); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n<html>")
				_, _ = io.Copy(io.Discard, br)
			}
		})
		u := posting(t, "https://graph.invalid/", false, 30*time.Second, nil)
		core, logs := observer.New(zapcore.DebugLevel)
		u.Logger = zap.New(core)
		via, err := url.Parse(p.url)
		if err != nil {
			t.Fatal(err)
		}
		via.User = url.UserPassword("proxyuser", "proxypassword")
		u.http.Transport.(*http.Transport).Proxy = http.ProxyURL(via) //nolint:forcetypeassert // newHTTP's
		got := post(t, u, "box@example.com", "hello")
		told := strings.Join(lines(logs), "\n")
		if !strings.HasPrefix(got, "451 4.4.1") || !strings.Contains(told, want) || strings.Contains(told, "proxypassword") {
			t.Errorf("%.20q: %s; the log says %q, want %q", said, got, told, want)
		}
	}
}

// TestComplaints holds that an outage is told once a minute, and another one at once.
func TestComplaints(t *testing.T) {
	var c complaints
	for text, want := range map[string]bool{"read tcp 127.0.0.1:1->127.0.0.1:2: reset": true, "no such host": true} {
		for i := range 3 {
			if got := c.due(strings.ReplaceAll(text, "127", fmt.Sprint(127+i))); got != (want && i == 0) {
				t.Errorf("%s, time %d: %t", text, i, got)
			}
		}
	}
	for i := range 1000 {
		c.due(strings.Repeat("x", i))
	}
	if len(c.said) > 64 {
		t.Errorf("%d are remembered", len(c.said))
	}
}
