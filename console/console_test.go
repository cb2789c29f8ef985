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
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/smtpapp"
)

func TestMain(m *testing.M) { gatewaytest.Main(m) }

const hostile = `"><script>alert(1)</script>@example.com`

// console is a gateway with the pages, and one user's browser.
type console struct {
	*gatewaytest.Gateway
	base    string
	browser *http.Client
	user    string
	// site is the configuration's part with the pages, more all that was added to it.
	site string
	more []string
}

func newConsole(t *testing.T, options string) *console {
	t.Helper()
	g := gatewaytest.New(t)
	// What the process holds against 127.0.0.1 is not the next test's.
	t.Cleanup(func() { smtpapp.LiftBans("", netip.MustParsePrefix("127.0.0.0/8")) })
	c := &console{Gateway: g, base: "http://" + gatewaytest.FreeAddress(t)}
	c.site = fmt.Sprintf(`}
%[1]s {
	bind 127.0.0.1
	smtp_connect {
		url %[1]s/connect
		unidentified
	}
	smtp_console {
		url %[1]s/console
		name "Mail <of> Example"
		%[2]s
	}
	respond 404
`, c.base, options)
	g.Load(t, c.site)
	return c.as(t, "")
}

// as is the same console in another user's browser.
func (c *console) as(t *testing.T, user string) *console {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &console{c.Gateway, c.base, &http.Client{Jar: jar}, user, c.site, c.more}
}

type page struct {
	status        int
	body, address string
}

// request is what the site passes on for a form that the user sends.
func (c *console) request(t *testing.T, method, path string, form url.Values) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("X-User", c.user)
	return r
}

func (c *console) do(t *testing.T, method, path string, form url.Values, edit ...func(*http.Request)) page {
	t.Helper()
	var resp *http.Response
	for try := range 3 {
		r := c.request(t, method, path, form)
		for _, e := range edit {
			e(r)
		}
		var err error
		resp, err = c.browser.Do(r)
		// Caddy's listener drops at a reload what it has not accepted yet, and what
		// it has and has not answered; a browser asks again too, and a form with a
		// number does its work once.
		if (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && try < 2 && (method == http.MethodGet || form.Has("number")) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := page{resp.StatusCode, string(body), resp.Request.URL.Path}
	if strings.Contains(p.body, "<script>alert") {
		t.Errorf("%s: a script of a stranger's is in the page", path)
	}
	return p
}

func (c *console) get(t *testing.T, path string, words ...string) page {
	t.Helper()
	p := c.do(t, http.MethodGet, path, nil)
	if p.status != http.StatusOK {
		t.Fatalf("GET %s: %d\n%s", path, p.status, p.body)
	}
	for _, w := range words {
		if !strings.Contains(p.body, w) {
			t.Errorf("GET %s lacks %q:\n%s", path, w, p.body)
		}
	}
	return p
}

var hidden = regexp.MustCompile(`name="(csrf|number)" value="([^"]*)"`)

// fill returns the hidden fields of a page's first form with more of them.
func (p page) fill(more url.Values) url.Values {
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(p.body, -1) {
		if !form.Has(m[1]) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
	}
	for k, v := range more {
		form[k] = v
	}
	return form
}

func (c *console) post(t *testing.T, from page, path string, more url.Values) page {
	t.Helper()
	return c.do(t, http.MethodPost, path, from.fill(more))
}

var shownPassword = regexp.MustCompile(`<code class="copy">([^<]+)</code>`)

func TestAddAccountAndCard(t *testing.T) {
	c := newConsole(t, "")
	c.get(t, "/console/", "Mail &lt;of&gt; Example", "What needs someone")
	form := c.get(t, "/console/accounts/new", "<option>sandbox</option>")
	first := form.fill(url.Values{"name": {"printer@example.com"}, "upstream": {"sandbox"}})
	card := c.do(t, http.MethodPost, "/console/accounts", first)
	m := shownPassword.FindStringSubmatch(card.body)
	if card.address != "/console/accounts/printer@example.com/card" || m == nil {
		t.Fatalf("no card but %s:\n%s", card.address, card.body)
	}
	for _, want := range []string{"printer@example.com", "<svg", strings.Split(c.SMTP, ":")[1]} {
		if !strings.Contains(card.body, want) {
			t.Errorf("the card lacks %q", want)
		}
	}
	session := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
	if err := session.Auth(plain("printer@example.com", m[1])); err != nil {
		t.Errorf("the card's password: %v", err)
	}
	if again := c.get(t, card.address); shownPassword.MatchString(again.body) {
		t.Error("the password is shown a second time")
	}
	// A double click makes one account, and no error page; its second one has the password,
	// whose page was left for it (TestSecondClick says how long).
	if p := c.do(t, http.MethodPost, "/console/accounts", first); p.status != http.StatusOK || !strings.Contains(p.body, m[1]) {
		t.Errorf("the form sent again: %d %s", p.status, p.address)
	}
	// Another password beside, then one in place of both.
	account := c.get(t, "/console/accounts/printer@example.com", "made by the gateway")
	c.post(t, account, "/console/accounts/printer@example.com/password", nil)
	account = c.get(t, "/console/accounts/printer@example.com", "127.0.0.1")
	if n := strings.Count(account.body, "take its password away"); n != 2 {
		t.Errorf("%d devices after one more password", n)
	}
	c.post(t, account, "/console/accounts/printer@example.com/password", url.Values{"replace": {"1"}})
	if n := strings.Count(c.get(t, "/console/accounts/printer@example.com").body, "take its password away"); n != 1 {
		t.Errorf("%d devices after all were replaced", n)
	}
	c.get(t, "/console/accounts?q=PRINT", "printer@example.com")
	if p := c.get(t, "/console/accounts?q=scanner"); strings.Contains(p.body, "printer@") {
		t.Error("the search finds what it should not")
	}
}

// TestTestMail has an account of its own: what was learned of one outlives a reload.
func TestTestMail(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "tested@example.com")
	account := c.get(t, "/console/accounts/tested@example.com", "Not tested yet")
	trial := c.post(t, account, "/console/accounts/tested@example.com/test", url.Values{"to": {"me@example.org"}})
	if !strings.HasPrefix(trial.address, "/console/trials/") {
		t.Fatalf("no trial but %d %s\n%s", trial.status, trial.address, trial.body)
	}
	end := c.awaitTrial(t, trial.address)
	if !strings.Contains(end.body, "It was accepted") || !strings.Contains(end.body, "<strong>message</strong>") || !strings.Contains(end.body, "<strong>tls</strong>") {
		t.Errorf("the trial's end:\n%s", end.body)
	}
	messages := c.Sandbox.Messages()
	if len(messages) != 1 || messages[0].From != "tested@example.com" {
		t.Errorf("the provider has %+v", messages)
	}
	c.get(t, "/console/accounts/tested@example.com", "Working")

	// One that fails says where and why.
	trial = c.post(t, c.get(t, "/console/accounts/tested@example.com"), "/console/accounts/tested@example.com/test", url.Values{"to": {"reject-me@example.org"}})
	end = c.awaitTrial(t, trial.address)
	if !strings.Contains(end.body, "It was not sent") || !strings.Contains(end.body, "550 5.1.1") {
		t.Errorf("the trial's end:\n%s", end.body)
	}
	for _, to := range []string{"", "nonsense", "a@example.org\r\nBcc: b@example.org", "A <a@example.org>"} {
		if p := c.post(t, c.get(t, "/console/accounts/tested@example.com"), "/console/accounts/tested@example.com/test", url.Values{"to": {to}}); p.status != http.StatusBadRequest {
			t.Errorf("to %q: %d", to, p.status)
		}
	}
}

// awaitTrial asks for the part that an open page asks for, until it asks no more.
func (c *console) awaitTrial(t *testing.T, path string) page {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if p := c.get(t, path+"?part=1"); !strings.Contains(p.body, "hx-get") {
			return c.get(t, path)
		}
	}
	t.Fatal("the trial does not end")
	return page{}
}

func TestPauseInviteAndRevoke(t *testing.T) {
	c := newConsole(t, "")
	c.Do(t, "PUT", "/smtp/accounts/o@example.com", `{"upstream": "oauth"}`).Want(http.StatusCreated)
	c.get(t, "/console/", "o@example.com: Waiting for consent")
	account := c.get(t, "/console/accounts/o@example.com", "Waiting for consent")
	p := c.post(t, account, "/console/accounts/o@example.com/invite", nil)
	m := shownPassword.FindStringSubmatch(p.body)
	if m == nil || !strings.HasPrefix(m[1], c.base+"/connect/i/") {
		t.Fatalf("no link: %s", p.body)
	}
	if again := c.get(t, "/console/accounts/o@example.com"); strings.Contains(again.body, "/connect/i/") {
		t.Error("the link is shown a second time")
	}
	list := c.get(t, "/console/invitations", "o@example.com")
	id := regexp.MustCompile(`/invitations/([0-9a-f]{64})/revoke`).FindStringSubmatch(list.body)
	if id == nil {
		t.Fatalf("no button to withdraw: %s", list.body)
	}
	if p := c.post(t, list, "/console/invitations/"+id[1]+"/revoke", nil); !strings.Contains(p.body, "There is none") {
		t.Errorf("after the withdrawal:\n%s", p.body)
	}
	c.post(t, account, "/console/accounts/o@example.com/pause", nil)
	c.get(t, "/console/accounts?state=paused", "o@example.com")
	c.post(t, account, "/console/accounts/o@example.com/resume", nil)
	if p := c.get(t, "/console/accounts?state=paused"); strings.Contains(p.body, "o@example.com") {
		t.Error("still paused")
	}
}

func TestClients(t *testing.T) {
	c := newConsole(t, "")
	pw := c.AddAccount(t, "a@example.com")
	s := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
	if err := s.Auth(plain("a@example.com", pw)); err != nil {
		t.Fatal(err)
	}
	list := c.get(t, "/console/clients", "a@example.com")
	id := regexp.MustCompile(`/sessions/([^/"]+)/end`).FindStringSubmatch(list.body)
	if id == nil {
		t.Fatalf("no button: %s", list.body)
	}
	c.post(t, list, "/console/sessions/"+id[1]+"/end", nil)
	if err := s.Noop(); err == nil {
		t.Error("the session goes on")
	}
	for range 6 {
		bad := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
		_ = bad.Auth(plain(hostile, fmt.Sprint(time.Now().UnixNano())))
		_ = bad.Close()
	}
	// What a client wrote is shown as text: do looks for scripts in each page.
	c.get(t, "/console/clients", "&lt;script&gt;")
	c.get(t, "/console/upstreams", "sandbox")
}

func TestHostileNames(t *testing.T) {
	c := newConsole(t, "")
	c.Do(t, "PUT", "/smtp/accounts/x%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E", `{"upstream": "oauth", "labels": {"<script>alert(1)</script>": "<b>"}}`)
	for _, path := range []string{"/console/", "/console/accounts", "/console/accounts?q=" + url.QueryEscape(`"><script>alert(1)</script>`), "/console/invitations"} {
		c.get(t, path)
	}
	form := c.get(t, "/console/accounts/new")
	p := c.post(t, form, "/console/accounts", url.Values{"name": {hostile}, "upstream": {`"><script>alert(1)</script>`}})
	if p.status == http.StatusOK && p.address == "/console/accounts" {
		t.Errorf("an upstream that does not exist was taken: %s", p.body)
	}
}

func TestForgedRequests(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	account := c.get(t, "/console/accounts/a@example.com")
	form := account.fill(nil)
	pause := "/console/accounts/a@example.com/pause"
	other := c.as(t, "")
	foreign := other.get(t, "/console/accounts/a@example.com").fill(nil)
	for name, p := range map[string]page{
		"another site":            c.do(t, http.MethodPost, pause, form, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
		"another origin":          c.do(t, http.MethodPost, pause, form, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }),
		"no token":                c.do(t, http.MethodPost, pause, nil),
		"another browser's token": c.do(t, http.MethodPost, pause, foreign),
		"another host":            c.do(t, http.MethodPost, pause, form, func(r *http.Request) { r.Host = "evil.example" }),
		"by a link":               c.do(t, http.MethodGet, pause, nil),
	} {
		// Caddy answers a host that no site has with an empty page.
		if p.status < 400 && p.body != "" {
			t.Errorf("%s: %d", name, p.status)
		}
	}
	if got := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)["paused"]; got != false {
		t.Error("a forged request has paused the account")
	}
	if p := c.do(t, http.MethodPost, pause, form); p.status != http.StatusOK {
		t.Errorf("the real one: %d %s", p.status, p.body)
	}
}

func TestRoles(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com\nviewers view@example.com")
	c.AddAccount(t, "a@example.com")
	for user, want := range map[string]int{"": 403, "stranger@example.com": 403, "view@example.com": 200, "OP@example.com": 200} {
		if p := c.as(t, user).do(t, http.MethodGet, "/console/accounts/a@example.com", nil); p.status != want {
			t.Errorf("user %q: %d, want %d", user, p.status, want)
		}
	}
	viewer, operator := c.as(t, "view@example.com"), c.as(t, "op@example.com")
	seen := viewer.get(t, "/console/accounts/a@example.com", "view@example.com (viewer)")
	if strings.Contains(seen.body, "<button") {
		t.Error("a viewer is shown buttons")
	}
	form := operator.get(t, "/console/accounts/a@example.com").fill(nil)
	if p := viewer.do(t, http.MethodPost, "/console/accounts/a@example.com/pause", form); p.status != http.StatusForbidden {
		t.Errorf("a viewer pauses an account: %d", p.status)
	}
	if p := operator.do(t, http.MethodPost, "/console/accounts/a@example.com/pause", form); p.status != http.StatusOK {
		t.Errorf("an operator can't: %d", p.status)
	}
	if got := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)["paused"]; got != true {
		t.Error("the account is not paused")
	}
}

func TestHeaders(t *testing.T) {
	c := newConsole(t, "")
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.base+"/console/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	csp := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("CSP: %s", csp)
	}
	cookie := resp.Header.Get("Set-Cookie")
	if !strings.Contains(cookie, "SameSite=Lax") || !strings.Contains(cookie, "HttpOnly") {
		t.Errorf("cookie: %s", cookie)
	}
	for path, want := range map[string]int{"/console/htmx.min.js": 200, "/console/console.css": 200, "/console/overview.html": 404, "/console/nothing": 404, "/other": 404, "/console/trials/x": 404} {
		if p := c.do(t, http.MethodGet, path, nil); p.status != want {
			t.Errorf("%s: %d, want %d", path, p.status, want)
		}
	}
}
