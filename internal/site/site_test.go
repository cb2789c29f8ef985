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
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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

// TestAsBrowsers has addresses that are written in other ways than browsers have them.
func TestAsBrowsers(t *testing.T) {
	for written, want := range map[string]string{
		"https://mail.example.com:443/console":       "https://mail.example.com/console",
		"https://Mail.Example.COM/Console":           "https://mail.example.com/Console",
		"https://mail.example.com:8443/console":      "https://mail.example.com:8443/console",
		"https://münchen.example/console":            "https://xn--mnchen-3ya.example/console",
		"https://xn--mnchen-3ya.example/console":     "https://xn--mnchen-3ya.example/console",
		"https://[2001:DB8:0:0:0:0:0:1]:443/console": "https://[2001:db8::1]/console",
		"https://[2001:db8::1]:8443/console":         "https://[2001:db8::1]:8443/console",
		"http://localhost:80/console":                "http://localhost/console",
		"http://[0:0:0:0:0:0:0:1]:8025":              "http://[::1]:8025",
	} {
		text, u, err := Address(written, "")
		if err != nil || text != want {
			t.Errorf("%s is %s, %v, want %s", written, text, err, want)
			continue
		}
		r := httptest.NewRequest(http.MethodPost, "/console", http.NoBody)
		r.RemoteAddr, r.TLS = "192.0.2.1:1", new(tls.ConnectionState)
		if u.Scheme == "http" {
			r.RemoteAddr = "127.0.0.1:1"
		}
		r.Host = u.Host
		r.Header.Set("Origin", u.Scheme+"://"+u.Host)
		if _, err := Admit(r, u); err != nil || ForeignOrigin(r, u) {
			t.Errorf("%s: its own browser is refused: %v, %v", written, err, ForeignOrigin(r, u))
		}
		if u.Port() == "" {
			r.Host += ":" + map[string]string{"https": "443", "http": "80"}[u.Scheme]
			if _, err := Admit(r, u); err != nil {
				t.Errorf("%s: a client that says the scheme's own port: %v", written, err)
			}
		}
		for _, host := range []string{u.Hostname() + ".", "x" + u.Host, u.Host + ":1", u.Host + "0", "user@" + u.Host, u.Host + "/"} {
			if r.Host = host; u.Port() == "" || host != u.Host {
				if _, err := Admit(r, u); err == nil && host != u.Host {
					t.Errorf("%s: the host %s is let in", written, host)
				}
			}
		}
	}
}

// TestTrustedProxy ends TLS at a proxy, which the server trusts or does not.
func TestTrustedProxy(t *testing.T) {
	_, pages, err := Address("https://mail.example.com/console", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		trusted     bool
		host, proto string
		forwarded   []string
		want        int
	}{
		"trusted, keeps the host":            {true, "mail.example.com", "https", nil, http.StatusOK},
		"trusted, says the host":             {true, "10.0.0.5:8080", "https", []string{"mail.example.com"}, http.StatusOK},
		"trusted, says the host with a port": {true, "10.0.0.5:8080", "https", []string{"mail.example.com:443"}, http.StatusOK},
		"trusted, says another host":         {true, "mail.example.com", "https", []string{"evil.example"}, http.StatusMisdirectedRequest},
		"trusted, says two hosts":            {true, "10.0.0.5:8080", "https", []string{"mail.example.com", "evil.example"}, http.StatusMisdirectedRequest},
		"trusted, says hosts in a list":      {true, "10.0.0.5:8080", "https", []string{"mail.example.com, evil.example"}, http.StatusMisdirectedRequest},
		"trusted, in the clear":              {true, "mail.example.com", "http", nil, http.StatusForbidden},
		"trusted, says nothing of TLS":       {true, "mail.example.com", "", nil, http.StatusForbidden},
		"not trusted":                        {false, "mail.example.com", "https", nil, http.StatusForbidden},
		"not trusted, says the host":         {false, "evil.example", "https", []string{"mail.example.com"}, http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodGet, "/console", http.NoBody)
		r.RemoteAddr, r.Host, r.TLS = "10.0.0.1:1234", tc.host, nil
		r.Header.Set("X-Forwarded-Proto", tc.proto)
		for _, h := range tc.forwarded {
			r.Header.Add("X-Forwarded-Host", h)
		}
		vars := map[string]any{caddyhttp.TrustedProxyVarKey: tc.trusted, caddyhttp.ClientIPVarKey: "192.0.2.7"}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
		if status, err := Admit(r, pages); status != tc.want {
			t.Errorf("%s: %d, %v, want %d", name, status, err, tc.want)
		}
		if Client(r) != "192.0.2.7" || Peer(r) != "10.0.0.1" {
			t.Errorf("%s: client %s, peer %s", name, Client(r), Peer(r))
		}
	}
}
