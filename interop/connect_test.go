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
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// ask asks the gateway's admin API.
func (g *gateway) ask(method, path, body string, into any) {
	g.t.Helper()
	req, err := http.NewRequest(method, "http://"+g.admin+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if method != http.MethodPost {
		// A reload of the configuration has the admin API end its connections a
		// moment later: net/http asks anew then. The header is not sent.
		req.Header["Idempotency-Key"] = nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		g.t.Fatalf("%s %s: %s %v\n%s", method, path, res.Status, err, text)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(text, into); err != nil {
		g.t.Fatalf("%s %s: %v\n%s", method, path, err, text)
	}
}

// TestConnectInBrowser takes a mailbox owner's browser to every page there is: each
// outcome is what the authorization server answers.
func TestConnectInBrowser(t *testing.T) {
	browser := startChromium(t)
	const owner = "owner@provider.test"
	upstream := "dial {sandbox.smtp}\ntls starttls {\ntrust_pool file {pki.ca}\nserver_name localhost\n}\nauth xoauth2 "
	g := startGateway(t, gatewayOptions{
		sandbox: sandboxMailbox(owner),
		oauth: "token_url http://{sandbox.http}/token\n}\nprovider microsoft {\ntenant contoso.example\n" +
			"auth_url http://{sandbox.http}/contoso.example/oauth2/v2.0/authorize\ntoken_url http://{sandbox.http}/contoso.example/oauth2/v2.0/token\n" +
			"scopes https://outlook.office.com/SMTP.Send https://outlook.office.com/Mail.Send openid email offline_access\nclient_id sandbox\nclient_secret " + sandboxSecret,
		upstream: upstream + "sandbox\n}\nupstream owners {\n" + upstream + "microsoft",
		accounts: "\ndynamic\n",
	})
	p := &pages{browser, pagesSite(g, "", ""), make(map[string]bool)}
	g.ask(http.MethodPut, "/smtp/accounts/"+owner, `{"upstream": "owners"}`, nil)
	invite := func(more string) (link, id string) {
		t.Helper()
		var made struct{ Link, ID string }
		g.ask(http.MethodPost, "/smtp/invitations", `{"account": "`+owner+`", "invited_by": "Example IT"`+more+`}`, &made)
		return made.Link, made.ID
	}
	answer := func(a sandbox.ConsentAnswer) {
		t.Helper()
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		g.sandbox.do(http.MethodPost, "/control/consents", bytes.NewReader(b))
	}
	link, _ := invite("")

	p.first(strings.TrimPrefix(link, p.base))
	p.is("h1", "Connect your mailbox")
	p.inspect("connect-invited")
	for _, c := range []struct {
		name, title, words string
		answer             sandbox.ConsentAnswer
	}{
		{"connect-wrong-account", "That was another account", "other@provider.test", sandbox.ConsentAnswer{Mailbox: "other@provider.test"}},
		{"connect-scope", "A permission is missing", "SMTP.Send", sandbox.ConsentAnswer{Unticked: []string{"https://outlook.office.com/SMTP.Send"}}},
		{"connect-no-identity", "The provider did not say who you are", "it@example.com", sandbox.ConsentAnswer{NoIDToken: true}},
		{"connect-no-refresh-token", "The consent was not complete", "", sandbox.ConsentAnswer{NoRefreshToken: true}},
		{"connect-declined", "Nothing was connected", "", sandbox.ConsentAnswer{Error: "access_denied", Description: "no"}},
		{"connect-needs-admin", "An administrator has to agree first", "Forward this link", sandbox.ConsentAnswer{Error: "access_denied", Description: "AADSTS90094: The grant requires admin permission."}},
		{"connect-failed", "That did not work", "<b>boo</b>", sandbox.ConsentAnswer{Error: "server_error", Description: "<b>boo</b>"}},
	} {
		answer(c.answer)
		p.goes(link, http.StatusOK)
		p.click("main form button")
		p.is("h1", c.title)
		p.matches("main", c.words)
		p.inspect(c.name)
		if address := p.at(); address != link {
			t.Errorf("%s: the address is %s, want that of the invitation", c.name, address)
		}
	}
	// The administrator, who was forwarded the link, says no, then yes.
	answer(sandbox.ConsentAnswer{Error: "access_denied", Description: "AADSTS90094: The grant requires admin permission."})
	p.goes(link, http.StatusOK)
	p.click("main form button")
	p.is("h1", "An administrator has to agree first")
	p.click(".link a")
	p.is("h1", "No approval was given")
	p.inspect("connect-admin-refused")
	p.do("back", nil, nil)
	answer(sandbox.ConsentAnswer{})
	p.click(".link a")
	p.is("h1", "Thank you")
	p.inspect("connect-admin-done")

	// The owner comes back, and presses twice.
	p.goes(link, http.StatusOK)
	p.doubleClick("main form button")
	p.is("h1", "Your mailbox is connected")
	p.inspect("connect-done")
	p.do("back", nil, nil)
	p.is("h1", "Your mailbox is connected")
	p.do("reload", nil, nil)
	p.is("h1", "Your mailbox is connected")

	// A consent under a reload of the configuration, in one of two windows.
	link, _ = invite("")
	p.goes(link, http.StatusOK)
	p.do("tab", object{"number": 1}, nil)
	p.goes(link, http.StatusOK)
	g.reload()
	p.click("main form button")
	p.is("h1", "Your mailbox is connected")
	p.do("tab", object{"number": 0}, nil)
	p.click("main form button")
	p.is("h1", "This invitation has been used")
	// Another browser with the same link.
	p.first("/connect/callback/microsoft?state=admin&admin_consent=True")
	p.goes(link, http.StatusGone)
	p.is("h1", "This invitation has been used")
	p.inspect("connect-used")

	link, id := invite("")
	g.ask(http.MethodDelete, "/smtp/invitations/"+id, "", nil)
	p.goes(link, http.StatusNotFound)
	p.is("h1", "There is no such invitation")
	p.inspect("connect-unknown")
	p.goes(p.base+"/connect/callback/microsoft?state=x&code=y", http.StatusBadRequest)
	p.is("h1", "Your browser came back without its invitation")
	p.inspect("connect-lost")
	link, _ = invite("")
	g.ask(http.MethodPatch, "/smtp/accounts/"+owner, `{"mailbox": "other@provider.test"}`, nil)
	p.goes(link, http.StatusGone)
	p.is("h1", "This invitation is no longer valid")
	p.inspect("connect-void")
}
