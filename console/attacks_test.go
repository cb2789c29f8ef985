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

package console_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestForms sends one form in every way that is not the page's own; the account must not
// be paused by any.
func TestForms(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com").as(t, "op@example.com")
	c.AddAccount(t, "a@example.com")
	const pause = "/console/accounts/a@example.com/pause"
	form := c.get(t, "/console/accounts/a@example.com").fill(nil)
	var parts bytes.Buffer
	mw := multipart.NewWriter(&parts)
	for k := range form {
		if err := mw.WriteField(k, form.Get(k)); err != nil {
			t.Fatal(err)
		}
	}
	_ = mw.Close()
	body := func(contentType, text string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Content-Type", contentType)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		}
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, edit := range map[string]func(*http.Request){
		"as text":        body("text/plain", form.Encode()),
		"as JSON":        body("application/json", `{"csrf":"`+form.Get("csrf")+`"}`),
		"in parts":       body(mw.FormDataContentType(), parts.String()),
		"without a type": body("", form.Encode()),
		"in the address": func(r *http.Request) {
			r.URL.RawQuery = form.Encode()
			body("application/x-www-form-urlencoded", "")(r)
		},
		"the token behind another":       body("application/x-www-form-urlencoded", "csrf=x&"+form.Encode()),
		"an empty token before":          body("application/x-www-form-urlencoded", "csrf=&"+form.Encode()),
		"the token as a list":            body("application/x-www-form-urlencoded", "csrf[]="+form.Get("csrf")),
		"the token in other letters":     body("application/x-www-form-urlencoded", "CSRF="+form.Get("csrf")),
		"of a sibling":                   header("Sec-Fetch-Site", "same-site"),
		"of no origin":                   header("Origin", "null"),
		"of the same host, another port": header("Origin", "http://127.0.0.1:1"),
		"of the same host, in https":     header("Origin", strings.Replace(c.base, "http:", "https:", 1)),
		"of another origin, as our own":  func(r *http.Request) { header("Origin", "https://evil.example")(r); sameOrigin(r) },
		"as PUT":                         func(r *http.Request) { r.Method = http.MethodPut },
		"as PATCH":                       func(r *http.Request) { r.Method = http.MethodPatch },
		"as DELETE":                      func(r *http.Request) { r.Method = http.MethodDelete },
		"as GET that says POST":          func(r *http.Request) { r.Method = http.MethodGet; header("X-HTTP-Method-Override", "POST")(r) },
		"as HEAD":                        func(r *http.Request) { r.Method = http.MethodHead },
		"in other letters":               func(r *http.Request) { r.Method = "post" },
		"to the path with more slashes":  func(r *http.Request) { r.URL.Path = "/console//accounts/a@example.com/pause" },
		"to the path with dots":          func(r *http.Request) { r.URL.Path = "/console/x/../accounts/a@example.com/pause" },
		"to the path in other letters":   func(r *http.Request) { r.URL.Path = "/CONSOLE/accounts/a@example.com/pause" },
		"without the session":            func(r *http.Request) { c.browser.Jar = nil },
	} {
		jar := c.browser.Jar
		edited := func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(form.Encode())), int64(len(form.Encode()))
			edit(r)
		}
		p := c.do(t, http.MethodPost, pause, form, edited)
		c.browser.Jar = jar
		if p.status < 400 && p.address == "/console/accounts/a@example.com" {
			t.Errorf("%s: %d", name, p.status)
		}
		if got := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)["paused"]; got == true {
			t.Fatalf("%s has paused the account", name)
		}
	}
	if p := c.do(t, http.MethodPost, pause, form); p.status != http.StatusOK {
		t.Errorf("the page's own: %d", p.status)
	}
}

// TestHugeForms has forms that are too long, have too many fields, or do not end.
func TestHugeForms(t *testing.T) {
	c := newConsole(t, "")
	form := c.get(t, "/console/accounts/new").fill(nil)
	for name, text := range map[string]string{
		"a long field":    form.Encode() + "&name=" + strings.Repeat("a", 1<<20),
		"many fields":     form.Encode() + strings.Repeat("&a=", 30_000),
		"broken escapes":  form.Encode() + "&name=%zz",
		"a broken number": "number=%00%ff&" + form.Encode(),
	} {
		p := c.do(t, http.MethodPost, "/console/accounts", nil, func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		})
		if p.status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, p.status)
		}
	}
	// A body that does not come holds no page up.
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /console/accounts HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ncsrf=", strings.TrimPrefix(c.base, "http://"))
	c.get(t, "/console/accounts/new")
}

// TestThroughProxy has a proxy on the machine itself let the world in to a console without
// a login.
func TestThroughProxy(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	for name, value := range map[string]string{
		"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "mail.example.com", "Forwarded": "for=192.0.2.1", "X-Real-IP": "192.0.2.1", "Via": "1.1 proxy", "X-Forwarded-Proto": "https",
	} {
		p := c.do(t, http.MethodGet, "/console/accounts", nil, func(r *http.Request) { r.Header.Set(name, value) })
		if p.status != http.StatusForbidden || strings.Contains(p.body, "a@example.com") {
			t.Errorf("%s: %d\n%s", name, p.status, p.body)
		}
	}
	c.get(t, "/console/accounts", "a@example.com")
}

// TestSignedOut has a copy of a session's cookie used after its user has signed out, and
// before a reload and behind it.
func TestSignedOut(t *testing.T) {
	c := newLoginConsole(t)
	c.signIn(t, "op@example.com")
	site, err := url.Parse(c.base)
	if err != nil {
		t.Fatal(err)
	}
	thief := c.as(t, "")
	thief.browser.Jar.SetCookies(site, c.browser.Jar.Cookies(site))
	form := thief.get(t, "/console/accounts/new").fill(nil)
	if p := c.do(t, http.MethodPost, "/console/logout", c.get(t, "/console/").fill(nil)); p.address != "/console/login" {
		t.Fatalf("signed out to %s", p.address)
	}
	kept := thief.browser.Jar.Cookies(site)
	for range 2 {
		thief = c.as(t, "")
		thief.browser.Jar.SetCookies(site, kept)
		if p := thief.do(t, http.MethodGet, "/console/accounts", nil); p.address != "/console/login" {
			t.Errorf("a copy of the session is at %s", p.address)
		}
		thief = c.as(t, "")
		thief.browser.Jar.SetCookies(site, kept)
		if p := thief.do(t, http.MethodPost, "/console/accounts", form, sameOrigin); p.status != http.StatusUnauthorized || strings.Contains(p.body, "kept on this page") {
			t.Errorf("a copy of the session changes something: %d", p.status)
		}
		c.Load(t, c.more...)
		c.browser.CloseIdleConnections()
	}
	// Signing in again is another session.
	c.signIn(t, "op@example.com")
	c.get(t, "/console/accounts", "Accounts")
}

// TestRoleChange takes operators off the lists while they are logged in.
func TestRoleChange(t *testing.T) {
	c := newLoginConsole(t)
	c.AddAccount(t, "a@example.com")
	c.signIn(t, "op@example.com")
	form := c.get(t, "/console/accounts/a@example.com").fill(nil)
	for _, step := range []struct {
		lists     string
		get, post int
	}{
		{"operators other@example.com\nviewers op@example.com", http.StatusOK, http.StatusForbidden},
		{"operators other@example.com", http.StatusForbidden, http.StatusForbidden},
		{"operators group:admins", http.StatusForbidden, http.StatusForbidden},
		{"operators OP@EXAMPLE.COM", http.StatusOK, http.StatusOK},
	} {
		part := strings.Replace(c.more[1], "operators op@example.com\n\t\tviewers @view.example.com", step.lists, 1)
		if part == c.more[1] {
			t.Fatal("the lists are not there")
		}
		c.Load(t, c.more[0], part)
		c.browser.CloseIdleConnections()
		if p := c.do(t, http.MethodGet, "/console/accounts", nil); p.status != step.get {
			t.Errorf("%s: looks: %d", step.lists, p.status)
		}
		if p := c.do(t, http.MethodPost, "/console/accounts/a@example.com/pause", form); p.status != step.post {
			t.Errorf("%s: changes: %d", step.lists, p.status)
		}
	}
}

// TestHostileProvider logs in users whose provider calls them what it likes.
func TestHostileProvider(t *testing.T) {
	c := newLoginConsole(t)
	for _, name := range []string{
		hostile, "op@example.com\r\nSet-Cookie: x=y", "op@example.com ", "\x00op@example.com", "op@example.com@evil.example", "evil@x@view.example.com",
		"@view.example.com", "*", "group:admins", "<script>alert(1)</script>", strings.Repeat("a", 100_000) + "@view.example.com", "ｏp@example.com", "",
	} {
		b := c.as(t, "")
		b.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: name})
		if name == "" {
			b.Sandbox.AnswerConsents(sandbox.ConsentAnswer{NoIDToken: true})
		}
		p := b.do(t, http.MethodGet, "/console/login/start", nil)
		if p.status == http.StatusOK && p.address != "/console/login" {
			t.Errorf("%.60q is in, at %s", name, p.address)
		}
		if p := b.do(t, http.MethodGet, "/console/changes", nil); p.status == http.StatusOK && p.address != "/console/login" {
			t.Errorf("%.60q reads the changes", name)
		}
	}
	for _, next := range []string{"//evil.example/", "https://evil.example/", "/\\evil.example", "\\\\evil.example", "@evil.example", ".evil.example", "/%0d%0aSet-Cookie:x=y", "/\r\nSet-Cookie: x=y", "javascript:alert(1)"} {
		b := c.as(t, "")
		host := strings.TrimPrefix(c.base, "http://")
		b.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "op@example.com"})
		b.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Host != host && !strings.HasPrefix(c.Sandbox.HTTPURL(), r.URL.Scheme+"://"+r.URL.Host) {
				t.Errorf("next=%q leads to %s", next, r.URL)
				return http.ErrUseLastResponse
			}
			return nil
		}
		b.do(t, http.MethodGet, "/console/login/start?next="+url.QueryEscape(next), nil)
		b.browser.CheckRedirect = nil
		b.get(t, "/console/", "op@example.com")
	}
}

// TestPlantedSession plants a session in a browser before its user logs in: who planted it
// knows nothing of what comes behind the login.
func TestPlantedSession(t *testing.T) {
	c := newLoginConsole(t)
	site, err := url.Parse(c.base)
	if err != nil {
		t.Fatal(err)
	}
	attacker, victim := c.as(t, ""), c.as(t, "")
	attacker.signIn(t, "x@view.example.com")
	known := attacker.browser.Jar.Cookies(site)
	token := attacker.get(t, "/console/").fill(nil).Get("csrf")
	victim.browser.Jar.SetCookies(site, known)
	victim.signIn(t, "op@example.com")
	if got := victim.get(t, "/console/accounts/new").fill(nil).Get("csrf"); got == token || got == "" {
		t.Error("the token is the one that was planted")
	}
	if p := attacker.get(t, "/console/"); strings.Contains(p.body, "op@example.com") {
		t.Error("the planted session is the operator's now")
	}
	attacker.browser.Jar.SetCookies(site, known)
	if p := attacker.get(t, "/console/"); strings.Contains(p.body, "op@example.com") {
		t.Error("the cookie that was planted is the operator's now")
	}
}

// TestPaths asks for what lies elsewhere.
func TestPaths(t *testing.T) {
	c := newConsole(t, "")
	for _, path := range []string{
		"/console/../../etc/passwd", "/console/..%2f..%2fetc%2fpasswd", "/console/%2e%2e/storage", "/console/pages/frame.html", "/console/frame.html", "/console/htmx.min.js/..", "/console/htmx.min.js%00",
		"/console/accounts/..%2f..%2fx", "/console/accounts/%00", "/console/accounts/" + strings.Repeat("a", 5000), "/console/trials/..%2fx", "/console/invitations/many/..%2f..%2fcookie.key",
		"/console/invitations/mailings/%2e%2e", "/console/messages?after=..%2f..%2f", "/console/messages?after=%00", "/console/accounts?after=%ff%fe", "/console/devices?after=" + strings.Repeat("z", 5000),
		"/console/invitations?after=..%2f", "/console/changes?after=-1", "/console/changes?q=" + strings.Repeat("x", 5000), "/console/accounts?q=" + url.QueryEscape(hostile) + "&q=a&state=x&state=y",
		"/console/setup?step=" + url.QueryEscape(hostile), "/console/accounts/a/card?device=" + url.QueryEscape(hostile),
	} {
		// The client would clean the path: it goes as it stands.
		r, err := http.NewRequest(http.MethodGet, c.base, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = path
		resp, err := c.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode >= 500 || strings.Contains(string(text), "<script>alert") || strings.Contains(string(text), "root:") || strings.Contains(string(text), "{{") {
			t.Errorf("%.80s: %d\n%.2000s", path, resp.StatusCode, text)
		}
	}
}

// TestHostVariants asks under other names for the same address, as pages of strangers do
// whose name leads here (DNS rebinding).
func TestHostVariants(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	host := strings.TrimPrefix(c.base, "http://")
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		host + ".", "127.0.0.1.:" + port, "127.0.0.1", "localhost:" + port, "[::1]:" + port, "[::ffff:127.0.0.1]:" + port, "127.1:" + port, "2130706433:" + port,
		"0x7f.1:" + port, "evil.example:" + port, "127.0.0.1.nip.io:" + port, "evil.example", host + "@evil.example", "user@" + host, host + ",evil.example",
	} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /console/accounts HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Host: %s\r\nConnection: close\r\n\r\n", name, host)
		answer, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(answer), "a@example.com") || strings.Contains(string(answer), "Set-Cookie") {
			t.Errorf("%s is answered:\n%s", name, answer)
		}
	}
}

// TestZoneCookie has the one cookie that is not sealed say what it likes.
func TestZoneCookie(t *testing.T) {
	c := newConsole(t, "")
	for _, value := range []string{hostile, "../../../../etc/passwd", strings.Repeat("a", 3000), "Local", "%00", "Europe/Berlin;x"} {
		p := c.do(t, http.MethodGet, "/console/", nil, func(r *http.Request) { r.Header.Add("Cookie", "smtp-console-zone="+value) })
		if p.status != http.StatusOK || !strings.Contains(p.body, "What needs someone") || strings.Contains(p.body, "root:") {
			t.Errorf("%.40q: %d", value, p.status)
		}
	}
	p := c.do(t, http.MethodGet, "/console/", nil, func(r *http.Request) { r.Header.Add("Cookie", "smtp-console-zone=Asia/Kathmandu") })
	p.want(t, "Hours and days are those of Asia/Kathmandu")
}
