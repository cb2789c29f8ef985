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
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// login reports whether a device's password is good.
func (c *console) login(t *testing.T, account, password string) bool {
	t.Helper()
	s := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
	defer s.Close()
	return s.Auth(plain(account, password)) == nil
}

var renames = regexp.MustCompile(`action="[^"]*(/console/accounts/[^"]*/devices/[0-9a-f]+)/name"`)

// TestDeviceIsChanged has a name as long as its field takes, with umlauts.
func TestDeviceIsChanged(t *testing.T) {
	c := newConsole(t, "")
	const account = "/console/accounts/büro@example.com"
	name := strings.Repeat("Ü", 60)
	form := c.get(t, "/console/accounts/new").fill(url.Values{"name": {"büro@example.com"}, "upstream": {"sandbox"}, "device": {name}})
	card := c.do(t, http.MethodPost, "/console/accounts", form)
	card.want(t, name)
	first := shownPassword.FindStringSubmatch(card.body)
	p := c.get(t, account, name)
	at := renames.FindStringSubmatch(p.body)
	if first == nil || at == nil {
		t.Fatalf("no card, or no form: %s", p.body)
	}
	device, err := url.PathUnescape(at[1])
	if err != nil {
		t.Fatal(err)
	}

	c.post(t, p, device+"/name", url.Values{"device": {"Drucker im Büro <2>"}})
	if p = c.get(t, account, "Drucker im Büro &lt;2&gt;"); strings.Contains(p.body, name) {
		t.Error("the old name is there still")
	}
	if !c.login(t, "büro@example.com", first[1]) {
		t.Error("a new name changed the password")
	}

	// Another password in the place of the old one, under the same name.
	card = c.post(t, p, device+"/password", nil)
	card.want(t, "Drucker im Büro &lt;2&gt;")
	second := shownPassword.FindStringSubmatch(card.body)
	if second == nil || c.login(t, "büro@example.com", first[1]) || !c.login(t, "büro@example.com", second[1]) {
		t.Errorf("the old password is good, or the new one is not: %s", card.body)
	}
	p = c.get(t, account, "Drucker im Büro &lt;2&gt;")
	if n := strings.Count(p.body, "Remove it, take its password away"); n != 1 {
		t.Errorf("%d devices", n)
	}
	// What is gone meanwhile, in another window, is said and leads back.
	gone := c.do(t, http.MethodPost, device+"/name", p.fill(url.Values{"device": {"x"}}), func(r *http.Request) { r.Header.Set("Referer", c.base+account) })
	if gone.want(t, "gone already", "Back to the page before"); gone.status != http.StatusNotFound {
		t.Errorf("a device that is gone: %d", gone.status)
	}
	c.get(t, "/console/changes", "device renamed", "password replaced")
}

// TestBackFromAnError leads to a page of ours and nowhere else.
func TestBackFromAnError(t *testing.T) {
	c := newConsole(t, "")
	for from, want := range map[string]bool{
		c.base + "/console/accounts?q=a": true, c.base + "/console.evil/": false, "https://evil.example/console/": false, "javascript:alert(1)": false, "": false,
	} {
		p := c.do(t, http.MethodGet, "/console/accounts/nobody@example.com", nil, func(r *http.Request) { r.Header.Set("Referer", from) })
		if strings.Contains(p.body, "Back to the page before") != want {
			t.Errorf("from %q:\n%s", from, p.body)
		}
	}
}

// TestRefusedFormIsKept holds that what was typed is on the page that says what is wrong
// with it.
func TestRefusedFormIsKept(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	const account = "/console/accounts/a@example.com"
	device := renames.FindStringSubmatch(c.get(t, account).body)[1]
	long := strings.Repeat("Ü", 61)
	for name, tc := range map[string]struct {
		path   string
		status int
		form   url.Values
		want   []string
	}{
		"a name that is taken": {
			"/console/accounts", http.StatusConflict,
			url.Values{"name": {"a@example.com"}, "upstream": {"oauth"}, "mailbox": {"m@example.com"}, "device": {"Gerät <1>"}},
			[]string{"of this name already", `href="` + c.base + `/console/accounts/a@example.com">Open it`, `value="m@example.com"`, `value="Gerät &lt;1&gt;"`, "<option selected>oauth"},
		},
		"a name that is none": {
			"/console/accounts", http.StatusBadRequest, url.Values{"name": {"<b@example.com>"}, "upstream": {"sandbox"}, "device": {"Gerät"}},
			[]string{`id="name-why"`, `value="&lt;b@example.com&gt;"`, `value="Gerät"`},
		},
		"no name": {
			"/console/accounts", http.StatusBadRequest, url.Values{"name": {" "}, "upstream": {"sandbox"}, "mailbox": {"m@example.com"}},
			[]string{`id="name-why"`, `value="m@example.com"`},
		},
		"a sender that is none": {
			"/console/invitations/many", http.StatusBadRequest, url.Values{"list": {"a@example.com\nmüller@example.com"}, "how": {"mail"}, "sender": {"x@example.com"}, "pace": {"7"}},
			[]string{"Nobody was invited", "müller@example.com</textarea>", `value="mail" checked`, `value="x@example.com"`, `value="7"`, `id="sender-why"`},
		},
		"no list": {
			"/console/invitations/many", http.StatusBadRequest, url.Values{"list": {""}, "how": {"mail"}, "sender": {"a@example.com"}, "pace": {"7"}},
			[]string{"The list is empty", `value="a@example.com"`, `id="list-why"`},
		},
		"a list with a column in error": {
			"/console/invitations/many", http.StatusBadRequest, url.Values{"list": {"account,to\na@example.com,<x>"}, "how": {"mail"}, "sender": {"a@example.com"}, "pace": {"7"}},
			[]string{`id="list-why"`, "is no mail address", "a@example.com,&lt;x&gt;</textarea>"},
		},
		"a pace that is none": {
			"/console/invitations/many", http.StatusBadRequest, url.Values{"list": {"a@example.com"}, "how": {"mail"}, "sender": {"a@example.com"}, "pace": {"many"}},
			[]string{`id="pace-why"`, `value="many"`, "a@example.com</textarea>"},
		},
		"a pace that is too much": {
			"/console/invitations/many", http.StatusBadRequest, url.Values{"list": {"a@example.com"}, "how": {"mail"}, "sender": {"a@example.com"}, "pace": {"1001"}},
			[]string{`id="pace-why"`, `value="1001"`, "1 to 1000 mails a minute"},
		},
		"a new account's device": {
			"/console/accounts", http.StatusBadRequest, url.Values{"name": {"b@example.com"}, "upstream": {"oauth"}, "mailbox": {"m@example.com"}, "device": {long}},
			[]string{`id="device-why"`, `value="` + long, `value="b@example.com"`, `value="m@example.com"`, "<option selected>oauth"},
		},
		"a test mail's address": {
			account + "/test", http.StatusBadRequest, url.Values{"to": {"Kim <kim@example.org>"}},
			[]string{`id="to-why"`, `value="Kim &lt;kim@example.org&gt;"`, "<h1>a@example.com</h1>", `href="#to"`},
		},
		"no address for a test mail": {account + "/test", http.StatusBadRequest, url.Values{}, []string{`id="to-why"`}},
		"a further device": {
			account + "/password", http.StatusBadRequest, url.Values{"device": {"a\x01b"}}, []string{`id="device-why"`, "a\x01b"},
		},
		"another name of a device": {
			device + "/name", http.StatusBadRequest, url.Values{"device": {long}},
			[]string{`id="name-` + device[strings.LastIndex(device, "/")+1:] + `-why"`, `value="` + long, `class="sure calm" open`},
		},
	} {
		page := tc.path
		if page == "/console/accounts" {
			page += "/new"
		} else if strings.HasPrefix(page, account) {
			page = account
		}
		p := c.post(t, c.get(t, page), tc.path, tc.form)
		if p.status != tc.status {
			t.Errorf("%s: %d", name, p.status)
		}
		p.want(t, tc.want...)
		if n := strings.Count(p.body, `aria-invalid="true"`); n != 1 {
			t.Errorf("%s: %d fields are marked", name, n)
		}
	}
}

// TestFormIsKeptWhereStorageFails fills forms in while the storage cannot be written: what
// was typed is not lost, and whoever has typed it is not told how the machine looks inside.
func TestFormIsKeptWhereStorageFails(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	pages := map[string]page{}
	for _, path := range []string{"/console/accounts/new", "/console/accounts/a@example.com", "/console/accounts/a@example.com/change", "/console/invitations/many"} {
		pages[path] = c.get(t, path)
	}
	version := regexp.MustCompile(`name="version" value="([^"]*)"`).FindStringSubmatch(pages["/console/accounts/a@example.com/change"].body)[1]
	// Root writes wherever it likes; not where a file is in the place of a directory.
	storage := filepath.Join(c.Dir, "storage")
	if err := os.Rename(storage, storage+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(storage, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(os.Remove(storage), os.Rename(storage+".away", storage)); err != nil {
			t.Error(err)
		}
	}()
	for _, tc := range []struct {
		page, path string
		form       url.Values
		want       []string
	}{
		{"/console/accounts/new", "/console/accounts", url.Values{"name": {"b@example.com"}, "upstream": {"sandbox"}, "device": {"Gerät"}}, []string{`value="b@example.com"`, `value="Gerät"`}},
		{"/console/accounts/a@example.com", "/console/accounts/a@example.com/password", url.Values{"device": {"Gerät"}}, []string{`value="Gerät"`}},
		{"/console/accounts/a@example.com/change", "/console/accounts/a@example.com/change", url.Values{"version": {version}, "upstream": {"sandbox"}, "senders": {"x@example.com"}}, []string{"x@example.com</textarea>"}},
		{"/console/invitations/many", "/console/invitations/many", url.Values{"list": {"a@example.com"}, "how": {"mail"}, "sender": {"a@example.com"}, "pace": {"7"}}, []string{"a@example.com</textarea>", `value="7"`}},
	} {
		p := c.post(t, pages[tc.page], tc.path, tc.form)
		if p.status != http.StatusInternalServerError {
			t.Errorf("%s: %d", tc.path, p.status)
		}
		if p.want(t, append(tc.want, `role="alert"`, "the log says what")...); strings.Contains(p.body, c.Dir) {
			t.Errorf("%s tells of the machine:\n%s", tc.path, p.body)
		}
	}
}

// TestNoSuchPage leads back from an address that is none, also from that of a form.
func TestNoSuchPage(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	for _, path := range []string{"/console/nothing", "/console/accounts/a@example.com/pause", "/console/accounts/a@example.com/x/y", "/console/pages/"} {
		p := c.do(t, http.MethodGet, path, nil)
		if p.want(t, "There is no such page", "To the overview", "<nav"); p.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, p.status)
		}
	}
}

func TestAccountIsRemoved(t *testing.T) {
	c := newConsole(t, "")
	pw := c.AddAccount(t, "a@example.com")
	p := c.get(t, "/console/accounts/a@example.com", "Yes, remove a@example.com")
	if p = c.post(t, p, "/console/accounts/a@example.com/remove", nil); p.address != "/console/accounts" {
		t.Errorf("%d %s", p.status, p.address)
	}
	c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusNotFound)
	if c.login(t, "a@example.com", pw) {
		t.Error("its device still logs in")
	}
	c.get(t, "/console/changes", "account removed")
}

// TestAccountSaysWhatItsDevicesWereRefused has a device with an old password.
func TestAccountSaysWhatItsDevicesWereRefused(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "typo@example.com")
	if c.login(t, "TYPO@example.com", "an old one") {
		t.Fatal("any password is good")
	}
	c.get(t, "/console/accounts/typo@example.com", "What its devices were refused lately", "Wrong password", "make a new one on the account")
	c.AddAccount(t, "other@example.com")
	if p := c.get(t, "/console/accounts/other@example.com"); strings.Contains(p.body, "were refused lately") {
		t.Error("another account's page has it")
	}
}

// TestLinkIsMailed has the owner's link in a mail of the operator's own.
func TestLinkIsMailed(t *testing.T) {
	c := newConsole(t, "")
	c.Do(t, "PUT", "/smtp/accounts/o@example.com", `{"upstream": "oauth", "mailbox": "o&x=1@example.com"}`).Want(http.StatusCreated)
	p := c.post(t, c.get(t, "/console/accounts/o@example.com"), "/console/accounts/o@example.com/invite", nil)
	m := regexp.MustCompile(`href="(mailto:[^"]*)"`).FindStringSubmatch(p.body)
	if m == nil {
		t.Fatalf("no mail: %s", p.body)
	}
	u, err := url.Parse(strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	link := shownPassword.FindStringSubmatch(p.body)[1]
	if q := u.Query(); !strings.Contains(q.Get("body"), "\r\n\r\n"+link+"\r\n") || !strings.Contains(q.Get("subject"), "Mail <of> Example") || len(q) != 2 {
		t.Errorf("the mail is %q", m[1])
	}
}
