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

package interop

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/cookie"
)

// loginPages is a console whose users log in at oidc-provider.
func loginPages(t *testing.T, lists string) (*gateway, *pages) {
	t.Helper()
	browser := startChromium(t)
	address := freeAddrs(t, 1)[0]
	client := oidcClient("sandbox")
	client["client_secret"] = sandboxSecret
	client["redirect_uris"] = []string{"http://" + address + "/console/login/callback"}
	s := startOIDC(t, client)
	g := startGateway(t, gatewayOptions{oauth: "issuer " + s.issuer + "\nscopes openid email offline_access smtp\n", accounts: "\ndynamic\n"}, "erp@example.com")
	return g, &pages{browser, pagesSiteAt(g, "http://"+address, "", "login sandbox\n"+lists), make(map[string]bool)}
}

// signInAt answers the provider's forms until the browser is back.
func (p *pages) signInAt(user string) {
	p.t.Helper()
	p.do("leaves", object{"base": p.base}, nil)
	for range 3 {
		if strings.HasPrefix(p.at(), p.base) {
			return
		}
		if p.count("input[name=login]") > 0 {
			p.fill("input[name=login]", user)
			p.fill("input[name=password]", "any")
		}
		p.click("button[type=submit]") // or agrees
		p.do("settles", nil, nil)
	}
	if !strings.HasPrefix(p.at(), p.base) {
		p.t.Fatalf("the browser is at %s", p.at())
	}
}

// idle has the browser's session come to its idle end, as an hour without a request does.
func (p *pages) idle(g *gateway) {
	p.t.Helper()
	const name = "smtp-console"
	jar := cookie.Jar{Storage: &certmagic.FileStorage{Path: filepath.Join(filepath.Dir(g.conf), "storage")}, Folder: "smtp_console"}
	var value string
	p.do("cookie", object{"name": name}, &value)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: name, Value: value}) //nolint:gosec // none that a browser gets
	session := make(map[string]any)
	if err := jar.Get(r, name, &session); err != nil {
		p.t.Fatal(err)
	}
	session["i"] = time.Now().Add(-time.Second)
	w := httptest.NewRecorder()
	if err := jar.Set(w, r, name, session, time.Hour, http.SameSiteLaxMode); err != nil {
		p.t.Fatal(err)
	}
	p.do("setCookie", object{"name": name, "value": w.Result().Cookies()[0].Value}, nil)
}

// TestConsoleIdleEndInBrowser has sessions end under pages that are open.
func TestConsoleIdleEndInBrowser(t *testing.T) {
	g, p := loginPages(t, "operators op@example.com")
	console := p.base + "/console/"
	p.first("/console/accounts/erp@example.com")
	p.click("a.button")
	p.signInAt("op@example.com")
	p.is("h1", "erp@example.com")

	// What was typed is kept, and sent behind the next login, which has its own window.
	p.fill("#to", "someone@example.net")
	p.idle(g)
	p.click("form[action$='/test'] button")
	p.is("h1", "Your session had ended")
	p.matches("main", "someone@example.net")
	p.inspect("console-session-ended")
	p.click("main a.button:has-text('Sign in')")
	p.do("tab", object{"number": 1, "opened": true}, nil)
	p.signInAt("op@example.com")
	p.matches("main", "Close this window")
	p.inspect("console-signed-in-again")
	p.do("tab", object{"number": 0}, nil)
	p.click("button:has-text('Send it again')")
	p.is("h1", "Test mail")
	p.matches("main", "someone@example.net")

	// A page that asks for a part of itself goes to the login, which leads back to it.
	p.goes(console+"invitations/many", http.StatusOK)
	p.fill("#list", "erp@example.com\nnobody@example.com\nno2@example.com\nno3@example.com")
	p.click("label:has-text('The gateway mails each')")
	p.fill("#sender", "erp@example.com")
	p.fill("#pace", "1")
	p.click("button:has-text('Invite them')")
	p.matches("#progress", "invitations are sent")
	list := p.at()
	p.idle(g)
	p.is("h1", "Sign in")
	p.click("a.button")
	p.signInAt("op@example.com")
	p.matches("#progress", "invitations are sent")
	if at := p.at(); at != list {
		t.Errorf("the login leads to %s, want %s", at, list)
	}
}

// TestConsoleSessionsInBrowser has two windows, sign-out, other roles and other users.
func TestConsoleSessionsInBrowser(t *testing.T) {
	const lists = "operators op@example.com\nviewers @view.example.com"
	g, p := loginPages(t, lists)
	console := p.base + "/console/"
	signIn := func(user string) {
		t.Helper()
		p.goes(console+"accounts/erp@example.com", http.StatusOK)
		p.click("main a.button")
		p.signInAt(user)
	}
	paused := func() bool {
		t.Helper()
		var a struct{ Paused bool }
		g.ask(http.MethodGet, "/smtp/accounts/scanner@example.com", "", &a)
		return a.Paused
	}
	g.ask(http.MethodPut, "/smtp/accounts/scanner@example.com", `{"upstream": "provider", "mailbox": "erp@provider.test"}`, nil)
	p.first("/console/login")
	signIn("op@example.com")
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.fill("#device", "Printer")
	p.click("button:has-text('Make its password')")
	p.matches("h1", "^Device card")
	password := p.text(".copy")

	// One window signs out: the other changes nothing more, and goes back to nothing.
	p.do("tab", object{"number": 1}, nil)
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.do("tab", object{"number": 0}, nil)
	p.click("button:has-text('Sign out')")
	p.do("back", nil, nil)
	p.is("h1", "Sign in")
	p.do("tab", object{"number": 1}, nil)
	p.click("button:has-text('Pause')")
	p.matches("[role=alert]", "Your session has ended")
	p.inspect("console-signed-out-elsewhere")
	if paused() {
		t.Error("a window of a session that was ended has paused an account")
	}
	p.do("back", nil, nil)
	for _, tab := range []int{0, 1} {
		p.do("tab", object{"number": tab}, nil)
		var html string
		if p.do("html", nil, &html); strings.Contains(html, password) {
			t.Errorf("window %d has the password still", tab)
		}
	}

	// Another user signs in: the form of the first's page is not the second's.
	p.do("tab", object{"number": 0}, nil)
	signIn("op@example.com")
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.do("tab", object{"number": 1}, nil)
	p.goes(console, http.StatusOK)
	p.click("button:has-text('Sign out')")
	signIn("someone@view.example.com")
	p.do("tab", object{"number": 0}, nil)
	p.click("button:has-text('Pause')")
	p.is("h1", "That was not taken yet")
	p.inspect("console-other-session")
	p.click("button:has-text('Send it again')")
	p.matches("[role=alert]", "change nothing")
	if paused() {
		t.Error("a viewer has paused an account with an operator's page")
	}

	// Other lists, with a reload under the open page: who may do more can, in the same
	// session; who is taken off is out.
	lookAs := func(now string) {
		t.Helper()
		config, err := os.ReadFile(g.conf)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(config), "login sandbox\n")
		if err := os.WriteFile(g.conf, []byte(before+"login sandbox\n"+now+"\n\t}\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g.reload()
		p.do("reload", nil, nil)
	}
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.matches(".user", `\(viewer\)`)
	lookAs("operators someone@view.example.com")
	p.is(".user", "someone@view.example.com")
	p.click("button:has-text('Pause')")
	p.matches(".state", "Paused")
	lookAs("operators op@example.com\nviewers group:office")
	p.matches("[role=alert]", "neither an operator nor a viewer")
	p.inspect("console-no-role")
	lookAs(lists)
	p.matches(".user", `\(viewer\)`)
}
