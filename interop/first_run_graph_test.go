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
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestFirstRunGraphInBrowser walks to a test mail through Microsoft Graph, without SMTP:
// an office whose administrator runs the script, and is told while it has not arrived;
// then the owner of a personal mailbox, beside it.
func TestFirstRunGraphInBrowser(t *testing.T) {
	browser := startChromium(t)
	const scanner, kim, to = "scanner@contoso.example", "kim@outlook.com", "kim@example.net"
	g, sb, base, home := startFirstRun(t)
	p := &pages{browser, base, make(map[string]bool)}
	fill := func(values map[string]string) {
		t.Helper()
		for name, value := range values {
			p.fill("#"+name, value)
		}
		p.click("button:has-text('Go on')")
	}
	p.first("/setup")
	p.click("label:has-text('through Graph, an administrator agrees once')")
	p.click("button:has-text('Go on')")
	p.matches(".lead", "Step 2 of 7")
	p.inspect("setup-graph-answers")
	fill(map[string]string{
		"tenant": "contoso.example", "client-id": firstRunClient, "secret": firstRunSecret, "object-id": "33333333-4444-5555-6666-777777777777",
		"mailbox": scanner, "to": to, "hostname": "localhost",
	})
	p.matches(".lead", "Step 3 of 7")
	p.matches("pre", `-Role "Application Mail.Send" -CustomResourceScope mailgateway`)
	p.matches("pre", `Test-ServicePrincipalAuthorization -Identity '`+firstRunClient+`' -Resource 'scanner@contoso.example'`)
	p.inspect("setup-graph-script")
	sb.do(http.MethodPost, "/faults", strings.NewReader(`{"stage": "api_head", "action": "reply", "reply": "403 ErrorAccessDenied Access is denied. Check credentials and try again.", "times": 1}`))
	p.click("button:has-text('check it')")
	p.matches(".lead", "Step 3 of 7")
	p.matches("#checks ~ .steps", "may not send as it yet")
	p.inspect("setup-graph-denied")
	p.click("button:has-text('Check again')")
	p.matches(".lead", "Step 4 of 7")
	p.matches("#checks ~ .steps", "the application may send as it")
	p.inspect("setup-graph-write")
	p.doubleClick("button:has-text('Write them')")
	p.matches(".lead", "Step 5 of 7")
	p.fill("#device", "Printer")
	p.click("button:has-text('Make its password')")
	p.click("a:has-text('Go on with the setup')")
	p.matches(".lead", "Step 7 of 7")
	p.click("button:has-text('Send it')")
	p.matches("#steps", "It was accepted")
	p.inspect("setup-graph-trial")
	p.click("a:has-text('Finish the setup')")

	p.goes(base+"/setup?step=choice", http.StatusOK)
	p.matches(".lead", "Step 1 of 7")
	p.click("label:has-text('Outlook.com or Hotmail')")
	p.click("button:has-text('Go on')")
	p.matches("main", "Personal Microsoft accounts only")
	fill(map[string]string{"client-id": firstRunClient, "secret": firstRunSecret, "mailbox": kim, "to": to, "hostname": "localhost"})
	p.matches(".lead", "Step 3 of 7")
	p.inspect("setup-personal-provider")
	p.click("button:has-text('Check it')")
	p.matches(".lead", "Step 4 of 7")
	p.click("button:has-text('Write them')")
	p.matches(".lead", "Step 5 of 7")
	p.click("button:has-text('Make its password')")
	p.click("a:has-text('Go on with the setup')")
	p.matches(".lead", "Step 6 of 7")
	p.click("button:has-text('Make the link')")
	link := p.text(".copy")
	b, err := json.Marshal(sandbox.ConsentAnswer{Mailbox: kim})
	if err != nil {
		t.Fatal(err)
	}
	sb.do(http.MethodPost, "/control/consents", bytes.NewReader(b))
	p.do("tab", object{"number": 1}, nil)
	p.goes(link, http.StatusOK)
	p.inspect("setup-personal-invited")
	p.click("main form button")
	p.is("h1", "Your mailbox is connected")
	p.do("tab", object{"number": 0}, nil)
	p.matches("#wait", "The owner has agreed")
	p.click("#wait a")
	p.matches(".lead", "Step 7 of 7")
	p.click("button:has-text('Send it')")
	p.matches("#steps", "It was accepted")
	p.click("a:has-text('Finish the setup')")
	p.matches("main", "That is all")
	p.undisturbed("status of 400", sb.base+"/contoso.example/oauth2/v2.0/authorize?")

	for _, mailbox := range []string{scanner, kim} {
		if got := sb.waitMessages(mailbox, 1); len(got) != 1 || got[0].Framing != "GRAPH" || strings.Join(got[0].Rcpts, " ") != to {
			t.Errorf("the provider has %+v", got)
		}
	}
	config, err := os.ReadFile(filepath.Join(home, "Caddyfile"))
	if err != nil || strings.Count(string(config), "transport graph") != 2 {
		t.Errorf("the configuration (%v):\n%s", err, config)
	}
	for what, text := range map[string]string{"output": g.out.String(), "configuration": string(config)} {
		if strings.Contains(text, firstRunSecret) {
			t.Errorf("the secret is in the %s", what)
		}
	}
}
