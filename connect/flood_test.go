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
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/sandbox"
)

// TestManyFlowsOfOneBrowser has an owner who presses the button again and again, and one
// with many invitations: what a browser carries stays what a proxy lets through, and the
// last windows are finished.
func TestManyFlowsOfOneBrowser(t *testing.T) {
	s := newSite(t)
	site, err := url.Parse(s.base)
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	carried := func() (n int) {
		for _, c := range b.Jar.Cookies(site) {
			n += len(c.String()) + 2
		}
		return n
	}
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{Error: "server_error", Description: strings.Repeat("<b>long</b> ", 100)})
	for range 12 {
		link, _ := s.invite(t, "")
		b.press(t, link, nil).want(t, "That did not work", "&lt;b&gt;long")
	}
	s.Sandbox.AnswerConsents(sandbox.ConsentAnswer{})
	link, _ := s.invite(t, "")
	var last shown
	for range 12 {
		last = b.post(t, link, nil)
	}
	if n := carried(); n > 7<<10 {
		t.Errorf("the browser carries %d octets of cookies", n)
	}
	b.get(t, last.next).want(t, "Your mailbox is connected")
}

// TestFlowThatTheWorldChangesUnder changes something between the button and the answer.
func TestFlowThatTheWorldChangesUnder(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, s *site, id string)
		title  string
		taken  bool
	}{
		"withdrawn": {func(t *testing.T, s *site, id string) {
			s.Do(t, "DELETE", "/smtp/invitations/"+id, "").Want(http.StatusNoContent)
		}, "There is no such invitation", false},
		"expired": {func(t *testing.T, s *site, id string) {
			// Whoever began in time is let in.
			file := filepath.Join(s.Dir, "storage", "smtp_connect", "invitations", id[:2], id+".json")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			inv := new(connect.Invitation)
			if err := json.Unmarshal(text, inv); err != nil {
				t.Fatal(err)
			}
			inv.Expires = time.Now()
			if text, err = json.Marshal(inv); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "Your mailbox is connected", true},
		"another mailbox": {func(t *testing.T, s *site, _ string) {
			s.Do(t, "PATCH", "/smtp/accounts/"+owner, `{"mailbox": "other@example.com"}`).Want(http.StatusOK)
		}, "This invitation is no longer valid", false},
		"account removed": {func(t *testing.T, s *site, _ string) {
			s.Do(t, "DELETE", "/smtp/accounts/"+owner, "").Want(http.StatusNoContent)
		}, "This invitation is no longer valid", false},
		"configuration loaded anew": {func(t *testing.T, s *site, _ string) { s.Load(t, s.more...) }, "Your mailbox is connected", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			link, id := s.invite(t, "")
			b := newBrowser(t)
			next := b.post(t, link, nil).next
			c.change(t, s, id)
			b.CloseIdleConnections()
			b.get(t, next).want(t, c.title)
			if c.taken {
				if got := s.state(t, owner); got == "never_consented" {
					t.Errorf("the account is %s", got)
				}
				return
			}
			if name != "account removed" {
				s.untouched(t, name)
			}
		})
	}
}

// TestAnswersThatAreNoVisit asks for the address of an answer in ways that are no browser's
// coming back: none uses up the code.
func TestAnswersThatAreNoVisit(t *testing.T) {
	s := newSite(t)
	link, _ := s.invite(t, "")
	b := newBrowser(t)
	back := b.answer(t, b.post(t, link, nil).next)
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions, "PROPFIND"} {
		r, err := http.NewRequest(method, back.String(), strings.NewReader(back.RawQuery))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
			t.Errorf("%s: %d, Allow: %s", method, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
	for what, edit := range map[string]func(url.Values){
		"a long state":          func(q url.Values) { q.Set("state", strings.Repeat("s", 4000)) },
		"the state, and more":   func(q url.Values) { q.Set("state", q.Get("state")+"x") },
		"no state":              func(q url.Values) { q.Del("state") },
		"a forged tenant alone": func(q url.Values) { q.Del("state"); q.Set("tenant", "evil.example"); q.Set("admin_consent", "True") },
	} {
		if p := b.get(t, with(back, edit)); p.status != http.StatusBadRequest {
			t.Errorf("%s: %d", what, p.status)
		}
	}
	s.untouched(t, "no visit")
	// What stands beside the code is nobody's word.
	b.get(t, with(back, func(q url.Values) {
		q.Set("tenant", "evil.example")
		q.Set("admin_consent", "True")
		q.Set("scope", "everything")
		q.Set("client_info", "e30")
	})).want(t, "Your mailbox is connected")
	link, _ = s.invite(t, "")
	back = b.answer(t, b.post(t, link, nil).next)
	b.get(t, with(back, func(q url.Values) { q.Set("code", strings.Repeat("c", 4000)) })).want(t, "That did not work")
}

// TestScannersAndOpenFlows has scanners open links by the thousand, and owners begin and
// not come back: nothing of it stays in memory.
func TestScannersAndOpenFlows(t *testing.T) {
	n := 600
	if !testing.Short() {
		n = 2000
	}
	s := newSite(t)
	s.more[0] += "\nservers {\ntrusted_proxies static 127.0.0.0/8\n}"
	s.Load(t, s.more...)
	links := make([]string, 40)
	for i := range links {
		links[i], _ = s.invite(t, "")
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	client := newBrowser(t)
	client.Jar = nil
	ask := func(method, link, from string) int {
		r, err := http.NewRequestWithContext(context.Background(), method, link, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", from)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	for i := range n {
		from := "198.51.100." + string('0'+rune(i%10))
		method := http.MethodGet
		if i%2 == 1 {
			method = http.MethodPost
		}
		ask(method, links[i%len(links)], from)
		ask(http.MethodGet, links[0][:len(links[0])-4]+"AAAA", from)
	}
	if now := heap(); now > before+4<<20 {
		t.Errorf("%d scans and flows leave %d KiB of heap", n, (now-before)>>10)
	}
	if now := runtime.NumGoroutine(); now > goroutines+20 {
		t.Errorf("%d goroutines, of %d before", now, goroutines)
	}
	// An owner among them.
	newBrowser(t).press(t, links[1], nil).want(t, "Your mailbox is connected")
}
