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
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestFirstRunInBrowser walks from an empty directory to a test mail that the provider
// has: `smtp setup --browser`, then nothing but the browser. The provider has
// Microsoft's manners; what is done on its own pages is the owner's consent.
func TestFirstRunInBrowser(t *testing.T) {
	browser := startChromium(t)
	const (
		client, secret = firstRunClient, firstRunSecret
		mailbox, to    = "scanner@contoso.example", "kim@example.net"
	)
	g, sb, base, home := startFirstRun(t)
	tenant := sb.base + "/contoso.example/oauth2/v2.0"
	p := &pages{browser, base, make(map[string]bool)}
	clicks := 0
	click := func(selector string) {
		t.Helper()
		clicks++
		p.click(selector)
	}
	p.first("/")
	p.matches("main", "Nothing is set up yet")
	p.inspect("setup-fresh")
	click("a:has-text('Set it up')")
	p.matches(".lead", "Step 1 of 7")
	p.inspect("setup-choice")
	click("label:has-text('Microsoft 365, each owner agrees')")
	click("button:has-text('Go on')")

	p.matches(".lead", "Step 2 of 7")
	p.matches("main", regexp.QuoteMeta(base+"/connect/callback/microsoft"))
	p.inspect("setup-answers")
	for name, value := range map[string]string{
		"tenant": "contoso.example", "client-id": client, "secret": "11111111-2222-3333-4444-555555555555", "mailbox": mailbox, "to": to, "hostname": "localhost",
	} {
		p.fill("#"+name, value)
	}
	p.click("button:has-text('Go on')") // a mistake, which counts for no click of the way
	p.matches("#secret-why", "the secret's ID")
	p.inspect("setup-answers-wrong")
	p.fill("#secret", secret)
	click("button:has-text('Go on')")

	p.matches(".lead", "Step 3 of 7")
	p.matches("pre", `Set-CASMailbox -Identity 'scanner@contoso.example'`)
	p.inspect("setup-provider")
	clicks++
	p.doubleClick("button:has-text('check it')")

	p.matches(".lead", "Step 4 of 7")
	p.matches("#checks ~ .steps", "its secret is right")
	p.inspect("setup-write")
	// Another window has the same page open; what it sends later changes nothing.
	p.do("tab", object{"number": 1}, nil)
	p.goes(base+"/setup", http.StatusOK)
	p.do("tab", object{"number": 0}, nil)
	clicks++
	p.doubleClick("button:has-text('Write them')")
	p.matches(".lead", "Step 5 of 7")
	p.do("tab", object{"number": 1}, nil)
	p.click("button:has-text('Write them')")
	p.matches(".lead", "Step 5 of 7")
	p.do("tab", object{"number": 0}, nil)
	config, err := os.ReadFile(filepath.Join(home, "Caddyfile"))
	if err != nil || strings.Count(string(config), "provider microsoft") != 1 {
		t.Fatalf("the configuration (%v):\n%s", err, config)
	}

	p.inspect("setup-account")
	p.fill("#device", `Printer "<b>2nd</b> floor"`)
	clicks++
	p.doubleClick("button:has-text('Make its password')")
	p.matches("h1", "^Device card")
	p.is(".device", `Printer "<b>2nd</b> floor"`)
	p.inspect("setup-card")
	click("a:has-text('Go on with the setup')")

	p.matches(".lead", "Step 6 of 7")
	p.inspect("setup-consent")
	click("button:has-text('Make the link')")
	link := p.text(".copy")
	p.inspect("setup-link")
	// The owner, in a window of their own: wrong, then right.
	answer := func(a sandbox.ConsentAnswer) {
		t.Helper()
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		sb.do(http.MethodPost, "/control/consents", bytes.NewReader(b))
	}
	answer(sandbox.ConsentAnswer{Mailbox: "other@contoso.example"})
	p.do("tab", object{"number": 1}, nil)
	clicks++ // Open it
	p.goes(link, http.StatusOK)
	p.click("main form button")
	p.is("h1", "That was another account")
	answer(sandbox.ConsentAnswer{})
	click("main form button")
	p.is("h1", "Your mailbox is connected")
	p.do("tab", object{"number": 0}, nil)
	p.matches("#wait", "The owner has agreed")
	p.inspect("setup-agreed")
	click("#wait a")

	p.matches(".lead", "Step 7 of 7")
	p.inspect("setup-test")
	clicks++
	p.doubleClick("button:has-text('Send it')")
	p.matches("#steps", "It was accepted")
	p.inspect("setup-trial")
	click("a:has-text('Finish the setup')")
	p.matches("main", "That is all")
	p.inspect("setup-done")
	p.do("back", nil, nil)
	p.do("reload", nil, nil)
	p.matches("#steps", "It was accepted")
	p.undisturbed("status of 400", tenant+"/authorize?")

	got := sb.waitMessages(mailbox, 1)
	if len(got) != 1 || got[0].From != mailbox || strings.Join(got[0].Rcpts, " ") != to {
		t.Errorf("the provider has %+v", got)
	}
	t.Logf("%d clicks", clicks)
	if clicks > 15 {
		t.Errorf("%d clicks, where 15 do", clicks)
	}
	for what, text := range map[string]string{"output": g.out.String(), "configuration": string(config)} {
		if strings.Contains(text, secret) {
			t.Errorf("the secret is in the %s", what)
		}
	}
}

const firstRunClient, firstRunSecret = "22222222-3333-4444-5555-666666666666", "abc8Q~made-up-secret-of-the-first-run"

// startFirstRun is a provider with Microsoft's manners, and `smtp setup --browser` in an
// empty directory.
func startFirstRun(t *testing.T) (g *gateway, sb *sandboxClient, base, home string) {
	t.Helper()
	dir := t.TempDir()
	addrs := freeAddrs(t, 6)
	ca := filepath.Join(dir, "ca.pem")
	cmd := exec.Command(gatewayBinary, "smtp", "sandbox", "--profile", "microsoft", "--smtp", addrs[0], "--smtps", addrs[1], "--http", addrs[2],
		"--client", firstRunClient+"="+firstRunSecret, "--keep-bodies", "--ca-file", ca)
	provider := start(t, cmd)
	provider.waitListening(addrs[0])
	provider.waitListening(addrs[2])
	sb = &sandboxClient{t: t, base: "http://" + addrs[2]}

	// The provider is not where Microsoft is, which flags say.
	tenant := sb.base + "/contoso.example/oauth2/v2.0"
	home, base = filepath.Join(dir, "gateway"), "http://localhost:"+addrs[3][strings.LastIndexByte(addrs[3], ':')+1:]
	cmd = exec.Command(gatewayBinary, "smtp", "setup", "--browser", "--dir", home, "--console", base,
		"--dial", addrs[0], "--token-url", tenant+"/token", "--auth-url", tenant+"/authorize", "--graph-url", sb.base, "--ca-file", ca)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CADDY_ADMIN="+addrs[4])
	g = &gateway{process: start(t, cmd)}
	g.waitOutput(base + "/setup")

	return g, sb, base, home
}
