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

package connect_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// answer goes to the provider and returns the address that it sends the browser back to,
// without going there.
func (b *browser) answer(t *testing.T, provider string) *url.URL {
	t.Helper()
	stay := *b.Client
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := stay.Get(provider)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	back, err := r.Location()
	if err != nil {
		t.Fatalf("the provider answers with %d", r.StatusCode)
	}
	return back
}

func with(u *url.URL, edit func(url.Values)) string {
	v := *u
	q := v.Query()
	edit(q)
	v.RawQuery = q.Encode()
	return v.String()
}

// withIssuer has the provider found by discovery, which announces `iss` (RFC 9207).
func withIssuer(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.more[0] = strings.Replace(s.more[0], "provider owners generic {", "provider owners generic {\nissuer "+s.Sandbox.HTTPURL(), 1)
	s.Load(t, s.more...)
	return s
}

func (s *site) untouched(t *testing.T, what string) {
	t.Helper()
	if got := s.state(t, owner); got != "never_consented" {
		t.Fatalf("%s: the account is %s", what, got)
	}
}

// TestCodeInjection brings another flow's code into a browser's flow: with and without the
// challenge, and with all but the state of the other answer.
func TestCodeInjection(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	attacker, victim := newBrowser(t), newBrowser(t)
	theirs := attacker.post(t, link, nil).next
	stripped := func(provider string) string {
		u, err := url.Parse(provider)
		if err != nil {
			t.Fatal(err)
		}
		return with(u, func(q url.Values) { q.Del("code_challenge"); q.Del("code_challenge_method") })
	}
	for name, code := range map[string]string{
		"a code of another flow":                       attacker.answer(t, theirs).Query().Get("code"),
		"a code of another flow, without a challenge":  attacker.answer(t, stripped(theirs)).Query().Get("code"),
		"a code that there is not":                     "made-up",
		"no code":                                      "",
		"a code with what does not belong into a form": "a&grant_type=refresh_token\r\n",
	} {
		back := victim.answer(t, victim.post(t, link, nil).next)
		victim.get(t, with(back, func(q url.Values) { q.Set("code", code) })).want(t, "That did not work")
		s.untouched(t, name)
	}
	// The challenge is taken away from the victim's own request.
	victim.get(t, stripped(victim.post(t, link, nil).next)).want(t, "That did not work")
	s.untouched(t, "PKCE stripped")
	// Another login's nonce: the provider would put it into the ID token.
	u, err := url.Parse(victim.post(t, link, nil).next)
	if err != nil {
		t.Fatal(err)
	}
	victim.get(t, with(u, func(q url.Values) { q.Set("nonce", "x") })).want(t, "That did not work")
	s.untouched(t, "another nonce")
	victim.press(t, link, nil).want(t, "Your mailbox is connected") // none of it has used the link up
}

// TestMixUp has one provider's answer come as another's (RFC 9700 section 4.4).
func TestMixUp(t *testing.T) {
	s := withIssuer(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	for name, edit := range map[string]func(url.Values){
		"another issuer":             func(q url.Values) { q.Set("iss", "https://evil.example") },
		"no issuer, which announced": func(q url.Values) { q.Del("iss") },
		"an empty issuer":            func(q url.Values) { q.Set("iss", "") },
		"two issuers":                func(q url.Values) { q["iss"] = []string{"https://evil.example", q.Get("iss")} },
		"an issuer with a slash":     func(q url.Values) { q.Set("iss", q.Get("iss")+"/") },
	} {
		back := b.answer(t, b.post(t, link, nil).next)
		b.get(t, with(back, edit)).want(t, "That did not work")
		s.untouched(t, name)
	}
	// At the redirect URI of another provider: not even a flow that failed.
	back := b.answer(t, b.post(t, link, nil).next)
	other := *back
	other.Path = strings.Replace(other.Path, "/owners", "/sandbox", 1)
	b.get(t, other.String()).want(t, "Your browser came back without its invitation")
	b.get(t, back.String()).want(t, "Your mailbox is connected")

	// A provider that announces none and sends none, as Google and Entra.
	s = newSite(t)
	link, _ = s.invite(t, "")
	back = b.answer(t, b.post(t, link, nil).next)
	b.get(t, with(back, func(q url.Values) { q.Del("iss") })).want(t, "Your mailbox is connected")
}

// TestCallbackAgain has an answer come twice: at once, one after the other, in another
// browser, and with its parts said twice.
func TestCallbackAgain(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	back := b.answer(t, b.post(t, link, nil).next)
	newBrowser(t).get(t, back.String()).want(t, "Your browser came back without its invitation")
	s.untouched(t, "another browser")

	// A browser that is impatient: the code goes to the provider once.
	posts := s.Sandbox.Stats().TokenPosts["authorization_code"]
	var wg sync.WaitGroup
	pages := make([]string, 8)
	for i := range pages {
		again := newBrowser(t) // the same one, before it has an answer
		again.Jar.SetCookies(back, b.Jar.Cookies(back))
		wg.Go(func() {
			r, err := again.Get(back.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			pages[i] = string(text)
		})
	}
	wg.Wait()
	for _, p := range pages {
		if !strings.Contains(p, "Your mailbox is connected") {
			t.Errorf("a page is\n%s", p)
		}
	}
	if n := s.Sandbox.Stats().TokenPosts["authorization_code"] - posts; n != 1 {
		t.Errorf("the code went to the provider %d times", n)
	}
	s.Load(t, s.more...)
	b.get(t, back.String()).want(t, "Your mailbox is connected") // behind a reload too
	b.get(t, back.String()).want(t, "Your browser came back without its invitation")
	b.get(t, link).want(t, "Your mailbox is connected")

	// Parameters said twice: the first is what counts, and must be the flow's.
	link, _ = s.invite(t, "")
	back = b.answer(t, b.post(t, link, nil).next)
	b.get(t, with(back, func(q url.Values) { q["state"] = []string{"x", q.Get("state")} })).want(t, "Your browser came back without its invitation")
	b.get(t, with(back, func(q url.Values) { q["code"] = []string{"x", q.Get("code")} })).want(t, "That did not work")
}

// TestRedirectURI holds that the redirect URI is what was registered, octet for octet.
func TestRedirectURI(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	back := b.answer(t, b.post(t, link, nil).next)
	for _, path := range []string{
		"/connect/callback/owners/", "/connect//callback/owners", "/connect/callback//owners", "/connect/callback/OWNERS", "/connect/callback/owners%20",
		"/connect/callback/owners;x", "/connect/callback/./owners", "/connect/callback/", "/connect/callback", "/connect/Callback/owners", "/callback/owners", "/connect/i/../callback/owners",
	} {
		u, err := back.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		u.Path = path // dots and all
		u.RawQuery = back.RawQuery
		if p := b.get(t, u.String()); p.title == "Your mailbox is connected" {
			t.Errorf("%s: %d %s", path, p.status, p.title)
		}
		s.untouched(t, path)
	}
	for name, edit := range map[string]func(*http.Request){
		"no port":      func(r *http.Request) { r.Host = r.URL.Hostname() },
		"another port": func(r *http.Request) { r.Host = r.URL.Hostname() + ":80" },
		"a final dot":  func(r *http.Request) { r.Host = "localhost." },
		"POST":         func(r *http.Request) { r.Method = http.MethodPost },
		"HEAD":         func(r *http.Request) { r.Method = http.MethodHead }, // of those that look at links
		"PUT":          func(r *http.Request) { r.Method = http.MethodPut },
	} {
		r, err := http.NewRequest(http.MethodGet, back.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		edit(r)
		resp, err := b.Do(r)
		if p := read(t, resp, err); p.status < 400 && p.body != "" { // an empty page is no site's
			t.Errorf("%s: %d", name, p.status)
		}
		s.untouched(t, name)
	}
	// The provider is told another one on the way there: it must not take the code.
	u, err := url.Parse(b.post(t, link, nil).next)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := b.answer(t, with(u, func(q url.Values) { q.Set("redirect_uri", q.Get("redirect_uri")+"/") }))
	elsewhere.Path = strings.TrimSuffix(elsewhere.Path, "/")
	b.get(t, elsewhere.String()).want(t, "That did not work")
	s.untouched(t, "another redirect URI at the provider")
	b.get(t, back.String()).want(t, "Your mailbox is connected")
}

// TestErrorAnswers is what providers answer in place of a code, by what the page must say.
func TestErrorAnswers(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	const declined, admin, failed = "Nothing was connected", "An administrator has to agree first", "That did not work"
	for _, c := range []struct{ error, description, title string }{
		{"access_denied", "", declined},
		{"access_denied", "AADSTS65004: User declined to consent to access the app.", declined},
		{"access_denied", "AADSTS90094: The grant requires admin permission.", admin},
		{"access_denied", "AADSTS900941: Admin consent is required.", admin},
		{"consent_required", "AADSTS65001: The user or administrator has not consented to use the application.", admin},
		{"consent_required", "", admin},
		{"admin_policy_enforced", "", admin},
		{"org_internal", "", admin},
		{"interaction_required", "AADSTS50076: you must use multi-factor authentication", failed},
		{"login_required", "", failed},
		{"account_selection_required", "", failed},
		{"server_error", "AADSTS50000", failed},
		{"temporarily_unavailable", "", failed},
		{"invalid_scope", "", failed},
		{"unauthorized_client", "AADSTS700016", failed},
		{"<script>alert(1)</script>", "<script>alert(1)</script>\r\nSet-Cookie: x=y", failed},
	} {
		back := b.answer(t, b.post(t, link, nil).next)
		p := b.get(t, with(back, func(q url.Values) {
			// With a code beside it: an error is an error.
			q.Set("error", c.error)
			q.Set("error_description", c.description)
		}))
		p.want(t, c.title)
		if strings.Contains(p.body, "<script>") || p.header.Get("Set-Cookie") != "" && strings.Contains(p.header.Get("Set-Cookie"), "x=y") {
			t.Errorf("%s: %s", c.error, p.body)
		}
		s.untouched(t, c.error)
		newBrowser(t).get(t, link).want(t, "Connect your mailbox")
	}
	// The administrator's approval as the answer of an owner's flow: it holds no code, and
	// proves nothing, whatever it claims.
	for _, error := range []string{"", "access_denied", "consent_required"} {
		back := b.answer(t, b.post(t, link, nil).next)
		p := b.get(t, with(back, func(q url.Values) {
			q.Del("code")
			q.Set("admin_consent", "True")
			q.Set("tenant", "6f1f7a54-9a35-4f2e-8a1d-0c4c4d7c7f10")
			if error != "" {
				q.Set("error", error)
			}
		}))
		p.want(t, map[string]string{"": failed, "access_denied": declined, "consent_required": admin}[error])
		s.untouched(t, "admin_consent with "+error)
	}
	b.press(t, link, nil).want(t, "Your mailbox is connected")
}

// TestWrongAccountAgain has the wrong account signed in for good: the owner is asked each
// time, is sent nowhere by itself, and gets through with the right one.
func TestWrongAccountAgain(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "other@example.com"})
	b.press(t, link, nil).want(t, "That was another account")
	for range 3 {
		p := b.post(t, link, url.Values{"pick": {"1"}})
		u, err := url.Parse(p.next)
		if err != nil || u.Query().Get("prompt") == "" || u.Query().Get("login_hint") != owner {
			t.Errorf("the provider is asked %s", p.next)
		}
		p = b.get(t, p.next)
		p.want(t, "That was another account", owner, "other@example.com")
		if p.next != "" {
			t.Errorf("the page goes on by itself, to %s", p.next)
		}
	}
	s.untouched(t, "the wrong account four times")
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{})
	b.press(t, link, url.Values{"pick": {"1"}}).want(t, "Your mailbox is connected")
}

// TestCodeStaysSecret holds that a code is in no page, no address behind it, no cookie in
// the clear, no Referer and no log.
func TestCodeStaysSecret(t *testing.T) {
	s := newSite(t)
	log := filepath.Join(s.Dir, "access.log")
	s.more[1] += "\nlog {\noutput file " + log + "\nlevel DEBUG\n}\n"
	s.Load(t, s.more...)
	link, _ := s.invite(t, "")
	token := link[strings.LastIndexByte(link, '/')+1:]
	b := newBrowser(t)
	start, err := http.NewRequest(http.MethodPost, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.Do(start)
	left := read(t, resp, err)
	back := b.answer(t, left.next)
	code, state := back.Query().Get("code"), back.Query().Get("state")
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := b.get(t, back.String())
	location := p.header.Get("Location")
	if p.status != http.StatusSeeOther || location != link {
		t.Errorf("%d to %s", p.status, location)
	}
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	end := b.get(t, location)
	for what, text := range map[string]string{"the answer": p.body, "its cookies": strings.Join(p.header.Values("Set-Cookie"), " "), "the page": end.body, "the flow's cookie": strings.Join(left.header.Values("Set-Cookie"), " ")} {
		if strings.Contains(text, code) || strings.Contains(text, state) {
			t.Errorf("%s holds the code or the state: %s", what, text)
		}
	}
	b.get(t, s.base+"/elsewhere") // which the log must have
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "/elsewhere") {
		t.Fatalf("the access log: %v\n%s", err, text)
	}
	for _, secret := range []string{code, state, token} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the access log has %s", secret)
		}
	}
}
