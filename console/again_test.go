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
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/cookie"
)

// editSession changes what the browser's cookie holds, which only who has the storage's
// key can: time passes for the session.
func (c *console) editSession(t *testing.T, edit func(map[string]any)) {
	t.Helper()
	site, err := url.Parse(c.base)
	if err != nil {
		t.Fatal(err)
	}
	jar := cookie.Jar{Storage: &certmagic.FileStorage{Path: filepath.Join(c.Dir, "storage")}, Folder: "smtp_console"}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.base, nil)
	for _, k := range c.browser.Jar.Cookies(site) {
		r.AddCookie(k)
	}
	var raw json.RawMessage
	session := make(map[string]any)
	if err := jar.Get(r, "smtp-console", &raw); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &session); err != nil {
		t.Fatal(err)
	}
	edit(session)
	w := httptest.NewRecorder()
	if err := jar.Set(w, r, "smtp-console", session, time.Hour, http.SameSiteLaxMode); err != nil {
		t.Fatal(err)
	}
	c.browser.Jar.SetCookies(site, w.Result().Cookies())
}

// idle lets a session be idle for so long that its login has ended.
func (c *console) idle(t *testing.T) {
	t.Helper()
	c.editSession(t, func(s map[string]any) { s["i"] = time.Now().Add(-time.Minute) })
}

func sameOrigin(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }

var anyHidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// again is the form of a page that has kept what was typed.
func (p page) again(t *testing.T) (path string, form url.Values) {
	t.Helper()
	_, rest, ok := strings.Cut(p.body, "What you typed is kept")
	m := regexp.MustCompile(`<form method="post" action="[^"]*(/console/[^"]*)">`).FindStringSubmatch(rest)
	if !ok || m == nil {
		t.Fatalf("nothing is kept (%d):\n%s", p.status, p.body)
	}
	form = url.Values{}
	for _, f := range anyHidden.FindAllStringSubmatch(rest, -1) {
		form.Add(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
	}
	return html.UnescapeString(m[1]), form
}

// TestIdleEndKeepsForm has a form come after the login has ended: it changes nothing, is
// not lost, and goes through when the user has logged in, in another window.
func TestIdleEndKeepsForm(t *testing.T) {
	c := newLoginConsole(t)
	c.signIn(t, "op@example.com")
	typed := url.Values{"name": {"late@example.com"}, "upstream": {"sandbox"}, "device": {hostile + "\r\n2nd"}, "secret": {"made-up-secret"}}
	form := c.get(t, "/console/accounts/new").fill(typed)
	form["device"] = []string{"Printer <b>2nd</b>"}
	c.idle(t)
	if p := c.do(t, http.MethodGet, "/console/accounts", nil); p.address != "/console/login" {
		t.Fatalf("the login has not ended: %s", p.address)
	}
	late := c.do(t, http.MethodPost, "/console/accounts", form, sameOrigin)
	if late.status != http.StatusUnauthorized || !strings.Contains(late.body, "Printer &lt;b&gt;2nd&lt;/b&gt;</dd>") || strings.Count(late.body, "made-up-secret") != 1 || strings.Contains(late.body, "<nav") {
		t.Errorf("%d\n%s", late.status, late.body)
	}
	path, kept := late.again(t)
	// Sent again before the login it is kept again.
	late = c.do(t, http.MethodPost, path, kept, sameOrigin)
	if late.status != http.StatusUnauthorized {
		t.Errorf("before the login: %d", late.status)
	}
	path, kept = late.again(t)
	c.signIn(t, "op@example.com")
	p := c.do(t, http.MethodPost, path, kept, sameOrigin)
	if p.address != "/console/accounts/late@example.com/card" || !shownPassword.MatchString(p.body) || !strings.Contains(p.body, "Printer &lt;b&gt;2nd") {
		t.Errorf("behind the login: %d %s\n%s", p.status, p.address, p.body)
	}

	// Nobody else goes on with it: neither another user of the browser, nor another
	// site, nor who was never logged in.
	form = c.get(t, "/console/accounts/late@example.com").fill(nil)
	c.idle(t)
	const pause = "/console/accounts/late@example.com/pause"
	for who, edit := range map[string]func(*http.Request){
		"another site":      func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"a sibling":         func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"an old browser":    func(*http.Request) {},
		"the address line":  func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") },
		"another origin":    func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"no session at all": func(r *http.Request) { sameOrigin(r); r.Header.Del("Cookie") },
	} {
		b := c
		if who == "no session at all" {
			b = c.as(t, "")
		}
		if p := b.do(t, http.MethodPost, pause, form, edit); p.status != http.StatusUnauthorized || strings.Contains(p.body, "is kept on this page") {
			t.Errorf("%s: %d\n%s", who, p.status, p.body)
		}
	}
	c.signIn(t, "x@view.example.com")
	p = c.do(t, http.MethodPost, pause, form, sameOrigin)
	if _, kept := p.again(t); p.status != http.StatusForbidden || kept.Get("csrf") == form.Get("csrf") {
		t.Errorf("a viewer behind an operator: %d", p.status)
	} else if p := c.do(t, http.MethodPost, pause, kept, sameOrigin); p.status != http.StatusForbidden {
		t.Errorf("a viewer sends it again: %d", p.status)
	}
	if got := c.Do(t, "GET", "/smtp/accounts/late@example.com", "").Want(http.StatusOK)["paused"]; got == true {
		t.Error("the account is paused")
	}
}

// TestOldPageKeepsForm is about a page whose session is over in the browser, where the
// site logs users in.
func TestOldPageKeepsForm(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com").as(t, "op@example.com")
	form := c.get(t, "/console/accounts/new").fill(url.Values{"name": {"old@example.com"}, "upstream": {"sandbox"}})
	fresh := c.as(t, "op@example.com") // the same user, and none of the cookies
	p := fresh.do(t, http.MethodPost, "/console/accounts", form, sameOrigin)
	path, kept := p.again(t)
	if p.status != http.StatusForbidden || kept.Get("name") != "old@example.com" || len(kept["csrf"]) != 1 {
		t.Errorf("%d %v", p.status, kept)
	}
	if p := fresh.do(t, http.MethodPost, path, kept, sameOrigin); p.address != "/console/accounts/old@example.com/card" {
		t.Errorf("sent again: %d %s", p.status, p.address)
	}
}

// TestLoginOutlivesReload begins a login, and ends it behind a reload; a form of a page
// from before is taken behind it too, and once.
func TestLoginOutlivesReload(t *testing.T) {
	c := newLoginConsole(t)
	var answer string
	c.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/login/callback") {
			answer = r.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}
	c.signIn(t, "op@example.com")
	reload := func() {
		c.Load(t, c.more...)
		c.browser.CloseIdleConnections() // the server closes them too, a moment later
	}
	reload()
	c.browser.CheckRedirect = nil
	if p := c.do(t, http.MethodGet, answer, nil); p.address != "/console/accounts" {
		t.Fatalf("behind the reload the login ends at %s", p.address)
	}
	form := c.get(t, "/console/accounts/new").fill(url.Values{"name": {"reload@example.com"}, "upstream": {"sandbox"}})
	reload()
	for range 2 {
		if p := c.do(t, http.MethodPost, "/console/accounts", form); p.address != "/console/accounts/reload@example.com/card" {
			t.Errorf("%d %s", p.status, p.address)
		}
		reload() // between two clicks
	}
}

// TestPartsBehindTheEnd has pages ask for a part of themselves whose session has ended, and
// which are gone: the whole page goes to the login, which leads back, or says what is.
func TestPartsBehindTheEnd(t *testing.T) {
	c := newLoginConsole(t)
	part := func(path string) *http.Response {
		t.Helper()
		r := c.request(t, http.MethodGet, path+"?part=1", nil)
		r.Header.Set("HX-Request", "true")
		r.Header.Set("HX-Current-URL", c.base+path+"?from=1")
		resp, err := c.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	const page = "/console/trials/x"
	r := part(page)
	if want := c.base + "/console/login?next=" + url.QueryEscape("/trials/x?from=1"); r.Header.Get("HX-Redirect") != want || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s %q, want %q", r.Status, r.Header.Get("HX-Redirect"), want)
	}
	c.signIn(t, "op@example.com")
	if r = part(page); r.StatusCode != http.StatusNotFound || r.Header.Get("HX-Refresh") != "true" {
		t.Errorf("%s, refreshed: %q", r.Status, r.Header.Get("HX-Refresh"))
	}
}

// TestSignedOutAsksWhoComes signs out, and in again: the provider, which may have a session
// still, is told to ask. Who has no role can come as somebody else.
func TestSignedOutAsksWhoComes(t *testing.T) {
	c := newLoginConsole(t)
	prompt := func(path string) (prompt string) {
		t.Helper()
		c.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			prompt = r.URL.Query().Get("prompt")
			return http.ErrUseLastResponse
		}
		defer func() { c.browser.CheckRedirect = nil }()
		c.do(t, http.MethodGet, path, nil)
		return prompt
	}
	if got := prompt("/console/login/start"); got != "" {
		t.Errorf("the first login has the prompt %q", got)
	}
	c.signIn(t, "op@example.com")
	c.post(t, c.get(t, "/console/"), "/console/logout", nil)
	if got := prompt("/console/login/start"); got != "login" {
		t.Errorf("behind a sign-out the prompt is %q", got)
	}
	c.signIn(t, "op@example.com")
	if got := prompt("/console/login/start"); got != "" {
		t.Errorf("behind another login the prompt is %q", got)
	}
	stranger := c.signIn(t, "stranger@example.org")
	stranger.want(t, "neither an operator nor a viewer", "/console/login/start?another", "Sign in as someone else")
	if got := prompt("/console/login/start?another"); got != "login" {
		t.Errorf("somebody else is asked with the prompt %q", got)
	}
}
