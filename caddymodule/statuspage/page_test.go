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

package statuspage

import (
	"bytes"
	"context"
	"crypto/tls"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

func newStatusPage(t *testing.T) *Page {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	s := new(Page)
	if err := s.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatusPageAccess(t *testing.T) {
	s := newStatusPage(t)
	for _, tc := range []struct {
		name, remote, target, method string
		host                         string
		tls                          bool
		code                         int
		contentType                  string
	}{
		{"loopback", "127.0.0.1:1", "/?file=status.css", "GET", "127.0.0.1:9180", false, 200, "text/css; charset=utf-8"},
		{"IPv6 loopback", "[::1]:1", "/any/path", "GET", "127.0.0.1:9180", false, 200, "text/html; charset=utf-8"},
		{"elsewhere without TLS", "192.0.2.1:1", "/", "GET", "127.0.0.1:9180", false, 403, ""},
		{"elsewhere with TLS", "192.0.2.1:1", "/", "GET", "127.0.0.1:9180", true, 200, "text/html; charset=utf-8"},
		{"no address", "@", "/", "GET", "127.0.0.1:9180", false, 403, ""},
		{"a foreign name for our address", "127.0.0.1:1", "/?json", "GET", "rebound.example:9180", false, 403, ""},
		{"a name like an address", "127.0.0.1:1", "/?json", "GET", "127.0.0.1.rebound.example", false, 403, ""},
		{"no host", "127.0.0.1:1", "/?json", "GET", "", false, 403, ""},
		{"localhost", "127.0.0.1:1", "/?json", "GET", "LOCALHOST:9180", false, 200, "application/json"},
		{"IPv6 address as host", "[::1]:1", "/?json", "GET", "[::1]:9180", false, 200, "application/json"},
		{"a name with TLS", "192.0.2.1:1", "/?json", "GET", "status.example.com", true, 200, "application/json"},
		{"HEAD", "127.0.0.1:1", "/", "HEAD", "127.0.0.1:9180", false, 200, "text/html; charset=utf-8"},
		{"POST", "127.0.0.1:1", "/", "POST", "127.0.0.1:9180", false, 405, ""},
		{"another file", "127.0.0.1:1", "/?file=../status.go", "GET", "127.0.0.1:9180", false, 404, ""},
		{"JSON", "127.0.0.1:1", "/?json", "GET", "127.0.0.1:9180", false, 200, "application/json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.target, nil)
			r.RemoteAddr, r.Host = tc.remote, tc.host
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			if tc.tls {
				r.TLS = new(tls.ConnectionState)
			}
			w := httptest.NewRecorder()
			code := 200
			if err := s.ServeHTTP(w, r, nil); err != nil {
				he, ok := err.(caddyhttp.HandlerError) //nolint:errorlint // what the handler returns
				if !ok {
					t.Fatal(err)
				}
				code = he.StatusCode
			}
			if code != tc.code {
				t.Fatalf("status %d, want %d", code, tc.code)
			}
			if code != http.StatusOK {
				return
			}
			if got := w.Header().Get("Content-Type"); got != tc.contentType {
				t.Errorf("content type %q, want %q", got, tc.contentType)
			}
			if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
			if (w.Body.Len() == 0) != (tc.method == http.MethodHead) {
				t.Errorf("%d bytes for %s", w.Body.Len(), tc.method)
			}
		})
	}
}

// TestStatusPageEndsItsStreams: a shutdown waits for requests, and an open page
// must not hold it up.
func TestStatusPageEndsItsStreams(t *testing.T) {
	s := newStatusPage(t)
	r := httptest.NewRequest("GET", "/?events", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	w := httptest.NewRecorder()
	s.end() // what the server calls when it begins to shut down
	if err := s.ServeHTTP(w, r, nil); err != nil {
		t.Fatal(err)
	}
	if body := w.Body.String(); !strings.HasPrefix(body, "retry: ") || strings.Count(body, "data: {") != 1 || !strings.HasSuffix(body, "}\n\n") {
		t.Errorf("events %q, want how soon to come back, and one snapshot", body)
	}
	if err := s.Cleanup(); err != nil {
		t.Error(err)
	}
}

// TestStatusPageNamesNobody: without show_accounts neither an account's name
// nor a provider's words, which may hold one, are told.
func TestStatusPageNamesNobody(t *testing.T) {
	at := time.Now().Add(time.Minute)
	a := &accounts.Account{Record: accounts.Record{Name: "private@example.com", Upstream: "provider"}}
	st := upstreamapp.AccountStatus{LastError: "535 5.7.8 private@example.com may not", LoginsResume: &at}
	for _, names := range []bool{false, true} {
		f := &statusFeed{accounts: names}
		n, ok := f.refusedNotice(a, st)
		if !ok || n.State != "no_connection" || n.Remedy == "" || strings.Contains(n.Words, "private@") != names {
			t.Errorf("names %v: notice %+v", names, n)
		}
		if strings.Contains(n.Cause, "private@") {
			t.Errorf("names %v: cause %q", names, n.Cause)
		}
	}
	for _, told := range toldElsewhere {
		st.LastError = told
		if n, ok := new(statusFeed).refusedNotice(a, st); ok {
			t.Errorf("%q has a notice of its own: %+v", told, n)
		}
	}
	st.LastError, st.Connections.Idle = "432 4.3.2 too many", 1
	if n, _ := new(statusFeed).refusedNotice(a, st); n.State != "fewer_connections" {
		t.Errorf("with a connection: %+v", n)
	}
}

// TestStatusPageBans: a ban is told with what lifts it, and whom it concerns
// where names are.
func TestStatusPageBans(t *testing.T) {
	b := smtpapp.Ban{Server: "submission", Network: netip.MustParsePrefix("192.0.2.7/32"), Until: time.Now().Add(time.Minute), Failures: 5}
	n := (&statusFeed{accounts: true}).banNotice(b)
	if n.State != "banned" || n.Until.IsZero() || !strings.Contains(n.Cause, "192.0.2.7 ") || !strings.Contains(n.Remedy, "`caddy smtp ban lift 192.0.2.7`") {
		t.Errorf("%+v", n)
	}
	n = new(statusFeed).banNotice(b)
	if strings.Contains(n.Cause+n.Remedy+n.Account, "192.0.2") || !n.Until.IsZero() || !strings.Contains(n.Remedy, "ban lift") {
		t.Errorf("names nobody: %+v", n)
	}
	b.Network = netip.MustParsePrefix("2001:db8::/64")
	if n = (&statusFeed{accounts: true}).banNotice(b); !strings.Contains(n.Remedy, "ban lift 2001:db8::/64`") {
		t.Errorf("%+v", n)
	}
	for _, named := range []bool{true, false} {
		remedy := (&statusFeed{accounts: named}).forMailbox("caddy smtp login ACCOUNT", "a@example.com")
		if strings.Contains(remedy, "a@example.com") != named {
			t.Errorf("names %t: %q", named, remedy)
		}
	}
}

// TestStatusPageNeedsNothingFromElsewhere: no inline code, no other origin.
func TestStatusPageNeedsNothingFromElsewhere(t *testing.T) {
	for name := range statusTypes {
		b, err := statusFiles.ReadFile("status_page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		// A namespace is a name, not a place.
		b = bytes.ReplaceAll(b, []byte(`xmlns="http://www.w3.org/2000/svg"`), nil)
		for _, bad := range []string{"http://", "https://", "//cdn", "<style", " style=", "onclick", "innerHTML", "eval("} {
			if strings.Contains(string(b), bad) {
				t.Errorf("%s holds %q", name, bad)
			}
		}
	}
}

func TestStatusQuantile(t *testing.T) {
	before := map[float64]float64{.1: 10, .2: 10, math.Inf(1): 10}
	now := map[float64]float64{.1: 20, .2: 110, math.Inf(1): 110}
	if v, ok := quantile(now, before, .5); !ok || math.Abs(v-(.1+.1*40/90)) > 1e-9 {
		t.Errorf("p50 %v %v", v, ok)
	}
	if _, ok := quantile(before, before, .5); ok {
		t.Error("a quantile of nothing")
	}
	if v, _ := quantile(map[float64]float64{.1: 0, math.Inf(1): 5}, nil, .5); v != .1 {
		t.Errorf("beyond the last bound: %v, want the last bound", v)
	}
}

func TestPageInterval(t *testing.T) {
	s := &Page{Interval: 1}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := s.Provision(ctx); err == nil || !strings.Contains(err.Error(), "interval") {
		t.Errorf("a nanosecond as interval: %v", err)
	}
}
