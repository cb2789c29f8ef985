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
	"strings"
	"testing"
)

// TestConsoleLoginInBrowser signs in at oidc-provider, in a browser.
func TestConsoleLoginInBrowser(t *testing.T) {
	g, p := loginPages(t, "operators op@example.com\nviewers @view.example.com")

	signIn := func(user string) {
		t.Helper()
		p.first("/console/accounts/erp@example.com")
		p.is("h1", "Sign in")
		p.click("a.button")
		p.signInAt(user)
	}
	p.first("/console/accounts/erp@example.com")
	p.inspect("console-login")
	signIn("op@example.com")
	p.is("h1", "erp@example.com")
	p.matches(".user", "^op@example.com$")
	p.goes(p.base+"/console/accounts/new", http.StatusOK)
	p.fill("#name", "scanner@example.com")
	p.click("button:has-text('Add, and show the device card')")
	p.matches("h1", "^Device card")
	g.waitOutput(`"msg":"account added","user":"op@example.com"`)
	p.click("button:has-text('Sign out')")
	p.matches("main", "You are signed out")
	p.do("back", nil, nil)
	p.is("h1", "Sign in") // the page before is not kept

	signIn("someone@view.example.com")
	p.is("h1", "erp@example.com")
	p.matches(".user", `\(viewer\)`)
	if n := p.count("main button"); n != 0 {
		t.Errorf("a viewer is shown %d buttons", n)
	}
	p.inspect("console-viewer")
	signIn("stranger@example.com")
	p.matches("[role=alert]", "neither an operator nor a viewer")
	p.goes(p.base+"/console/", http.StatusOK)
	p.is("h1", "Sign in")
	if strings.Contains(g.out.String(), "code=") {
		t.Error("a code is in the log")
	}
}
