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
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/sandbox"
)

func TestMain(m *testing.M) { gatewaytest.Main(m) }

const owner = "owner@example.com"

// site is a gateway with the pages, and an account that waits for consent.
type site struct {
	*gatewaytest.Gateway
	base string
	more []string
}

func newSite(t *testing.T, options ...string) *site {
	t.Helper()
	g := gatewaytest.New(t)
	s := &site{Gateway: g, base: "http://" + gatewaytest.FreeAddress(t)}
	s.more = []string{sitesOptions(g, g.Sandbox.HTTPURL()), sitesPages(s.base, s.base+"/connect", strings.Join(options, "\n"))}
	g.Load(t, s.more...)
	s.account(t, owner)
	return s
}

// sitesOptions are the global ones of a gateway whose accounts consent; tokens is where its
// provider of them is.
func sitesOptions(g *gatewaytest.Gateway, tokens string) string {
	return fmt.Sprintf(`
	oauth_tokens {
		provider owners generic {
			token_url %[4]s/token
			auth_url %[1]s/authorize
			client_id sandbox
			client_secret sandbox-secret
			scopes smtp openid email offline_access
		}
	}
	smtp_upstreams {
		upstream owners {
			dial %[2]s
			tls starttls {
				trust_pool file %[3]s
			}
			auth xoauth2 owners
		}
	}
	skip_install_trust
	`, g.Sandbox.HTTPURL(), g.Sandbox.SMTPAddr(), g.CAFile, tokens)
}

// sitesPages are the pages, at an address, which browsers know by a URL.
func sitesPages(at, known, options string) string {
	return fmt.Sprintf(`}
%[1]s {
	bind 127.0.0.1
	smtp_connect {
		url %[2]s
		name "Example <Mail>"
		contact it@example.com
		%[3]s
	}
	`, at, known, options)
}

func (s *site) account(t *testing.T, name string) {
	t.Helper()
	s.Do(t, "PUT", "/smtp/accounts/"+name, `{"upstream": "owners"}`).Want(http.StatusCreated)
}

// invite makes an invitation and returns its link.
func (s *site) invite(t *testing.T, more string) (link, id string) {
	t.Helper()
	got := s.Do(t, "POST", "/smtp/invitations", `{"account": "`+owner+`", "invited_by": "<b>IT</b>"`+more+`}`).Want(http.StatusCreated)
	return got["link"].(string), got["id"].(string)
}

func (s *site) state(t *testing.T, account string) string {
	t.Helper()
	return s.Do(t, "GET", "/smtp/accounts/"+account, "").Want(http.StatusOK)["state"].(string)
}

// browser is an owner's, which follows what pages and servers say.
type browser struct {
	*http.Client
	seen []*http.Request
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{}
	b.Client = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		b.seen = append(b.seen, r)
		return nil
	}}
	return b
}

var heading = regexp.MustCompile(`<h1>(.*?)</h1>`)

type shown struct {
	status        int
	title, body   string
	header        http.Header
	address, next string
}

func read(t *testing.T, r *http.Response, err error) shown {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := shown{status: r.StatusCode, body: string(body), header: r.Header, address: r.Request.URL.String()}
	if m := heading.FindStringSubmatch(p.body); m != nil {
		p.title = m[1]
	}
	_, p.next, _ = strings.Cut(r.Header.Get("Refresh"), "url=")
	return p
}

func (b *browser) get(t *testing.T, address string) shown {
	t.Helper()
	r, err := b.Get(address)
	return read(t, r, err)
}

// press presses the invitation's button, and comes back from the provider.
func (b *browser) press(t *testing.T, link string, form url.Values) shown {
	t.Helper()
	p := b.post(t, link, form)
	if p.next == "" {
		return p
	}
	return b.get(t, p.next)
}

func (b *browser) post(t *testing.T, link string, form url.Values) shown {
	t.Helper()
	r, err := b.PostForm(link, form)
	return read(t, r, err)
}

func (p shown) want(t *testing.T, title string, words ...string) {
	t.Helper()
	if p.title != title {
		t.Fatalf("the page is %q (%d), want %q\n%s", p.title, p.status, title, p.body)
	}
	for _, w := range words {
		if !strings.Contains(p.body, w) {
			t.Errorf("page %q lacks %q:\n%s", title, w, p.body)
		}
	}
}

func TestConsent(t *testing.T) {
	s := newSite(t)
	link, id := s.invite(t, "")
	if got := s.state(t, owner); got != "never_consented" {
		t.Fatalf("the account is %s before the consent", got)
	}
	b := newBrowser(t)
	for range 3 { // scanners of mail open links
		p := newBrowser(t).get(t, link)
		p.want(t, "Connect your mailbox", "&lt;b&gt;IT&lt;/b&gt;", owner, "Example &lt;Mail&gt;", "<code>smtp</code>")
		for name, want := range map[string]string{
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("CSP: %s", csp)
		}
	}
	p := b.post(t, link, nil)
	out, err := url.Parse(p.next)
	if err != nil {
		t.Fatal(err)
	}
	q := out.Query()
	for name, want := range map[string]string{
		"redirect_uri": s.base + "/connect/callback/owners", "code_challenge_method": "S256", "login_hint": owner, "response_type": "code",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q at the provider, want %q", name, q.Get(name), want)
		}
	}
	p = b.get(t, p.next)
	p.want(t, "Your mailbox is connected", owner)
	if strings.Contains(p.address, "code=") {
		t.Errorf("the address line shows a code: %s", p.address)
	}
	if got := s.state(t, owner); got == "never_consented" {
		t.Errorf("the account is %s after the consent", got)
	}
	b.get(t, link).want(t, "Your mailbox is connected")                 // going back
	newBrowser(t).get(t, link).want(t, "This invitation has been used") // the next one with the link
	newBrowser(t).press(t, link, nil).want(t, "This invitation has been used")
	list := string(s.Do(t, "GET", "/smtp/invitations?state=used", "").Body)
	if !strings.Contains(list, id) || !strings.Contains(list, `"used_by":"`+owner+`"`) {
		t.Errorf("the list lacks who used it: %s", list)
	}
}

func TestOutcomes(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name   string
		answer sandbox.ConsentAnswer
		title  string
		words  []string
	}{
		{"another account", sandbox.ConsentAnswer{Mailbox: "<i>other@example.com"}, "That was another account", []string{"&lt;i&gt;other@example.com", owner}},
		{"a box not ticked", sandbox.ConsentAnswer{Unticked: []string{"smtp"}}, "A permission is missing", []string{"<code>smtp</code>"}},
		{"no ID token", sandbox.ConsentAnswer{NoIDToken: true}, "The provider did not say who you are", []string{"it@example.com"}},
		{"no refresh token", sandbox.ConsentAnswer{NoRefreshToken: true}, "The consent was not complete", nil},
		{"said no", sandbox.ConsentAnswer{Error: "access_denied", Description: "no"}, "Nothing was connected", nil},
		{
			"an administrator is needed", sandbox.ConsentAnswer{Error: "access_denied", Description: "AADSTS90094: The grant requires admin permission."},
			"An administrator has to agree first", nil,
		},
		{"trouble", sandbox.ConsentAnswer{Error: "server_error", Description: "<script>alert(1)</script>"}, "That did not work", []string{"&lt;script&gt;"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			link, _ := s.invite(t, "")
			b := newBrowser(t)
			s.Sandbox.AnswerConsents(c.answer)
			b.press(t, link, nil).want(t, c.title, c.words...)
			if got := s.state(t, owner); got != "never_consented" {
				t.Fatalf("the account is %s after a consent that was not taken", got)
			}
			newBrowser(t).get(t, link).want(t, "Connect your mailbox") // the link is still good
		})
	}
	// The same link works once the reason is gone.
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "other@example.com"})
	b.press(t, link, nil).want(t, "That was another account")
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{})
	p := b.post(t, link, url.Values{"pick": {"1"}})
	if u, err := url.Parse(p.next); err != nil || u.Query().Get("prompt") != "login" { // of no kind: Google and Entra have a picker
		t.Errorf("the account picker is not asked for: %s", p.next)
	}
	b.get(t, p.next).want(t, "Your mailbox is connected")
}

// TestOwnerIsPinned holds that who consented first is who counts: another owner
// whose address is now the mailbox's is refused.
func TestOwnerIsPinned(t *testing.T) {
	s := newSite(t)
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Mailbox: "delegate@example.com"})
	link, _ := s.invite(t, `, "delegate": "delegate@example.com"`)
	newBrowser(t).press(t, link, nil).want(t, "Your mailbox is connected", "delegate@example.com")

	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{})
	link, _ = s.invite(t, "")
	newBrowser(t).press(t, link, nil).want(t, "That was another account", "delegate@example.com", owner)
}

func TestFlowBelongsToOneBrowser(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	p := b.post(t, link, nil)
	// Another browser gets the provider's answer: a consent that is slipped to a victim.
	newBrowser(t).get(t, p.next).want(t, "Your browser came back without its invitation")
	// Two windows, the answers in either order.
	first, second := b.post(t, link, nil), b.post(t, link, nil)
	b.get(t, second.next).want(t, "Your mailbox is connected")
	b.get(t, first.next)
	b.get(t, link).want(t, "This invitation has been used")
	if got := s.state(t, owner); got == "never_consented" {
		t.Errorf("the account is %s", got)
	}
}

func TestRequestsFromElsewhere(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	for name, edit := range map[string]func(*http.Request){
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"another host":   func(r *http.Request) { r.Host = "evil.example" },
	} {
		r, err := http.NewRequest(http.MethodPost, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		edit(r)
		resp, err := http.DefaultClient.Do(r)
		p := read(t, resp, err)
		if p.next != "" || p.status == http.StatusSeeOther {
			t.Errorf("%s: answered with %d", name, p.status)
		}
	}
	// An old browser says where it comes from by Origin alone, as far as the page lets it.
	b := newBrowser(t)
	if got := b.get(t, link).header.Get("Referrer-Policy"); got == "no-referrer" {
		t.Error("a browser without fetch metadata sends the origin null")
	}
	r, err := http.NewRequest(http.MethodPost, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", s.base)
	resp, err := http.DefaultClient.Do(r)
	if p := read(t, resp, err); p.next == "" {
		t.Errorf("an old browser is answered with %d", p.status)
	}
	for path, title := range map[string]string{
		"/connect/i/AAAA": "There is no such invitation", "/connect/i/" + strings.Repeat("A", 43): "There is no such invitation",
		"/connect/i/..%2f..%2fcookie.key": "There is no such invitation", "/connect/": "There is no such invitation",
		"/connect/callback/owners?state=x&code=y":                          "Your browser came back without its invitation",
		"/connect/callback/owners?state=admin&admin_consent=True":          "Thank you",
		"/connect/callback/owners?state=admin&admin_consent=True&error=no": "No approval was given",
	} {
		b.get(t, s.base+path).want(t, title)
	}
	// None of it has made anything of the invitation or the account.
	if got := s.state(t, owner); got != "never_consented" {
		t.Errorf("the account is %s", got)
	}
}

func TestInvitationEnds(t *testing.T) {
	s := newSite(t)
	link, id := s.invite(t, "")
	s.Do(t, "DELETE", "/smtp/invitations/"+id, "").Want(http.StatusNoContent)
	s.Do(t, "DELETE", "/smtp/invitations/"+id, "").Want(http.StatusNotFound)
	newBrowser(t).get(t, link).want(t, "There is no such invitation")

	link, _ = s.invite(t, "")
	s.Do(t, "PATCH", "/smtp/accounts/"+owner, `{"mailbox": "other@example.com"}`).Want(http.StatusOK)
	newBrowser(t).get(t, link).want(t, "This invitation is no longer valid")

	for _, body := range []string{
		`{"account": "` + owner + `", "expires": "0s"}`, `{"account": "` + owner + `", "expires": "9999h"}`, `{"account": ""}`,
		`{"account": "` + owner + `", "invited_by": "a\nb"}`, `{"account": "` + owner + `", "delegate": "` + strings.Repeat("a", 300) + `"}`,
	} {
		if got := s.Do(t, "POST", "/smtp/invitations", body).Want(http.StatusBadRequest); got["field"] == nil {
			t.Errorf("%s: the field is not named: %v", body, got)
		}
	}
	s.Do(t, "POST", "/smtp/invitations", `{"account": "nobody@example.com"}`).Want(http.StatusNotFound)
}

// TestTokenIsNotStored holds that no file of the storage, which others may read,
// has a link in it.
func TestTokenIsNotStored(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	token := link[strings.LastIndexByte(link, '/')+1:]
	files := 0
	err := filepath.WalkDir(filepath.Join(s.Dir, "storage"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(text), token) || strings.Contains(path, token)) {
			t.Errorf("%s holds the link's token", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}
}

func TestUsedOnce(t *testing.T) {
	s := newSite(t)
	_, id := s.invite(t, "")
	current, err := connect.Current()
	if err != nil {
		t.Fatal(err)
	}
	inv, err := current.Invitations.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("not stored")
	if err := current.Invitations.Use(context.Background(), id, inv.Created, func(*connect.Invitation) (string, error) { return "", failed }); !errors.Is(err, failed) {
		t.Fatalf("a consent that is not stored: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	kept, refused := 0, 0
	for range 8 {
		wg.Go(func() {
			err := current.Invitations.Use(context.Background(), id, inv.Created, func(*connect.Invitation) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				kept++
				return owner, nil
			})
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, connect.ErrUsed) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if kept != 1 || refused != 7 {
		t.Errorf("kept %d times, refused %d times", kept, refused)
	}
}

func TestCommand(t *testing.T) {
	s := newSite(t)
	s.account(t, "=two@example.com")
	out := s.MustRun(t, "", "invite", "add", owner, "--by", "IT")
	if !strings.Contains(out, s.base+"/connect/i/") {
		t.Errorf("no link: %s", out)
	}
	out, errOut, err := s.Run(t, "account,note\n"+owner+",x\nnobody@example.com,y\n=two@example.com,z\n", "invite", "add", "--csv", "-")
	if err == nil || !strings.Contains(errOut, "line 3: nobody@example.com") || !strings.Contains(errOut, "2 invited, 1 failed") {
		t.Errorf("err %v, %s", err, errOut)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "account,mailbox,expires,link") || !strings.HasPrefix(lines[2], "'=two@") {
		t.Errorf("the CSV is %q", lines)
	}
	list := s.MustRun(t, "", "invite", "list", "--account", "=two@example.com")
	rows := strings.Split(strings.TrimSpace(list), "\n")
	if len(rows) != 2 {
		t.Fatalf("the list is %q", rows)
	}
	s.MustRun(t, "", "invite", "revoke", strings.Fields(rows[1])[0])
	if list := s.MustRun(t, "", "invite", "list", "--account", "=two@example.com"); strings.Contains(list, "two@") {
		t.Errorf("still there: %s", list)
	}
}

// TestReload holds that a consent that was begun before a reload ends well after it.
func TestReload(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	p := b.post(t, link, nil)
	s.Load(t, s.more...)
	b.get(t, p.next).want(t, "Your mailbox is connected")
}
