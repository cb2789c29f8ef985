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
	"strings"
	"testing"
)

// TestUnderPrefix has the pages below a path that the site takes away before they see it.
func TestUnderPrefix(t *testing.T) {
	for name, site := range map[string]string{
		"handle_path":   "handle_path /gateway/* {\nCONNECT\nCONSOLE\n}",
		"one level":     "handle_path /gateway/console/* {\nCONSOLE\n}\nhandle_path /gateway/connect/* {\nCONNECT\n}",
		"handle":        "handle /gateway/* {\nCONNECT\nCONSOLE\n}",
		"strip_prefix":  "uri strip_prefix /gateway\nCONNECT\nCONSOLE",
		"nothing taken": "CONNECT\nCONSOLE",
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsole(t, "")
			site := strings.NewReplacer("CONNECT", "smtp_connect {\nurl "+c.base+"/gateway/connect\nunidentified\n}", "CONSOLE", "smtp_console {\nurl "+c.base+"/gateway/console\n}").Replace(site)
			c.Load(t, "}\n"+c.base+" {\nbind 127.0.0.1\n"+site+"\nrespond 404\n")
			c.Do(t, "PUT", "/smtp/accounts/a+b@example.com", `{"upstream": "oauth"}`).Want(http.StatusCreated)
			const at = "/gateway/console"
			p := c.get(t, at+"/accounts", "a&#43;b@example.com")
			c.get(t, at+"/console.css")
			if p := c.do(t, http.MethodGet, at, nil); p.address != at+"/" && name != "one level" {
				t.Errorf("%s leads to %s", at, p.address)
			}
			p = c.get(t, at+"/accounts/a%2Bb@example.com", "Make a link")
			p = c.do(t, http.MethodPost, at+"/accounts/a%2Bb@example.com/invite", p.fill(nil))
			link := ""
			if _, after, ok := strings.Cut(p.body, `<code class="copy">`); ok {
				link, _, _ = strings.Cut(after, "<")
			}
			if !strings.HasPrefix(link, c.base+"/gateway/connect/i/") {
				t.Fatalf("the link is %q:\n%s", link, p.body)
			}
			c.get(t, strings.TrimPrefix(link, c.base), "Connect your mailbox", c.base+"/gateway/connect/connect.css")
			for _, path := range []string{"/console/accounts", "/accounts", "/gateway/accounts", "/gatewayx/console/accounts", "/x/gateway/console/accounts"} {
				if p := c.do(t, http.MethodGet, path, nil); p.status == http.StatusOK && strings.Contains(p.body, "a&#43;b@example.com") {
					t.Errorf("%s has the accounts", path)
				}
			}
		})
	}
}

// TestAddressesAsBrowsersHaveThem writes `url` in other ways than browsers do.
func TestAddressesAsBrowsersHaveThem(t *testing.T) {
	for _, written := range []string{"http://LOCALHOST:PORT/console", "http://localhost:PORT/console/"} {
		c := newConsole(t, "")
		_, port, _ := strings.Cut(strings.TrimPrefix(c.base, "http://"), ":")
		written = strings.Replace(written, "PORT", port, 1)
		c.Load(t, "}\nhttp://localhost:"+port+" {\nbind 127.0.0.1\nsmtp_console {\nurl "+written+"\n}\n")
		c.AddAccount(t, "a@example.com")
		c.base = "http://localhost:" + port
		p := c.get(t, "/console/accounts/a@example.com", `action="`+c.base+`/console/accounts`)
		p = c.do(t, http.MethodPost, "/console/accounts/a@example.com/pause", p.fill(url.Values{}), func(r *http.Request) { r.Header.Set("Origin", c.base) })
		if p.status != http.StatusOK || !strings.Contains(p.body, "Paused") {
			t.Errorf("%s: %d\n%s", written, p.status, p.body)
		}
	}
}
