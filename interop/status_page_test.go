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
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// statusTexts are at least on the status page.
const statusTexts = 40

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

// send sends n messages on one connection; the reply to each must be `code`.
func (g *gateway) send(user, from, to string, n, code int) {
	g.t.Helper()
	if err := g.trySend(user, from, to, n, code); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) trySend(user, from, to string, n, code int) error {
	c, err := smtp.Dial(g.plain)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", user, password, "127.0.0.1")); err != nil {
		return err
	}
	message := func() error {
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
	}
	for range n {
		err := message()
		got := 250
		if reply, ok := errors.AsType[*textproto.Error](err); ok {
			got = reply.Code
		} else if err != nil {
			return err
		}
		if got != code {
			return fmt.Errorf("%s: %w, want %d", user, cmp.Or(err, errors.New("250")), code)
		}
		if err == nil {
			continue
		}
		if err := c.Reset(); err != nil {
			return err
		}
	}
	return c.Quit()
}

// accountBlock is an account with its mailbox at the sandbox.
func accountBlock(name, mailbox, more string) string {
	return fmt.Sprintf("\n\t\t\taccount `%s` {\n\t\t\t\tmailbox %s\n\t\t\t\tpassword_hash sha256:%s\n\t\t\t\trefresh_token %s\n\t\t\t\tupstream provider\n%s\n\t\t\t}",
		name, mailbox, sha256hex([]byte(password)), fmt.Sprintf(refreshTokenOf, mailbox), more)
}

// accountsFile is a file of accounts with one, with its mailbox at the sandbox.
func accountsFile(t *testing.T, name, mailbox string) string {
	t.Helper()
	line, err := json.Marshal(map[string]any{
		"name": name, "mailbox": mailbox, "upstream": "provider", "refresh_token": fmt.Sprintf(refreshTokenOf, mailbox),
		"password_hashes": []string{"sha256:" + sha256hex([]byte(password))},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "accounts.jsonl")
	if err := os.WriteFile(file, append(line, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return "\n\t\t\tfile " + file
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
		// A Caddyfile takes no such name; a file that another program writes may have it.
		accounts: accountsFile(t, evil, "evil@provider.test") +
			accountBlock("near@example.com", "near@provider.test", "limits {\nmessages 10/1h\n}") +
			accountBlock("full@example.com", "full@provider.test", "limits {\nmessages 3/1h\n}"),
	}, "works@example.com", "gone@example.com")
	base := statusSite(g)

	browser.open(base+"/", "light", 1280, 900)
	browser.is("#state", "Live")
	browser.is("#ok-total", "0")
	browser.matches("#calm", "^Nothing")

	t.Run("live", func(t *testing.T) {
		browser := browser.in(t)
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
		browser := browser.in(t)
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
			{"needs consent", "gone@provider.test", "", "mailgateway smtp login"},
			{"no connection", evil, "<img src=x onerror=alert(2)> & no", ""},
			{"limit reached", "full@example.com", "All 3 messages in 1h at provider are used", ""},
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
		browser := browser.in(t)
		if browser.count("[role=status]") == 0 {
			t.Error("no status for who cannot see")
		}
		light := browser.accessible(statusTexts)
		browser.do("media", object{"scheme": "dark"}, nil)
		dark := browser.accessible(statusTexts)
		if light == dark {
			t.Errorf("light and dark have the same background %s", light)
		}
		browser.do("media", object{"scheme": "light"}, nil)
	})
	t.Run("keyboard", func(t *testing.T) {
		browser := browser.in(t)
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
		browser := browser.in(t)
		for _, width := range []int{360, 320, 800} {
			browser.open(base+"/", "dark", width, 800)
			browser.is("#state", "Live")
			browser.matches("#notices", "needs consent")
			browser.none("overflow")
			browser.accessible(statusTexts)
		}
	})
	t.Run("without names", func(t *testing.T) {
		browser := browser.in(t)
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
	t.Run("connection lost", func(t *testing.T) { testReconnect(t, browser.in(t), g, base) })
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
		browser.accessible(statusTexts)
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
