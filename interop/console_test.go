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
	"encoding/json"
	"net/http"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// consoleGateway is a gateway with something of everything that the console shows.
func consoleGateway(t *testing.T, console string) (*gateway, *pages) {
	t.Helper()
	browser := startChromium(t)
	g := startGateway(t, gatewayOptions{
		sandbox:  sandboxMailbox("full@provider.test"),
		accounts: accountBlock("full@example.com", "full@provider.test", "limits {\nmessages 3/1h\n}") + "\ndynamic\n",
		server:   "auth_failures 3 per 1m ban 5m delay off\n",
		oauth: "token_url http://{sandbox.http}/token\nauth_url http://{sandbox.http}/authorize\n" +
			"scopes smtp openid email offline_access\n",
	}, "erp@example.com", "gone@example.com")
	return g, &pages{browser, pagesSite(g, "", console), make(map[string]bool)}
}

// TestConsoleInBrowser opens every page of the console in its states, and presses
// every button.
func TestConsoleInBrowser(t *testing.T) {
	g, p := consoleGateway(t, "")
	const to = "someone@example.net"
	button := func(text string) string { return "button:has-text('" + text + "')" }
	console := p.base + "/console/"

	g.send("erp@example.com", "erp@example.com", to, 1, 250)
	p.first("/console/")
	p.is("h1", "Overview")
	p.matches("main", "Mail can go out")
	p.inspect("console-overview-calm")

	// An account of one's own, with its card.
	p.click("a:has-text('Add an account')")
	p.inspect("console-account-new")
	p.fill("#name", "scanner@example.com")
	p.fill("#mailbox", "erp@provider.test")
	p.doubleClick(button("Add, and show the device card"))
	p.matches("h1", "^Device card: scanner@example.com$")
	password := p.text(".copy")
	if len(password) < 12 {
		t.Errorf("the card's password is %q", password)
	}
	p.inspect("console-card")
	c, err := smtp.Dial(g.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", "scanner@example.com", password, "127.0.0.1")); err != nil {
		t.Errorf("the card's password: %v", err)
	}
	p.do("reload", nil, nil)
	p.matches(".card", "was shown once")

	// A test mail that arrives, and one that does not.
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.fill("#to", to)
	before := len(g.sandbox.messages("erp@provider.test"))
	p.doubleClick("form[action$='/test'] button")
	p.matches("#steps", "It was accepted")
	p.inspect("console-trial")
	if n := len(g.sandbox.messages("erp@provider.test")) - before; n != 1 {
		t.Errorf("a double click sent %d test mails", n)
	}
	p.do("back", nil, nil)
	p.fill("#to", "reject-me@example.net")
	p.click("form[action$='/test'] button")
	p.matches("#steps", "It was not sent")
	p.inspect("console-trial-failed")

	p.device(g, console)
	p.change(console)
	p.messages(g, console)
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)

	// Two windows on one account: each acts on it as it is now.
	p.do("tab", object{"number": 1}, nil)
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.click(button("Pause"))
	p.matches(".state", "Paused")
	p.do("tab", object{"number": 0}, nil)
	p.click(button("Make a link"))
	p.matches(".once", "/connect/i/")
	p.inspect("console-account")
	p.click(button("Resume"))
	p.do("tab", object{"number": 1}, nil)
	p.do("reload", nil, nil)
	if strings.Contains(p.text("main"), "Paused") {
		t.Error("the other window's change is not seen")
	}
	p.do("tab", object{"number": 0}, nil)

	// A reload of the configuration under an open page.
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	g.reload()
	p.click(button("Pause"))
	p.matches(".state", "Paused")
	p.click(button("Resume"))

	// What is wrong, with what does something about it.
	g.sandbox.do(http.MethodPost, "/control/revoke", strings.NewReader(`{"mailbox":"gone@provider.test"}`))
	g.send("gone@example.com", "gone@example.com", to, 1, 454)
	g.send("full@example.com", "full@example.com", to, 3, 250)
	for range 4 {
		bad, err := textproto.Dial("tcp", g.plain)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = bad.ReadResponse(220)
		_ = bad.PrintfLine("EHLO x\r\nAUTH PLAIN AGVycEBleGFtcGxlLmNvbQB3cm9uZ3dyb25n")
		_, _, _ = bad.ReadResponse(235)
		_, _, _ = bad.ReadResponse(235)
		_ = bad.Close()
	}
	p.goes(console, http.StatusOK)
	p.matches(".troubles", "gone@example.com")
	if os.Getenv("MAILGATEWAY_SCREENSHOTS") != "" {
		g.week()
		p.do("reload", nil, nil)
	}
	p.matches("main", "The last 24 hours")
	p.inspect("console-overview")
	p.click(".figures summary")
	p.matches(".figures td", "UTC")
	p.inspect("console-overview-figures")
	p.goes(console+"accounts", http.StatusOK)
	p.inspect("console-accounts")
	p.goes(console+"accounts?q=nothing+like+this", http.StatusOK)
	p.inspect("console-accounts-none")
	p.goes(console+"accounts/gone@example.com", http.StatusOK)
	p.matches(".alert", "(?:m|M)ake a link for the owner's consent")
	p.inspect("console-account-trouble")
	p.goes(console+"accounts/full@example.com", http.StatusOK)
	p.matches("main", "3 of 3 in 1h")
	p.inspect("console-account-limits")
	p.goes(console+"clients", http.StatusOK)
	p.inspect("console-clients")
	p.goes(console+"invitations", http.StatusOK)
	p.inspect("console-invitations")
	p.click(button("Withdraw"))
	p.matches("main", "There is none")
	p.inspect("console-invitations-none")
	p.mailing(g, console)
	p.goes(console+"upstreams", http.StatusOK)
	p.inspect("console-upstreams")
	p.goes(console+"spool", http.StatusOK)
	p.inspect("console-spool-none")
	p.goes(console+"health", http.StatusOK)
	p.matches("main", "Certificates that devices see")
	p.inspect("console-health")
	p.goes(console+"changes", http.StatusOK)
	p.matches("table", "account changed")
	p.inspect("console-changes")
	p.goes(console+"upstreams", http.StatusOK)
	p.undisturbed("status of 400", "status of 409") // of the form that was filled in wrong

	p.goes(console+"accounts/nobody@example.com", http.StatusNotFound)
	p.inspect("console-error")
	p.do("back", nil, nil)
	p.is("h1", "Upstreams")
}

// TestConsoleTimesInBrowser holds that times are those of whoever looks, and say which.
func TestConsoleTimesInBrowser(t *testing.T) {
	g, p := consoleGateway(t, "")
	g.send("erp@example.com", "erp@example.com", "someone@example.net", 1, 250)
	p.do("open", object{"url": p.base + "/console/accounts/new", "scheme": "light", "width": 1280, "height": 900, "zone": "Asia/Kathmandu"}, nil)
	p.fill("#name", "zone@example.com")
	p.click("button:has-text('Add, and show the device card')")
	p.matches("h1", "^Device card")
	p.goes(p.base+"/console/changes", http.StatusOK)
	p.matches("table time", `GMT\+5:45$`)
	var shown, said string
	p.do("attribute", object{"selector": "table time", "name": "title"}, &said)
	shown = p.text("table time")
	kathmandu := time.FixedZone("", 5*3600+45*60)
	at, err := time.Parse("2006-01-02 15:04 MST", said)
	if err != nil || shown != at.In(kathmandu).Format("2006-01-02 15:04")+" GMT+5:45" {
		t.Errorf("the page says %q, and %q as the title (%v)", shown, said, err)
	}
	p.goes(p.base+"/console/", http.StatusOK)
	p.matches("#picture", "Asia/Kath?mandu")
	p.click(".figures summary")
	p.matches(".figures td", `:45 UTC\+05:45$`)
	p.matches(".chart title", `:45 UTC\+05:45: \d`)
	p.matches(".axis", "45")
	p.matches("#picture", `Hours and days are those of Asia/Kath?mandu`)
	// The days are that zone's too, and what is read to those who do not see them.
	p.do("attribute", object{"selector": "svg.chart[aria-label^='The last 7']", "name": "aria-label"}, &said)
	if today := time.Now().In(kathmandu).Format("Mon 2 Jan"); !strings.Contains(said, today) || !strings.Contains(said, ":00 UTC+05:45") {
		t.Errorf("the picture of the week is called %q, want it to name %s", said, today)
	}
	p.inspect("console-times")
	p.undisturbed()
}

// week puts a week into the storage that a picture for the manual can show: offices send
// by day, on five days of seven.
func (g *gateway) week() {
	g.t.Helper()
	type hour struct {
		At       int64 `json:"at"`
		Accepted int   `json:"accepted"`
		Deferred int   `json:"deferred,omitempty"`
		Refused  int   `json:"refused,omitempty"`
	}
	var hours []hour
	now := time.Now().UTC().Truncate(time.Hour)
	for ago := range 7 * 24 {
		at := now.Add(-time.Duration(ago) * time.Hour)
		h := hour{At: at.Unix() / 3600, Accepted: 6 + at.Hour()%5}
		if day := at.Weekday(); day != time.Saturday && day != time.Sunday && at.Hour() >= 7 && at.Hour() < 18 {
			h.Accepted += 140 - 9*max(at.Hour()-12, 12-at.Hour())
			h.Deferred, h.Refused = at.Hour()*at.Day()%23, at.Hour()*at.Day()%9
		}
		hours = append(hours, h)
	}
	b, err := json.Marshal(object{"version": 1, "hours": hours})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(g.conf), "storage", "smtp", "history.json"), b, 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// longName is as long as a device's may be.
const longName = "Gerät der Geschäftsführung, 2nd floor, Südflügel, Zimmer 2.1"

// device gives an account another device, and takes it away again.
func (p *pages) device(g *gateway, console string) {
	p.t.Helper()
	// One more password by a double click is one more.
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.fill("#device", `Scanner "<b>2nd</b> floor"`)
	p.doubleClick("button:has-text('Make its password')")
	p.is(".device", `Scanner "<b>2nd</b> floor"`)
	password := p.text(".copy")
	p.click("summary:has-text('Canon')")
	p.matches("main", "SMTP TX port")
	p.inspect("console-card-device")
	if n := p.count("[data-print]:visible"); n != 1 {
		p.t.Errorf("%d buttons to print the card", n)
	}
	p.do("back", nil, nil)
	p.do("reload", nil, nil)
	if n := p.count("#dev ~ .scroll tbody tr"); n != 2 {
		p.t.Errorf("%d devices after a double click", n)
	}
	p.goes(console+"devices", http.StatusOK)
	p.matches("table", `Scanner "<b>2nd</b> floor"`)
	p.inspect("console-devices")

	c, err := smtp.Dial(g.plain)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", "scanner@example.com", password, "127.0.0.1")); err != nil {
		p.t.Errorf("the second device's password: %v", err)
	}
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.matches("#ses ~ .scroll", "127.0.0.1")
	p.click("tr:has-text('2nd') summary")
	p.inspect("console-account-devices")
	p.fill("tr:has-text('2nd') input[name=device]", longName)
	p.doubleClick("tr:has-text('2nd') button:has-text('Save the name')")
	p.matches("#dev ~ .scroll", "Gerät der Geschäftsführung, 2nd floor")
	p.click("tr:has-text('2nd') summary")
	p.doubleClick("tr:has-text('2nd') button:has-text('Make a new password')")
	p.is(".device", longName)
	password = p.text(".copy")
	again, err := smtp.Dial(g.plain)
	if err != nil {
		p.t.Fatal(err)
	}
	defer again.Close()
	if err := again.Auth(smtp.PlainAuth("", "scanner@example.com", password, "127.0.0.1")); err != nil {
		p.t.Errorf("the new password: %v", err)
	}
	p.goes(console+"accounts/scanner@example.com", http.StatusOK)
	p.click("tr:has-text('2nd') summary")
	p.doubleClick("tr:has-text('2nd') button:has-text('Remove it')")
	p.matches("main", `^(?![^]*2nd)[^]*made by the gateway`)
	if n := p.count("#dev ~ .scroll tbody tr"); n != 1 {
		p.t.Errorf("%d devices after one was taken away", n)
	}
	if err := c.Mail("scanner@example.com"); err == nil {
		p.t.Error("what the device had open goes on with its old password")
	}
	if err := again.Mail("scanner@example.com"); err == nil {
		p.t.Error("what the removed device has open goes on")
	}
}

// change fills the form of an account's settings in, in two windows.
func (p *pages) change(console string) {
	p.t.Helper()
	const page = "accounts/scanner@example.com/change"
	p.goes(console+page, http.StatusOK)
	p.do("tab", object{"number": 1}, nil)
	p.goes(console+page, http.StatusOK)
	p.fill("#rate", "30")
	p.doubleClick("button:has-text('Save')")
	p.is("h1", "scanner@example.com")
	p.do("tab", object{"number": 0}, nil)
	p.fill("#rate", "many")
	p.click("button:has-text('Save')")
	p.matches("#rate-why", "whole number")
	p.inspect("console-change-wrong")
	p.fill("#rate", "")
	p.fill("#messages", "2000")
	p.click("button:has-text('Save')")
	p.matches(".alert", "rate 30/1m")
	p.inspect("console-change-conflict")
	p.click("button:has-text('Save')")
	p.is("h1", "scanner@example.com")
	p.matches("main", "of 2000 in 24h")
	p.goes(console+page, http.StatusOK)
	p.inspect("console-change")
	p.fill("#messages", "")
	p.click("button:has-text('Save')")
	p.is("h1", "scanner@example.com")
}

// messages looks at the list of messages, which the configuration does not ask for at
// first.
func (p *pages) messages(g *gateway, console string) {
	p.t.Helper()
	p.goes(console+"messages", http.StatusOK)
	p.inspect("console-messages-none")
	config, err := os.ReadFile(g.conf)
	if err != nil {
		p.t.Fatal(err)
	}
	config = []byte(strings.Replace(string(config), "\tsmtp {\n", "\tsmtp {\n\t\tmessages\n", 1))
	if err := os.WriteFile(g.conf, config, 0o600); err != nil {
		p.t.Fatal(err)
	}
	g.reload()
	g.send("erp@example.com", "erp@example.com", "someone@example.net", 2, 250)
	g.send("erp@example.com", "erp@example.com", "reject-me@example.net", 1, 550)
	p.goes(console+"messages", http.StatusOK)
	p.matches("main", "reject-me@example.net")
	p.click(".messages summary")
	p.matches(".messages details[open]", "Provider's id|Answer")
	p.inspect("console-messages")
	p.fill("#q", `"><script>alert(1)</script>`)
	p.click("button:has-text('Search')")
	p.matches("main", "No message is like that")
	p.inspect("console-messages-nothing")
}

// mailing sends invitations by mail, of which one fails.
func (p *pages) mailing(g *gateway, console string) {
	p.t.Helper()
	p.goes(console+"invitations/many", http.StatusOK)
	p.inspect("console-many")
	p.fill("#list", "account,to\nerp@example.com,owner@example.net\nnobody@example.com,x@example.net\ngone@example.com,reject-me@example.net\n")
	p.click("label:has-text('The gateway mails each')")
	p.fill("#sender", "erp@example.com")
	p.fill("#pace", "1000")
	before := len(g.sandbox.messages(mailboxOf("erp@example.com")))
	p.doubleClick("button:has-text('Invite them')")
	p.matches("#progress", "1 of 3 invitations are sent[^]*2 failed[^]*done")
	p.matches("#failed ~ .scroll", "nobody@example.com[^]*reject-me@example.net")
	p.inspect("console-mailing")
	got := g.sandbox.messages(mailboxOf("erp@example.com"))
	if len(got) != before+1 {
		p.t.Fatalf("%d mails for one owner after a double click", len(got)-before)
	}
	body := strings.ReplaceAll(string(g.sandbox.body(got[len(got)-1].ID)), "=\r\n", "")
	if !strings.Contains(body, "/connect/i/") || !strings.Contains(body, "To: <owner@example.net>") {
		p.t.Errorf("the mail is\n%s", body)
	}
	p.doubleClick("button:has-text('Try those that failed again')")
	p.matches("#progress", "0 of 2 invitations are sent[^]*2 failed[^]*done")
	p.goes(console+"invitations", http.StatusOK)
	p.matches("#mailed ~ ul", "1 of 3 sent")
	p.inspect("console-invitations-mailed")
}
