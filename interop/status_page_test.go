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
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// chromium is a browser, driven by statuspage/browser.mjs.
type chromium struct {
	t     *testing.T
	stdin io.WriteCloser
	lines *bufio.Reader
}

func startChromium(t *testing.T) *chromium {
	t.Helper()
	node, path := needNode(t, "statuspage"), need(t, "chromium")[0]
	cmd := exec.Command(node, "statuspage/browser.mjs", path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	messages := newOutput()
	cmd.Stderr = messages
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // it closes the browser, then ends
		if err := cmd.Wait(); err != nil {
			t.Errorf("browser.mjs: %v", err)
		}
		if t.Failed() {
			t.Logf("browser.mjs: %s", tail(messages.String(), 20))
		}
	})
	return &chromium{t, stdin, bufio.NewReader(stdout)}
}

// do carries out a command; what it answers goes into `into`, if not nil.
func (c *chromium) do(command string, args object, into any) {
	c.t.Helper()
	line := object{"do": command}
	for k, v := range args {
		line[k] = v
	}
	b, err := json.Marshal(line)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.stdin.Write(append(b, '\n')); err != nil {
		c.t.Fatal(err)
	}
	reply, err := c.lines.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("%s: %v", b, err)
	}
	var answer struct {
		Value json.RawMessage
		Error string
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		c.t.Fatalf("%s: %v\n%s", b, err, reply)
	}
	if answer.Error != "" {
		c.t.Fatalf("%s: %s", b, answer.Error)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer.Value, into); err != nil {
		c.t.Fatalf("%s: %v\n%s", b, err, answer.Value)
	}
}

func (c *chromium) open(url, scheme string, width, height int) {
	c.t.Helper()
	var status int
	c.do("open", object{"url": url, "scheme": scheme, "width": width, "height": height}, &status)
	if status != http.StatusOK {
		c.t.Fatalf("%s: status %d", url, status)
	}
}

// is waits until the element's text is this.
func (c *chromium) is(selector, text string) {
	c.t.Helper()
	c.do("text", object{"selector": selector, "is": text}, nil)
}

// matches waits until the element's text matches this.
func (c *chromium) matches(selector, expr string) {
	c.t.Helper()
	c.do("text", object{"selector": selector, "matches": expr}, nil)
}

// none is for checks that answer with what is wrong.
func (c *chromium) none(check string) {
	c.t.Helper()
	var problems []string
	c.do(check, nil, &problems)
	for _, p := range problems {
		c.t.Errorf("%s: %s", check, p)
	}
}

// seen is what the browser said and did since the page was opened.
type seen struct {
	Console, Requests   []string
	Events, Navigations int
}

// quiet checks that the browser had nothing to complain about, went nowhere
// else and loaded the page once. `but` are complaints that are meant.
func (c *chromium) quiet(base string, but ...string) {
	c.t.Helper()
	var s seen
	c.do("seen", nil, &s)
	for _, m := range s.Console {
		if !slices.ContainsFunc(but, func(b string) bool { return strings.Contains(m, b) }) {
			c.t.Errorf("the browser's console: %s", m)
		}
	}
	if len(s.Requests) < 4 {
		c.t.Errorf("requests %q, want page, style, script and events", s.Requests)
	}
	for _, r := range s.Requests {
		if !strings.HasPrefix(r, base) {
			c.t.Errorf("a request to %s", r)
		}
	}
	if s.Navigations != 1 {
		c.t.Errorf("the page was loaded %d times", s.Navigations)
	}
}

// accessible checks structure, contrast and, with axe, everything that can be
// checked by a program.
func (c *chromium) accessible() (background string) {
	c.t.Helper()
	c.none("structure")
	var contrast struct {
		Lowest     float64
		Texts      int
		Background string
		Bad        []string
	}
	c.do("contrast", nil, &contrast)
	if contrast.Texts < 40 {
		c.t.Errorf("only %d texts on the page", contrast.Texts)
	}
	for _, b := range contrast.Bad {
		c.t.Errorf("contrast below 4.5: %s", b)
	}
	c.t.Logf("background %s: lowest contrast of %d texts %.2f", contrast.Background, contrast.Texts, contrast.Lowest)
	var violations []struct {
		Impact, ID, Help string
		Nodes            []string
	}
	c.do("axe", nil, &violations)
	for _, v := range violations {
		report := c.t.Logf
		if v.Impact == "serious" || v.Impact == "critical" {
			report = c.t.Errorf
		}
		report("axe: %s: %s: %s: %q", v.Impact, v.ID, v.Help, v.Nodes)
	}
	return contrast.Background
}

// statusSite adds a site with the status page to a gateway's configuration,
// at / with names of accounts and at /counted/ without, and loads it.
func statusSite(g *gateway) (base string) {
	g.t.Helper()
	base = "http://" + freeAddrs(g.t, 1)[0]
	config, err := os.ReadFile(g.conf)
	if err != nil {
		g.t.Fatal(err)
	}
	config = fmt.Appendf(config, `
%s {
	bind 127.0.0.1
	handle /counted/* {
		smtp_status {
			interval 1s
		}
	}
	smtp_status {
		show_accounts
		interval 1s
	}
}
`, base)
	if err := os.WriteFile(g.conf, config, 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.reload()
	g.waitListening(strings.TrimPrefix(base, "http://"))
	return base
}

// reload loads the configuration again, as `caddy reload --force` does.
func (g *gateway) reload() {
	g.t.Helper()
	config, err := os.Open(g.conf)
	if err != nil {
		g.t.Fatal(err)
	}
	defer config.Close()
	req, err := http.NewRequestWithContext(g.t.(*testing.T).Context(), http.MethodPost, "http://"+g.admin+"/load", config)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		g.t.Fatalf("POST /load: %s: %s", resp.Status, text)
	}
}

// restart ends the process and starts another with the same configuration.
func (g *gateway) restart(between func()) {
	g.t.Helper()
	g.stop()
	if g.err != nil {
		g.t.Errorf("the gateway's exit: %v, want status 0", g.err)
	}
	between()
	cmd := exec.Command(gatewayBinary, "run", "--adapter", "caddyfile", "--config", g.conf)
	cmd.Env = g.cmd.Env
	g.process = start(g.t, cmd)
	g.waitOutput("serving initial configuration")
}

// send sends n messages on one connection; the last reply's code must be `code`.
func (g *gateway) send(user, from, to string, n, code int) {
	g.t.Helper()
	c, err := smtp.Dial(g.plain)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", user, password, "127.0.0.1")); err != nil {
		g.t.Fatal(err)
	}
	for range n {
		err := func() error {
			if err := c.Mail(from); err != nil {
				return err
			}
			if err := c.Rcpt(to); err != nil {
				return err
			}
			w, err := c.Data()
			if err != nil {
				return err
			}
			if _, err := io.WriteString(w, "Subject: status\r\n\r\nx\r\n"); err != nil {
				return err
			}
			return w.Close()
		}()
		if code == 250 && err != nil || code != 250 && (err == nil || !strings.HasPrefix(err.Error(), fmt.Sprint(code))) {
			g.t.Fatalf("%s: %v, want %d", user, err, code)
		}
		if err != nil {
			_ = c.Reset()
		}
	}
	_ = c.Quit()
}

// accountBlock is an account with its mailbox at the sandbox.
func accountBlock(name, mailbox, more string) string {
	return fmt.Sprintf("\n\t\t\taccount `%s` {\n\t\t\t\tmailbox %s\n\t\t\t\tpassword_hash sha256:%s\n\t\t\t\trefresh_token %s\n\t\t\t\tupstream provider\n%s\n\t\t\t}",
		name, mailbox, sha256hex([]byte(password)), fmt.Sprintf(refreshTokenOf, mailbox), more)
}

func sandboxMailbox(mailbox string) string {
	return fmt.Sprintf("\n\t\tmailbox %s %s", mailbox, fmt.Sprintf(refreshTokenOf, mailbox))
}

func TestStatusPage(t *testing.T) {
	browser := startChromium(t)
	const (
		evil  = "<img src=x onerror=alert(1)>@example.com"
		words = "535 5.7.8 <img src=x onerror=alert(2)> & no"
		to    = "someone@example.net"
	)
	g := startGateway(t, gatewayOptions{
		sandbox: sandboxMailbox("evil@provider.test") + sandboxMailbox("near@provider.test") + sandboxMailbox("full@provider.test"),
		accounts: accountBlock(evil, "evil@provider.test", "") +
			accountBlock("near@example.com", "near@provider.test", "limits {\nmessages 10/1h\n}") +
			accountBlock("full@example.com", "full@provider.test", "limits {\nmessages 3/1h\n}"),
	}, "works@example.com", "gone@example.com")
	base := statusSite(g)

	browser.open(base+"/", "light", 1280, 900)
	browser.is("#state", "Live")
	browser.is("#ok-total", "0")
	browser.matches("#calm", "^Nothing")

	t.Run("live", func(t *testing.T) {
		g.send("works@example.com", "works@example.com", to, 4, 250)
		browser.is("#ok-total", "4")
		g.send("near@example.com", "near@example.com", to, 9, 250)
		g.send("full@example.com", "full@example.com", to, 3, 250)
		browser.is("#ok-total", "16")
		g.send("works@example.com", "works@example.com", "maxsize-1@example.net", 2, 552)
		browser.is("#perm-total", "2")
		g.sandbox.fault(sandbox.Fault{Stage: "end", Action: "reply", Reply: "451 4.3.0 Not now", Mailbox: "works@provider.test", Times: 1})
		g.send("works@example.com", "works@example.com", to, 1, 451)
		browser.is("#temp-total", "1")
		browser.is("#upstreams tbody tr td:nth-child(8)", "3")
		browser.is("#line-ok[d*='L']", "") // a path's points are in an attribute
	})
	t.Run("what to do", func(t *testing.T) {
		g.sandbox.do(http.MethodPost, "/control/revoke", strings.NewReader(`{"mailbox":"gone@provider.test"}`))
		g.sandbox.fault(sandbox.Fault{Stage: "auth", Action: "reply", Reply: words, Mailbox: "evil@provider.test"})
		g.send("gone@example.com", "gone@example.com", to, 1, 454)
		g.send(evil, "evil@example.com", to, 1, 454)
		browser.is("#a-total", "5")
		browser.is("#a-consent", "1")
		browser.is("#a-cut-off", "1")
		browser.is("#a-limited", "2")
		var rows [][]string
		browser.do("rows", object{"selector": "#notices"}, &rows)
		for _, want := range [][]string{
			{"needs consent", "gone@example.com", "", "caddy smtp login"},
			{"no connection", evil, "<img src=x onerror=alert(2)> & no", ""},
			{"limit reached", "full@example.com", "all 3 messages in 1h at provider are used", ""},
			{"near limit", "near@example.com", "9 of 10 messages in 1h at provider are used", ""},
		} {
			if !slices.ContainsFunc(rows, func(row []string) bool {
				return row[0] == want[0] && row[1] == want[1] && strings.Contains(row[2], want[2]) && strings.Contains(row[3], want[3])
			}) {
				t.Errorf("no row %q in %q", want, rows)
			}
		}
		if len(rows) != 4 || rows[0][0] != "needs consent" || rows[3][0] != "near limit" {
			t.Errorf("rows %q, want four, the most urgent first", rows)
		}
		for _, row := range rows {
			if row[2] == "" || row[3] == "" || strings.Contains(row[3], "`") {
				t.Errorf("row %q: no cause, or nothing to do", row)
			}
		}
		// An account's name and a provider's words are text, whatever they hold.
		var images int
		browser.do("countOf", object{"selector": "img"}, &images)
		if images != 0 {
			t.Errorf("%d images were made of text", images)
		}
	})
	browser.quiet(base + "/")

	t.Run("light and dark", func(t *testing.T) {
		light := browser.accessible()
		browser.do("media", object{"scheme": "dark"}, nil)
		dark := browser.accessible()
		if light == dark {
			t.Errorf("light and dark have the same background %s", light)
		}
		browser.do("media", object{"scheme": "light"}, nil)
	})
	t.Run("keyboard", func(t *testing.T) {
		for _, width := range []int{1280, 800, 360} {
			browser.do("size", object{"width": width, "height": 900}, nil)
			browser.do("open", object{"url": base + "/", "scheme": "light", "width": width, "height": 900}, nil)
			browser.is("#state", "Live")
			var tabs struct{ Reached, Problems []string }
			browser.do("tabs", nil, &tabs)
			for _, p := range tabs.Problems {
				t.Errorf("%d wide: %s", width, p)
			}
			if len(tabs.Reached) < 3 || tabs.Reached[0] != "Skip to the figures" {
				t.Errorf("%d wide: the Tab key reaches %q", width, tabs.Reached)
			}
		}
		press := func(keys ...string) {
			for _, k := range keys {
				browser.do("press", object{"key": k}, nil)
			}
		}
		focused := func(want string) {
			t.Helper()
			var at string
			browser.do("focused", nil, &at)
			if at != want {
				t.Errorf("the focus is at %q, want %q", at, want)
			}
		}
		browser.open(base+"/", "light", 1280, 900)
		browser.is("#state", "Live")
		press("Tab")
		focused("skip")
		press("Enter")
		focused("main")
		press("Shift+Tab", "Shift+Tab")
		focused("pause")
		press("Space")
		browser.is("#state", "Paused")
		press("Enter")
		browser.is("#state", "Live")
	})
	t.Run("narrow", func(t *testing.T) {
		for _, width := range []int{360, 320, 800} {
			browser.open(base+"/", "dark", width, 800)
			browser.is("#state", "Live")
			browser.matches("#notices", "needs consent")
			browser.none("overflow")
			browser.accessible()
		}
	})
	t.Run("without names", func(t *testing.T) {
		// A refused login is not remembered for long.
		g.send(evil, "evil@example.com", to, 1, 454)
		browser.open(base+"/counted/any/path", "light", 1280, 900)
		browser.is("#a-consent", "1")
		var rows [][]string
		browser.do("rows", object{"selector": "#notices"}, &rows)
		if len(rows) != 4 {
			t.Errorf("rows %q, want four", rows)
		}
		for _, row := range rows {
			if row[1] != "1" || strings.Contains(strings.Join(row, " "), "@") || strings.Contains(row[2], "onerror") {
				t.Errorf("row %q, want a number and no name", row)
			}
		}
		browser.quiet(base + "/counted/")
	})
	t.Run("connection lost", func(t *testing.T) { testReconnect(t, browser, g, base) })
}

// testReconnect: over reload, restart and a proxy that answers for a gateway
// that is away, the page says what is the matter and comes back by itself.
func testReconnect(t *testing.T, browser *chromium, g *gateway, base string) {
	browser.open(base+"/", "light", 1280, 900)
	browser.is("#state", "Live")
	browser.is("#ok-total", "16")

	g.reload()
	browser.do("was", object{"matches": `^Connection lost at \d\d:\d\d:\d\d, trying again$`}, nil)
	browser.is("#state", "Live")
	g.send("works@example.com", "works@example.com", "someone@example.net", 1, 250)
	browser.is("#ok-total", "17")
	var states []string
	browser.do("states", nil, &states)
	if len(states) != 3 {
		t.Errorf("states %q, want live, lost, live", states)
	}
	browser.quiet(base + "/")

	g.restart(func() {
		browser.matches("#state", "^Connection lost")
		browser.accessible()
	})
	browser.is("#state", "Live")
	browser.is("#ok-total", "0") // counters belong to the process
	g.send("works@example.com", "works@example.com", "someone@example.net", 2, 250)
	browser.is("#ok-total", "2")

	browser.do("states", nil, &states)
	browser.do("refuse", object{"times": 2}, nil)
	g.reload()
	browser.do("was", object{"matches": "^Connection lost", "from": len(states)}, nil)
	browser.is("#state", "Live")
	browser.quiet(base+"/", "net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "502 (Bad Gateway)")
}

// TestStatusPageScreenshots makes the manual's pictures of the page, in the
// directory that MAILGATEWAY_SCREENSHOTS names.
func TestStatusPageScreenshots(t *testing.T) {
	dir := os.Getenv("MAILGATEWAY_SCREENSHOTS")
	if dir == "" {
		t.Skip("MAILGATEWAY_SCREENSHOTS is not set")
	}
	browser := startChromium(t)
	const to = "someone@example.net"
	g := startGateway(t, gatewayOptions{
		sandbox: sandboxMailbox("newsletter@provider.test") + sandboxMailbox("reports@provider.test"),
		accounts: accountBlock("newsletter@example.com", "newsletter@provider.test", "limits {\nmessages 300/1h\n}") +
			accountBlock("reports@example.com", "reports@provider.test", "limits {\nmessages 20/1h\n}"),
	}, "erp@example.com", "invoices@example.com", "alerts@example.com", "scanner@example.com", "crm@example.com")
	base := statusSite(g)
	g.sandbox.do(http.MethodPost, "/control/revoke", strings.NewReader(`{"mailbox":"invoices@provider.test"}`))
	g.sandbox.fault(sandbox.Fault{
		Stage: "auth", Action: "reply", Mailbox: "scanner@provider.test",
		Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
	})
	browser.open(base+"/", "light", 1280, 900)
	browser.is("#state", "Live")
	for _, user := range []string{"invoices@example.com", "scanner@example.com"} {
		g.send(user, user, to, 1, 454)
	}
	g.send("reports@example.com", "reports@example.com", to, 19, 250)
	// The chart needs a while of traffic that goes up and down.
	sent, refused := 19, 0
	for tick := range 80 {
		n := 2 + tick%7 + 9*(tick/16%2)
		user := []string{"erp@example.com", "alerts@example.com", "crm@example.com"}[tick%3]
		g.send(user, user, to, n, 250)
		sent += n
		if sent < 1000 && tick%8 == 0 {
			g.send("newsletter@example.com", "newsletter@example.com", to, 30, 250)
			sent += 30
		}
		if tick%11 == 5 {
			g.send(user, user, "maxsize-1@example.net", 1, 552)
			refused++
		}
		browser.is("#perm-total", fmt.Sprint(refused))
		browser.do("next", nil, nil)
	}
	browser.matches("#notices", "near limit")
	shoot := func(name string, full bool) {
		browser.do("screenshot", object{"path": filepath.Join(dir, "status-"+name+".png"), "full": full}, nil)
	}
	for _, scheme := range []string{"light", "dark"} {
		browser.do("media", object{"scheme": scheme}, nil)
		browser.do("size", object{"width": 1280, "height": 900}, nil)
		shoot(scheme, false)
		browser.do("size", object{"width": 400, "height": 900}, nil)
		shoot(scheme+"-narrow", false)
		shoot(scheme+"-narrow-full", true)
	}
}
