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
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddymail/mailgateway/accounts/password"
)

// at is a request from an address that a trusted proxy tells of.
func at(address string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("X-Forwarded-For", address) }
}

func known(name, plain string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, plain) }
}

// behindProxy loads a console with passwords, behind a proxy that the server trusts.
func behindProxy(t *testing.T) *console {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("right horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	c := newConsole(t, "")
	c.more = []string{"servers {\ntrusted_proxies static 127.0.0.0/8\n}", strings.Replace(c.site, "name \"Mail", "password alice "+string(hash)+"\noperators alice\nname \"Mail", 1)}
	c.Load(t, c.more...)
	return c
}

// TestPasswordsAreNotGuessed has an address guess, until it is banned and costs no hash
// any more; others come in meanwhile, and who looks sees the ban and lifts it.
func TestPasswordsAreNotGuessed(t *testing.T) {
	c := behindProxy(t)
	ask := func(edit ...func(*http.Request)) page {
		t.Helper()
		return c.do(t, http.MethodGet, "/console/accounts", nil, edit...)
	}
	r := c.request(t, http.MethodGet, "/console/", nil)
	resp, err := c.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != `Basic realm="Mail <of> Example", charset="UTF-8"` {
		t.Errorf("who says no password hears %d, %q", resp.StatusCode, got)
	}
	const honest, guesser = "192.0.2.10", "198.51.100.7"
	if p := ask(at(honest), known("alice", "right horse")); p.status != http.StatusOK {
		t.Fatalf("the right password: %d\n%s", p.status, p.body)
	}
	// One that is wrong again and again is no guess more, and none at another's name slows
	// the right one down.
	for range 12 {
		if p := ask(at(guesser), known("nobody", "stale")); p.status != http.StatusUnauthorized {
			t.Fatalf("the same wrong password again: %d", p.status)
		}
	}
	status := 0
	for i := 0; i < 12 && status != http.StatusTooManyRequests; i++ {
		status = ask(at(guesser), known(fmt.Sprint("nobody", i), "wrong")).status
	}
	if status != http.StatusTooManyRequests {
		t.Fatal("twelve guesses lead to no ban")
	}
	before := password.Process().Computations()
	for i := range 20 {
		if p := ask(at(guesser), known("alice", fmt.Sprint("guess", i))); p.status != http.StatusTooManyRequests {
			t.Errorf("behind the ban: %d", p.status)
		}
	}
	if ask(at(guesser), known("alice", "right horse")).status != http.StatusTooManyRequests {
		t.Error("a banned address learns that a password is right")
	}
	if after := password.Process().Computations(); after != before {
		t.Errorf("guesses behind the ban cost hashes: %v, %v", before, after)
	}
	p := ask(at(honest), known("alice", "right horse"))
	if p.status != http.StatusOK {
		t.Errorf("another address: %d", p.status)
	}
	p = c.do(t, http.MethodGet, "/console/clients", nil, at(honest), known("alice", "right horse"))
	if !strings.Contains(p.body, guesser) || !strings.Contains(p.body, "(console)") {
		t.Errorf("the page Clients does not show the ban:\n%s", p.body)
	}
	lift := p.fill(url.Values{"server": {"(console)"}, "network": {guesser + "/32"}})
	if p := c.do(t, http.MethodPost, "/console/bans/lift", lift, at(honest), known("alice", "right horse")); p.status >= 400 {
		t.Errorf("the ban is not lifted: %d\n%s", p.status, p.body)
	}
	if p := ask(at(guesser), known("alice", "right horse")); p.status != http.StatusOK {
		t.Errorf("behind the lifted ban: %d", p.status)
	}
	// A reload forgives nobody, and a name that is no operator's is told so.
	c.Load(t, c.more...)
	c.browser.CloseIdleConnections()
	if p := ask(at(honest), known("ALICE", "right horse")); p.status != http.StatusUnauthorized {
		t.Errorf("a name in other letters: %d", p.status)
	}
}

// TestChangesSayWhoseAddress holds that the audit log has the address that a trusted proxy
// tells of.
func TestChangesSayWhoseAddress(t *testing.T) {
	c := behindProxy(t)
	alice := known("alice", "right horse")
	form := c.do(t, http.MethodGet, "/console/accounts/new", nil, at("192.0.2.33"), alice).fill(url.Values{"name": {"a@example.com"}, "upstream": {"oauth"}})
	c.do(t, http.MethodPost, "/console/accounts", form, at("192.0.2.33"), alice)
	if p := c.do(t, http.MethodGet, "/console/changes", nil, at("192.0.2.33"), alice); !strings.Contains(p.body, "192.0.2.33") {
		t.Errorf("the changes do not say from where:\n%s", p.body)
	}
}
