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

package site

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAddress(t *testing.T) {
	for configured, want := range map[string]string{
		"":                                "must be set",
		"https://mail.example.com/pages/": "",
		"http://localhost:8080/pages":     "",
		"http://[::1]/pages":              "",
		"http://mail.example.com/pages":   "must be https",
		"ftp://localhost/pages":           "must be https",
		"//mail.example.com":              "must be https",
		"pages":                           "is no URL",
		"https://u:p@mail.example.com":    "is no URL",
		"https://mail.example.com/?x=1":   "is no URL",
		"https://mail.example.com/#x":     "is no URL",
	} {
		text, u, err := Address(configured, "https://mail.example.com/pages")
		switch {
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "url: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", configured, err, want)
		case want == "" && (err != nil || u.Host == "" || text != strings.TrimSuffix(configured, "/")):
			t.Errorf("%s: %s, %v", configured, text, err)
		}
	}
}

func TestAdmit(t *testing.T) {
	_, pages, err := Address("https://mail.example.com/pages", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		from, host string
		tls        bool
		want       int
	}{
		{"192.0.2.1:1234", "mail.example.com", true, http.StatusOK},
		{"192.0.2.1:1234", "MAIL.example.com", true, http.StatusOK},
		{"127.0.0.1:1234", "mail.example.com", false, http.StatusOK},
		{"[::1]:1234", "mail.example.com", false, http.StatusOK},
		{"192.0.2.1:1234", "mail.example.com", false, http.StatusForbidden},
		{"192.0.2.1:1234", "rebound.example.net", true, http.StatusMisdirectedRequest},
		{"127.0.0.1:1234", "rebound.example.net", false, http.StatusMisdirectedRequest},
	} {
		r := httptest.NewRequest(http.MethodGet, "/pages", http.NoBody)
		r.RemoteAddr, r.Host, r.TLS = tc.from, tc.host, nil
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if tc.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if status, err := Admit(r, pages); status != tc.want || (err == nil) != (tc.want == http.StatusOK) {
			t.Errorf("%+v: %d, %v", tc, status, err)
		}
	}
}

func TestForwarded(t *testing.T) {
	pages, err := url.Parse("https://mail.example.com/console")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		header, value      string
		forwarded, foreign bool
	}{
		"nothing":               {"Accept", "x", false, false},
		"a proxy":               {"X-Forwarded-For", "192.0.2.1", true, false},
		"a proxy by RFC 7239":   {"Forwarded", "for=192.0.2.1", true, false},
		"our own page":          {"Origin", "https://mail.example.com", false, false},
		"in other letters":      {"Origin", "HTTPS://MAIL.example.com", false, false},
		"in the clear":          {"Origin", "http://mail.example.com", false, true},
		"another port":          {"Origin", "https://mail.example.com:8443", false, true},
		"a page of no origin":   {"Origin", "null", false, true},
		"a name that is longer": {"Origin", "https://mail.example.com.evil.example", false, true},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://mail.example.com/console", nil)
		r.Header.Set(c.header, c.value)
		if Forwarded(r) != c.forwarded || ForeignOrigin(r, pages) != c.foreign {
			t.Errorf("%s: forwarded %v, foreign %v", name, Forwarded(r), ForeignOrigin(r, pages))
		}
	}
}

// TestSlowForm has a body that does not come, one that does, and work behind it that takes
// longer than the body might have.
func TestSlowForm(t *testing.T) {
	const patience = 50 * time.Millisecond
	parsed, end := make(chan error, 1), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := parseForm(w, r, 100, patience)
		parsed <- err
		if err == nil {
			select {
			case <-r.Context().Done():
				t.Error("the request ends by the body's deadline")
			case <-end:
			}
		}
	}))
	defer srv.Close()
	dial := func(body string) net.Conn {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4\r\n\r\n%s", body)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	dial("a=")
	if err := <-parsed; err == nil {
		t.Error("half a body is taken")
	}
	conn := dial("a=bc")
	if err := <-parsed; err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(3*patience, func() { close(end) }) // time that passes is what is tested
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%+v, %v", resp, err)
	}
	if resp != nil {
		_ = resp.Body.Close()
	}
}
