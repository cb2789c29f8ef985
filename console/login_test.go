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
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
)

// newLoginConsole is a console whose users log in at the sandbox.
func newLoginConsole(t *testing.T) *console {
	t.Helper()
	g := gatewaytest.New(t)
	c := &console{Gateway: g, base: "http://" + gatewaytest.FreeAddress(t)}
	c.more = []string{fmt.Sprintf(`
	oauth_tokens {
		provider staff generic {
			token_url %[1]s/token
			auth_url %[1]s/authorize
			client_id sandbox
			client_secret sandbox-secret
			scopes smtp
		}
	}
	`, g.Sandbox.HTTPURL()), fmt.Sprintf(`}
%[1]s {
	bind 127.0.0.1
	smtp_console {
		url %[1]s/console
		login staff
		operators op@example.com
		viewers @view.example.com
	}
	respond 404
`, c.base)}
	g.Load(t, c.more...)
	return c.as(t, "")
}

func (c *console) signIn(t *testing.T, mailbox string) page {
	t.Helper()
	c.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: mailbox})
	return c.do(t, http.MethodGet, "/console/login/start?next=%2Faccounts", nil)
}

func TestLogin(t *testing.T) {
	c := newLoginConsole(t)
	c.AddAccount(t, "a@example.com")
	first := c.do(t, http.MethodGet, "/console/accounts/a@example.com", nil)
	if first.address != "/console/login" || strings.Contains(first.body, "a@example.com</h1>") {
		t.Fatalf("who is not logged in is at %s\n%s", first.address, first.body)
	}
	next := regexp.MustCompile(`/login/start\?next=([^"]*)"`).FindStringSubmatch(first.body)
	if next == nil || !strings.Contains(next[1], "a%40example.com") && !strings.Contains(next[1], "a@example.com") && !strings.Contains(next[1], "a%2540example.com") {
		t.Errorf("the page that was asked for is forgotten: %v", next)
	}
	for _, who := range []struct {
		name   string
		status int
		viewer bool
	}{{"op@example.com", 200, false}, {"OP@example.com", 200, false}, {"x@view.example.com", 200, true}, {"x@notview.example.com", 403, false}, {"op@example.com.evil.example", 403, false}} {
		b := c.as(t, "")
		p := b.signIn(t, who.name)
		if p.status != who.status {
			t.Errorf("%s: %d %s", who.name, p.status, p.body)
			continue
		}
		if p.status != http.StatusOK {
			if q := b.do(t, http.MethodGet, "/console/", nil); q.address != "/console/login" {
				t.Errorf("%s is refused, and in: %s", who.name, q.address)
			}
			continue
		}
		if p.address != "/console/accounts" || strings.Contains(p.body, "(viewer)") != who.viewer {
			t.Errorf("%s is at %s\n%s", who.name, p.address, p.body)
		}
		form := b.get(t, "/console/accounts/a@example.com").fill(nil)
		pause := b.do(t, http.MethodPost, "/console/accounts/a@example.com/pause", form)
		if (pause.status == http.StatusOK) == who.viewer {
			t.Errorf("%s pauses an account: %d", who.name, pause.status)
		}
		if p := b.do(t, http.MethodPost, "/console/logout", form); p.address != "/console/login" {
			t.Errorf("%s signs out: %d %s", who.name, p.status, p.address)
		}
		if p := b.do(t, http.MethodGet, "/console/", nil); p.address != "/console/login" {
			t.Errorf("%s has signed out, and is in", who.name)
		}
		// A form of a session that has ended changes nothing, and says so.
		if p := b.do(t, http.MethodPost, "/console/accounts/a@example.com/resume", form); p.status != http.StatusUnauthorized {
			t.Errorf("a form after the session: %d", p.status)
		}
	}
}

// TestLoginBelongsToOneBrowser holds that the provider's answer does not log another
// browser in, nor the same one twice.
func TestLoginBelongsToOneBrowser(t *testing.T) {
	c := newLoginConsole(t)
	c.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "op@example.com"})
	var answer string
	c.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/login/callback") {
			answer = r.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}
	c.do(t, http.MethodGet, "/console/login/start?next="+url.QueryEscape("//evil.example/"), nil)
	if answer == "" {
		t.Fatal("the provider did not answer")
	}
	other := c.as(t, "")
	if p := other.do(t, http.MethodGet, answer, nil); p.status != http.StatusBadRequest {
		t.Errorf("another browser: %d", p.status)
	}
	c.browser.CheckRedirect = nil
	if p := c.do(t, http.MethodGet, answer, nil); !strings.HasPrefix(p.address, "/console/") {
		t.Errorf("the browser was sent to %s", p.address)
	}
	c.get(t, "/console/", "op@example.com")
	if p := c.do(t, http.MethodGet, answer, nil); p.status != http.StatusBadRequest {
		t.Errorf("the answer again: %d", p.status)
	}
	c.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "op@example.com", NoIDToken: true})
	if p := other.do(t, http.MethodGet, "/console/login/start", nil); p.status != http.StatusForbidden {
		t.Errorf("without an ID token: %d", p.status)
	}
}

// TestLoginsInTwoWindows begins logins in two windows of one browser, and finishes both. Many
// that are begun do not fill it with cookies.
func TestLoginsInTwoWindows(t *testing.T) {
	c := newLoginConsole(t)
	begin := func() (provider string) {
		t.Helper()
		c.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			provider = r.URL.String()
			return http.ErrUseLastResponse
		}
		defer func() { c.browser.CheckRedirect = nil }()
		c.do(t, http.MethodGet, "/console/login/start?next=%2Faccounts", nil)
		return provider
	}
	first, second := begin(), begin()
	for _, address := range []string{first, second} {
		c.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "op@example.com"})
		resp, err := c.browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.Request.URL.Path != "/console/accounts" || resp.StatusCode != http.StatusOK {
			t.Errorf("a window is at %s: %s", resp.Request.URL, resp.Status)
		}
	}
	for range 30 {
		begin()
	}
	site, err := url.Parse(c.base)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.browser.Jar.Cookies(site)); n > 6 {
		t.Errorf("%d cookies", n)
	}
	c.get(t, "/console/accounts", "Accounts")
}
