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
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEveryForm sends each form that there is as those who may not: whatever a page
// shows, the server says no.
func TestEveryForm(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com\nviewers view@example.com")
	source, err := os.ReadFile("handler.go")
	if err != nil {
		t.Fatal(err)
	}
	viewer, operator := c.as(t, "view@example.com"), c.as(t, "op@example.com")
	seen, form := viewer.get(t, "/console/").fill(nil), operator.get(t, "/console/accounts/new").fill(nil)
	if seen.Get("csrf") == "" {
		// A page without a form has no token: the viewer gets one of another browser.
		seen = form
	}
	n := 0
	for _, m := range regexp.MustCompile(`"POST (/[^"]*)"`).FindAllStringSubmatch(string(source), -1) {
		if m[1] == "/logout" {
			continue
		}
		n++
		path := "/console" + regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(m[1], "x")
		for who, p := range map[string]page{
			"a viewer":                          viewer.do(t, http.MethodPost, path, seen),
			"a stranger":                        c.as(t, "x@example.com").do(t, http.MethodPost, path, form),
			"who is not logged in":              c.as(t, "").do(t, http.MethodPost, path, form),
			"an operator without a token":       operator.do(t, http.MethodPost, path, nil),
			"another site":                      operator.do(t, http.MethodPost, path, form, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
			"another origin":                    operator.do(t, http.MethodPost, path, form, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }),
			"an operator with another's token":  c.as(t, "op@example.com").do(t, http.MethodPost, path, form),
			"an operator by the address's part": operator.do(t, http.MethodPost, path+"?"+form.Encode(), nil),
		} {
			if p.status != http.StatusForbidden {
				t.Errorf("%s sends %s: %d", who, m[1], p.status)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d forms were found", n)
	}
	if p := operator.get(t, "/console/changes"); !strings.Contains(p.body, "Nothing was changed here yet") {
		t.Errorf("something was changed:\n%s", p.body)
	}
}

// TestHostileMailing has a list whose every cell is an attack, and an account that
// sends nothing.
func TestHostileMailing(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "it@example.com")
	c.Do(t, "PUT", "/smtp/accounts/o@example.com", `{"upstream": "oauth"}`).Want(http.StatusCreated)
	list := "account,invited_by,delegate,to\n" +
		`"=cmd|' /C calc'!A0","<script>alert(1)</script>","""><script>alert(1)</script>",` + "\n" +
		`"<script>alert(1)</script>",x,x,a@example.org` + "\n" +
		`o@example.com,"<script>alert(1)</script>",,reject-me@example.org` + "\n" +
		`o@example.com,"<script>alert(1)</script>",,owner@example.org` + "\n"
	mail := func(more url.Values) page {
		form := url.Values{"list": {list}, "how": {"mail"}, "sender": {"it@example.com"}, "pace": {"1000"}}
		for k, v := range more {
			form[k] = v
		}
		return c.post(t, c.get(t, "/console/invitations/many"), "/console/invitations/many", form)
	}
	for name, more := range map[string]url.Values{
		"no sender": {"sender": {""}}, "an unknown sender": {"sender": {hostile}}, "no pace": {"pace": {"<script>alert(1)</script>"}},
		"too fast": {"pace": {"100000"}}, "no list": {"list": {""}}, "no address": {"list": {"account,to\no@example.com,<script>alert(1)</script>\n"}},
	} {
		if p := mail(more); p.status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, p.status)
		}
	}
	p := mail(nil)
	if !strings.HasPrefix(p.address, "/console/invitations/mailings/") {
		t.Fatalf("%d %s\n%s", p.status, p.address, p.body)
	}
	for late := time.Now().Add(30 * time.Second); !strings.Contains(p.body, "done</span>"); p = c.get(t, p.address) {
		if time.Now().After(late) {
			t.Fatalf("it does not end:\n%s", p.body)
		}
	}
	p.want(t, "1 of 4 invitations are sent", "3 failed", "&lt;script&gt;", "550 5.1.1")
	if got := c.Sandbox.Messages(); len(got) != 1 || got[0].From != "it@example.com" || got[0].Rcpts[0] != "owner@example.org" {
		t.Errorf("the provider has %+v", got)
	}
	// The link of the mail that was refused is no longer good: one invitation is left.
	if n := strings.Count(c.get(t, "/console/invitations", "1 of 4 sent").body, "/revoke\""); n != 1 {
		t.Errorf("%d invitations are open", n)
	}
	for _, what := range []string{"resume", "pause", "again", "nonsense"} {
		if q := c.post(t, p, p.address+"/"+what, nil); q.status >= 500 {
			t.Errorf("%s: %d", what, q.status)
		}
	}
	// What was begun again ends too, before its storage goes.
	for late := time.Now().Add(30 * time.Second); strings.Contains(c.get(t, "/console/invitations").body, "going on</span>"); {
		if time.Now().After(late) {
			t.Fatal("a mailing does not end")
		}
	}
	for path, want := range map[string]int{"/console/invitations/mailings/..%2f..": 404, "/console/invitations/mailings/x": 404, p.address + "?from=-5": 200, p.address + "?from=99999": 200} {
		if q := c.do(t, http.MethodGet, path, nil); q.status != want {
			t.Errorf("%s: %d", path, q.status)
		}
	}
}
