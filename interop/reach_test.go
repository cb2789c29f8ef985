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
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// openAs opens a page in a window of its own, with options of the command.
func (p *pages) openAs(path string, options object) {
	p.t.Helper()
	args := object{"url": p.base + path, "scheme": "light", "width": 1280, "height": 900}
	for k, v := range options {
		args[k] = v
	}
	p.do("open", args, nil)
}

// reload loads the page anew until an element's text matches, as who has no scripts does.
func (p *pages) reload(selector, expr string) {
	p.t.Helper()
	p.do("again", object{"selector": selector, "matches": expr}, nil)
}

// TestConsoleMenuInBrowser goes by keyboard through the menu that a narrow screen has, with
// scripts and without.
func TestConsoleMenuInBrowser(t *testing.T) {
	_, p := consoleGateway(t, "")
	for name, options := range map[string]object{
		"scripts":    {"width": 320},
		"no scripts": {"width": 320, "noscript": true},
		"200 %":      {"width": 640},
	} {
		t.Run(name, func(t *testing.T) {
			p := p.in(t)
			p.openAs("/console/", options)
			if n := p.count("nav a:visible"); n != 0 {
				t.Errorf("%d links are shown by a menu that is closed", n)
			}
			p.do("press", object{"key": "Tab"}, nil) // the skip link
			p.do("press", object{"key": "Tab"}, nil)
			p.do("press", object{"key": "Enter"}, nil)
			if n := p.count("nav a:visible"); n != 10 {
				t.Errorf("the menu that is open shows %d links", n)
			}
			if options["noscript"] == nil { // axe waits for timers
				p.accessible(3)
			}
			p.none("overflow")
			p.none("spacing")
			p.none("forced")
			var tabs struct{ Reached, Problems []string }
			p.do("tabs", nil, &tabs)
			if len(tabs.Problems) > 0 || len(tabs.Reached) < 12 {
				t.Errorf("the keyboard reaches %q: %q", tabs.Reached, tabs.Problems)
			}
			p.click("nav a:visible:has-text('Health')")
			p.is("h1", "Health")
			if n := p.count("nav a:visible"); n != 0 {
				t.Errorf("%d links are shown on the page that the menu led to", n)
			}
		})
	}
	p.openAs("/console/", nil)
	if n := p.count("nav a:visible") + p.count("summary:visible:has-text('Menu')"); n != 10 {
		t.Errorf("a wide screen shows %d links and menus, want 10", n)
	}
}

// TestConsoleWithoutScripts does what an office does with scripts switched off.
func TestConsoleWithoutScripts(t *testing.T) {
	g, p := consoleGateway(t, "")
	console := p.base + "/console/"
	const to = "someone@example.net"
	button := func(text string) string { return "button:has-text('" + text + "')" }
	// What nobody has asked yet is not said to be well.
	p.openAs("/console/", object{"noscript": true})
	p.matches("main", "Whether mail can go out is not known yet")
	p.goes(console+"health", http.StatusOK)
	p.matches("main", "upstream provider[^]*not used yet since the gateway started")
	p.goes(console+"upstreams", http.StatusOK)
	p.matches("main", "not used yet[^]*not used yet")
	g.send("erp@example.com", "erp@example.com", to, 1, 250) // its consent is the mailbox's
	p.goes(console+"health", http.StatusOK)
	p.matches("main", "it answered last")
	p.goes(console, http.StatusOK)
	p.matches("main", "Mail can go out")
	p.click("a:has-text('Add an account')")
	p.fill("#name", "scanner@example.com")
	p.fill("#mailbox", "erp@provider.test")
	p.doubleClick(button("Add, and show the device card"))
	p.matches("h1", "^Device card: scanner@example.com$")
	if n := p.count("[data-print]:visible"); n != 0 {
		t.Error("a button is there that only a script can serve")
	}
	for _, scheme := range []string{"light", "dark"} {
		var paper struct {
			Sheets     int
			Text       string
			Background string
			Bad        []string
		}
		p.do("paper", object{"scheme": scheme}, &paper)
		if paper.Sheets != 1 || len(paper.Bad) > 0 || paper.Background != "rgb(255, 255, 255)" {
			t.Errorf("the card is %d sheets on %s in %s, hard to read: %q", paper.Sheets, paper.Background, scheme, paper.Bad)
		}
		for _, word := range []string{"scanner@example.com", "Server", "Port", "Password\n" + p.text(".copy")} {
			if !strings.Contains(paper.Text, word) {
				t.Errorf("%q is not on the printed card:\n%s", word, paper.Text)
			}
		}
		for _, word := range []string{"Menu", "Overview", "To the account"} {
			if strings.Contains(paper.Text, word) {
				t.Errorf("%q is on the printed card", word)
			}
		}
	}
	p.click("a:has-text('To the account')")
	p.fill("#to", to)
	p.doubleClick("form[action$='/test'] button")
	p.reload("#steps", "It was accepted")
	if got := g.sandbox.waitMessages("erp@provider.test", 2); len(got) != 2 {
		t.Errorf("%d test mails", len(got)-1)
	}
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.click(button("Pause"))
	p.matches(".state", "Paused")
	p.click(button("Resume"))
	p.fill("#device", strings.Repeat("x", 60))
	p.click(button("Make its password"))
	p.matches("h1", "^Device card")
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.click("tr:has-text('xxx') summary")
	p.click("tr:has-text('xxx') " + button("Remove it"))
	p.is("h1", "scanner@example.com")
	p.click("main a:has-text('Change')")
	p.fill("#rate", "many")
	p.click(button("Save"))
	p.matches("#rate-why", "whole number")
	p.fill("#rate", "30")
	p.click(button("Save"))
	p.is("h1", "scanner@example.com")
	p.click(button("Make a link"))
	p.matches(".once", "/connect/i/")
	p.goes(console+"invitations", http.StatusOK)
	p.click(button("Withdraw"))
	p.matches("main", "There is none")
	p.goes(console+"invitations/many", http.StatusOK)
	p.fill("#list", "account,to\nerp@example.com,owner@example.net\n")
	p.click("label:has-text('The gateway mails each')")
	p.fill("#sender", "erp@example.com")
	p.click(button("Invite them"))
	p.reload("#progress", "1 of 1 invitations are sent[^]*done")
	p.goes(console+"invitations/many", http.StatusOK)
	p.fill("#list", "erp@example.com\n")
	p.click(button("Invite them"))
	p.reload("#progress", "1 of 1 are invited")
	p.goes(console+"clients", http.StatusOK)
	p.goes(console, http.StatusOK)
	p.click(".figures summary")
	p.matches(".figures td", "UTC")
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.click("summary:has-text('Remove the account')")
	p.click(button("Yes, remove"))
	p.is("h1", "Accounts")
	p.undisturbed("status of 400")
}

// TestConnectWithoutScripts has an owner whose browser runs no scripts.
func TestConnectWithoutScripts(t *testing.T) {
	g, p := consoleGateway(t, "")
	g.ask(http.MethodPut, "/smtp/accounts/owner@provider.test", `{"upstream": "provider"}`, nil)
	var made struct{ Link string }
	g.ask(http.MethodPost, "/smtp/invitations", `{"account": "owner@provider.test"}`, &made)
	path := strings.TrimPrefix(made.Link, p.base)
	p.openAs(path, object{"noscript": true})
	for _, c := range []struct {
		answer sandbox.ConsentAnswer
		title  string
	}{
		{sandbox.ConsentAnswer{Mailbox: "other@provider.test"}, "That was another account"},
		{sandbox.ConsentAnswer{}, "Your mailbox is connected"},
	} {
		b, err := json.Marshal(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		g.sandbox.do(http.MethodPost, "/control/consents", bytes.NewReader(b))
		p.click("main form button")
		p.is("h1", c.title)
	}
}
