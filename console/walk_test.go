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
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestEmptyPages holds that a page with nothing on it says what to do, and that the first
// page claims nothing that is not so.
func TestEmptyPages(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com\nviewers view@example.com").as(t, "op@example.com")
	if p := c.get(t, "/console/", "There is no account yet", "/console/accounts/new"); strings.Contains(p.body, "Mail can go out") {
		t.Error("mail can go out of no account")
	}
	viewer := c.as(t, "view@example.com")
	if p := viewer.get(t, "/console/", "There is no account yet"); strings.Contains(p.body, "/console/accounts/new") {
		t.Error("a viewer is sent to a form that is not for viewers")
	}
	if p := viewer.do(t, http.MethodGet, "/console/accounts/new", nil); p.status != http.StatusForbidden {
		t.Errorf("a viewer is shown the form: %d", p.status)
	}
	c.get(t, "/console/accounts", "each mailbox that sends needs one")
	c.get(t, "/console/devices", "open <a href=")
	c.get(t, "/console/invitations", "state=never_consented")
	c.AddAccount(t, "a@example.com")
	p := c.get(t, "/console/")
	if strings.Contains(p.body, "no account yet") {
		t.Error("there is one")
	}
	if answered := strings.Contains(string(c.Do(t, "GET", "/smtp/upstreams", "").Body), `"contact":"answered"`); strings.Contains(p.body, "Mail can go out") && !answered {
		t.Error("mail can go out, and nothing has asked a provider yet")
	}
	c.get(t, "/console/accounts?q=nothing", "Show all 1")
	c.get(t, "/console/devices?q=nothing", "Show all")
	// The card of an account whose owner has not agreed does not look like all is done.
	c.get(t, "/console/accounts/a@example.com/card")
	form := c.get(t, "/console/accounts/new").fill(url.Values{"name": {"o@example.com"}, "upstream": {"oauth"}})
	c.do(t, http.MethodPost, "/console/accounts", form).want(t, "the owner of the mailbox has to agree first")
	if p := c.get(t, "/console/accounts/a@example.com/card"); strings.Contains(p.body, "has to agree first") {
		t.Error("nobody has to agree to an account with a password at the provider")
	}
}

// TestManyAccounts goes through each list of thousands of accounts: every one is on one
// page, no page grows with their number, and none holds memory back. MAILGATEWAY_ACCOUNTS=10000,
// else fewer.
func TestManyAccounts(t *testing.T) {
	n := 1200
	if text := os.Getenv("MAILGATEWAY_ACCOUNTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	c := newConsole(t, "")
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"name":"user%05d@example.com","upstream":"oauth","password_hashes":["sha256:%064x"],"labels":{"floor":"%d"}}`+"\n", i, i, i%7)
	}
	if a := c.Do(t, "POST", "/smtp/accounts/import", lines.String()); a.Status != http.StatusOK || strings.Count(string(a.Body), `"created"`) != n {
		t.Fatalf("%d: %.500s", a.Status, a.Body)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	link := regexp.MustCompile(`href="/?[^"]*/console/accounts/(user\d{5}@example\.com)(?:/card[^"]*)?"`)
	next := regexp.MustCompile(`<p><a href="[^"]*/console/(?:accounts|devices)(\?[^"]*after=[^"]*)">More`)
	for _, list := range []string{"/console/accounts", "/console/devices", "/console/accounts?state=never_consented"} {
		seen, pages := make(map[string]bool), 0
		path, query, _ := strings.Cut(list, "?")
		for address := list; ; {
			p := c.get(t, address)
			if pages++; len(p.body) > 64<<10 {
				t.Fatalf("%s has %d octets", address, len(p.body))
			}
			on := make(map[string]bool)
			for _, m := range link.FindAllStringSubmatch(p.body, -1) {
				on[m[1]] = true
			}
			for name := range on {
				if seen[name] {
					t.Fatalf("%s is on two pages", name)
				}
				seen[name] = true
			}
			m := next.FindStringSubmatch(p.body)
			if m == nil {
				break
			}
			address = path + strings.ReplaceAll(m[1], "&amp;", "&")
		}
		if len(seen) != n || pages != (n+49)/50 {
			t.Errorf("%s (%s): %d of %d accounts on %d pages", list, query, len(seen), n, pages)
		}
	}
	c.get(t, "/console/", fmt.Sprintf(">%d</a>", n), fmt.Sprintf("%d accounts: ", n))
	c.get(t, fmt.Sprintf("/console/accounts?q=user%05d", n-1), "1")
	c.get(t, "/console/accounts?q=floor%3D3", "More accounts")
	c.get(t, "/console/accounts?q=nothing+like+this", "Show all")
	if after := heap(); after > before+16<<20 {
		t.Errorf("the pages hold %d KiB back", (after-before)>>10)
	}
}
