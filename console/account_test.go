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
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// audited has the audit log written to a file, and returns its lines so far.
func (c *console) audited(t *testing.T) func() []map[string]any {
	t.Helper()
	file := filepath.Join(t.TempDir(), "audit.log")
	var config map[string]any
	if err := json.Unmarshal(c.Config(t, c.site), &config); err != nil {
		t.Fatal(err)
	}
	config["logging"].(map[string]any)["logs"].(map[string]any)["audit"] = map[string]any{
		"include": []string{"http.handlers.smtp_console.audit"}, "encoder": map[string]any{"format": "json"},
		"writer": map[string]any{"output": "file", "filename": file},
	}
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(body, true); err != nil {
		t.Fatal(err)
	}
	return func() (lines []map[string]any) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, m)
		}
		return lines
	}
}

const changePage = "/console/accounts/a@example.com/change"

// settings are a form that leaves everything as it is after AddAccount.
func settings(more url.Values) url.Values {
	form := url.Values{
		"upstream": {"sandbox"}, "mailbox": {""}, "senders": {""}, "max_conns": {""}, "rate": {""}, "rate_per": {"1m"},
		"messages": {""}, "messages_per": {"24h"}, "recipients": {""}, "recipients_per": {"24h"},
	}
	maps.Copy(form, more)
	return form
}

var hiddenVersion = regexp.MustCompile(`name="version" value="([^"]*)"`)

// change sends the form of a page that is open.
func (c *console) change(t *testing.T, from page, more url.Values) page {
	t.Helper()
	form := settings(more)
	m := hiddenVersion.FindStringSubmatch(from.body)
	if m == nil {
		t.Fatalf("no form: %d\n%s", from.status, from.body)
	}
	form.Set("version", m[1])
	return c.post(t, from, changePage, form)
}

func TestChangeAccount(t *testing.T) {
	c := newConsole(t, "")
	lines := c.audited(t)
	pw := c.AddAccount(t, "a@example.com")
	p := c.change(t, c.get(t, changePage, "Change a@example.com"), url.Values{
		"senders": {"a@example.com\r\n*@example.org"}, "rate": {"2"}, "rate_per": {"1h"}, "messages": {"100"}, "max_conns": {"1"},
	})
	if p.address != "/console/accounts/a@example.com" {
		t.Fatalf("%d %s\n%s", p.status, p.address, p.body)
	}
	got := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)
	want := map[string]any{"max_conns": 1.0, "rate": "2/1h", "messages": "100/24h"}
	if l, _ := got["limits"].(map[string]any); !maps.Equal(l, want) {
		t.Errorf("limits %v, want %v", l, want)
	}
	if s, _ := got["senders"].([]any); !slices.Equal(s, []any{"a@example.com", "*@example.org"}) {
		t.Errorf("senders %v", s)
	}
	// The limits hold for what is sent, and the page says what is used of them.
	c.send(t, "a@example.com", pw, "one@example.net")
	c.get(t, "/console/accounts/a@example.com", "1 of 2 in 1h messages used", "1 of 100 in 24h messages used")
	c.get(t, changePage, `value="100"`, `<option value="1h" selected>`, "*@example.org")

	// What is emptied is gone.
	c.change(t, c.get(t, changePage), nil)
	got = c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)
	if got["limits"] != nil || got["senders"] != nil {
		t.Errorf("after emptying: %v, %v", got["limits"], got["senders"])
	}
	// Nothing of the secrets went with it.
	if got["has_secret"] != true || got["passwords"] == nil {
		t.Errorf("the secrets are gone: %v", got)
	}

	var changes [][]any
	for _, l := range lines() {
		if l["msg"] == "account changed" {
			if l["user"] != "loopback" || l["account"] != "a@example.com" || l["from"] != "127.0.0.1" {
				t.Errorf("the audit log has %v", l)
			}
			changes = append(changes, l["changes"].([]any))
		}
	}
	if len(changes) != 2 || !slices.Contains(changes[0], any("rate: 2/1h, before: none")) || !slices.Contains(changes[1], any("max_conns: none, before: 1")) {
		t.Errorf("the audit log has the changes %q", changes)
	}
}

func TestChangeThatIsWrong(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	before := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)
	for _, tc := range []struct {
		field, value, says string
	}{
		{"rate", "many", "whole number"},
		{"rate", "0", "whole number"},
		{"messages", "-1", "whole number"},
		{"messages_per", `1m"><script>alert(1)</script>`, ""}, // empty count: a period alone is nothing
		{"recipients", "99999999999999999999", "whole number"},
		{"max_conns", "1.5", "whole number"},
		{"senders", "not an address", "senders"},
		{"senders", hostile, "&lt;script&gt;"},
		{"upstream", "nowhere", "nowhere"},
		{"upstream", "", "there is no upstream"},
		{"mailbox", "a\x01b@example.com", "control characters"},
	} {
		p := c.change(t, c.get(t, changePage), url.Values{tc.field: {tc.value}})
		if tc.says == "" {
			if p.status != http.StatusOK {
				t.Errorf("%s %q: %d", tc.field, tc.value, p.status)
			}
			continue
		}
		if p.status != http.StatusBadRequest || !strings.Contains(p.body, tc.says) {
			t.Errorf("%s %q: %d\n%s", tc.field, tc.value, p.status, p.body)
		}
		if !strings.Contains(p.body, `id="`+tc.field+`-why"`) {
			t.Errorf("%s %q: nothing beside the field", tc.field, tc.value)
		}
	}
	// What was filled in is kept, and the page can be sent from there.
	p := c.change(t, c.get(t, changePage), url.Values{"rate": {"seven"}, "senders": {"b@example.com"}})
	if !strings.Contains(p.body, `value="seven"`) || !strings.Contains(p.body, ">b@example.com</textarea>") {
		t.Errorf("what was filled in is lost:\n%s", p.body)
	}
	if after := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK); after["limits"] != nil || after["senders"] != nil || after["upstream"] != before["upstream"] {
		t.Errorf("something was changed: %v", after)
	}
	if p := c.change(t, p, url.Values{"rate": {"7"}}); p.address != "/console/accounts/a@example.com" {
		t.Errorf("the mended form: %d %s", p.status, p.address)
	}
}

// TestChangeInTwoTabs has one tab's change not overwritten by the other unseen.
func TestChangeInTwoTabs(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "a@example.com")
	first, second := c.get(t, changePage), c.get(t, changePage)
	c.change(t, second, url.Values{"rate": {"5"}})
	p := c.change(t, first, url.Values{"max_conns": {"2"}})
	if p.status != http.StatusConflict || !strings.Contains(p.body, "changed in the meantime") || !strings.Contains(p.body, "rate 5/1m") {
		t.Fatalf("%d\n%s", p.status, p.body)
	}
	rate := func() any {
		l, _ := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)["limits"].(map[string]any)
		return l["rate"]
	}
	if got := rate(); got != "5/1m" {
		t.Errorf("the second tab's change is gone: %v", got)
	}
	if p := c.change(t, p, url.Values{"max_conns": {"2"}}); p.address != "/console/accounts/a@example.com" {
		t.Errorf("saved again: %d %s", p.status, p.address)
	}
	if got := rate(); got != nil {
		t.Errorf("saved again, the rate is %v", got)
	}
	// A page that is sent again, by the back button or a double click, changes
	// nothing any more.
	c.change(t, second, url.Values{"rate": {"5"}})
	if got := rate(); got != nil {
		t.Errorf("an old page was taken again: rate %v", got)
	}
}

func TestAccountOfAFile(t *testing.T) {
	c := newConsole(t, "")
	c.reload(t, func(apps map[string]any) {
		smtp := apps["smtp"].(map[string]any)
		smtp["accounts"] = append(smtp["accounts"].([]any), map[string]any{
			"source": "inline", "accounts": []any{map[string]any{"name": "fixed@example.com", "upstream": "sandbox"}},
		})
	})
	account := c.get(t, "/console/accounts/fixed@example.com", "comes from the configuration", "No password")
	if strings.Contains(account.body, "/change\"") || strings.Contains(account.body, "/pause\"") {
		t.Error("it is offered to change what cannot be changed")
	}
	for _, p := range []page{
		c.do(t, http.MethodGet, "/console/accounts/fixed@example.com/change", nil),
		c.post(t, account, "/console/accounts/fixed@example.com/change", settings(nil)),
		c.post(t, account, "/console/accounts/fixed@example.com/password", nil),
	} {
		if p.status != http.StatusConflict || !strings.Contains(p.body, "inline") && !strings.Contains(p.body, "comes from the configuration") {
			t.Errorf("%s: %d\n%s", p.address, p.status, p.body)
		}
	}
}

var (
	removeForm    = regexp.MustCompile(`/devices/([0-9a-f]+)/remove`)
	labelOfDevice = regexp.MustCompile(`device:[0-9a-f]{6,}`)
)

func TestDevices(t *testing.T) {
	c := newConsole(t, "")
	lines := c.audited(t)
	form := c.get(t, "/console/accounts/new")
	card := c.post(t, form, "/console/accounts", url.Values{"name": {"a@example.com"}, "upstream": {"sandbox"}, "device": {"Printer"}})
	first := shownPassword.FindStringSubmatch(card.body)
	if first == nil || !strings.Contains(card.body, `<p class="device">Printer</p>`) {
		t.Fatalf("no card:\n%s", card.body)
	}
	c.Do(t, "PATCH", "/smtp/accounts/a@example.com", `{"secret": "upstream-password"}`, "Content-Type", "application/merge-patch+json").Want(http.StatusOK)
	const name = `Scanner "<script>alert(1)</script>`
	card = c.post(t, c.get(t, "/console/accounts/a@example.com"), "/console/accounts/a@example.com/password", url.Values{"device": {name}})
	second := shownPassword.FindStringSubmatch(card.body)
	if second == nil || !strings.Contains(card.body, "Scanner &#34;&lt;script&gt;") {
		t.Fatalf("no card:\n%s", card.body)
	}
	account := c.get(t, "/console/accounts/a@example.com", ">Printer<", "&lt;script&gt;", "made by the gateway")
	if label := labelOfDevice.FindString(account.body); label != "" {
		t.Errorf("the names of devices are shown as labels too: %s", label)
	}
	c.get(t, "/console/devices", "Printer", "&lt;script&gt;", "a@example.com")
	if p := c.get(t, "/console/devices?q=prin"); !strings.Contains(p.body, "Printer") || strings.Contains(p.body, "Scanner") {
		t.Error("the search for a device finds something else")
	}

	// The first is taken away: the second goes on.
	session := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
	if err := session.Auth(plain("a@example.com", first[1])); err != nil {
		t.Fatal(err)
	}
	if err := session.Mail("a@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := session.Reset(); err != nil {
		t.Fatal(err)
	}
	ids := removeForm.FindAllStringSubmatch(account.body, -1)
	if len(ids) != 2 {
		t.Fatalf("%d buttons to remove:\n%s", len(ids), account.body)
	}
	remove := "/console/accounts/a@example.com/devices/" + ids[0][1] + "/remove"
	for range 2 { // a double click
		if p := c.post(t, account, remove, nil); p.address != "/console/accounts/a@example.com" || p.status != http.StatusOK || strings.Contains(p.body, "Printer<") {
			t.Errorf("after the removal: %d %s", p.status, p.address)
		}
	}
	if err := session.Mail("a@example.com"); err == nil {
		t.Error("what the removed device has open goes on")
	}
	for i, want := range []bool{false, true} {
		s := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
		if err := s.Auth(plain("a@example.com", [][]string{first, second}[i][1])); (err == nil) != want {
			t.Errorf("device %d after the removal of the first: %v", i, err)
		}
	}
	labels, _ := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)["labels"].(map[string]any)
	if len(labels) != 1 {
		t.Errorf("labels %v", labels)
	}
	// Gone is gone, from another page too.
	if p := c.post(t, c.get(t, "/console/accounts/a@example.com"), remove, nil); p.status != http.StatusNotFound {
		t.Errorf("a second removal: %d", p.status)
	}
	for _, bad := range []string{strings.Repeat("x", 61), "a\nb"} {
		if p := c.post(t, c.get(t, "/console/accounts/a@example.com"), "/console/accounts/a@example.com/password", url.Values{"device": {bad}}); p.status != http.StatusBadRequest {
			t.Errorf("device %q: %d", bad, p.status)
		}
	}
	var made, removed int
	for _, l := range lines() {
		switch {
		case l["msg"] == "password made" && l["device"] == name:
			made++
		case l["msg"] == "password removed" && l["device"] == "Printer":
			removed++
		}
		line, _ := json.Marshal(l)
		if strings.Contains(string(line), first[1]) || strings.Contains(string(line), second[1]) {
			t.Errorf("a password is in the audit log: %s", line)
		}
	}
	if made != 1 || removed != 1 {
		t.Errorf("the audit log has %d and %d lines of the devices", made, removed)
	}
}

// TestEndSessionOfAccount stays at the account.
func TestEndSessionOfAccount(t *testing.T) {
	c := newConsole(t, "")
	pw := c.AddAccount(t, "a@example.com")
	s := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
	if err := s.Auth(plain("a@example.com", pw)); err != nil {
		t.Fatal(err)
	}
	account := c.get(t, "/console/accounts/a@example.com", `name="account" value="a@example.com"`)
	id := regexp.MustCompile(`/sessions/([^/"]+)/end`).FindStringSubmatch(account.body)
	if id == nil {
		t.Fatalf("no button: %s", account.body)
	}
	for range 2 { // a double click
		if p := c.post(t, account, "/console/sessions/"+id[1]+"/end", url.Values{"account": {"a@example.com"}}); p.address != "/console/accounts/a@example.com" {
			t.Errorf("%d %s", p.status, p.address)
		}
	}
	if err := s.Noop(); err == nil {
		t.Error("the session goes on")
	}
	// Where it leads is a page of the console, whatever a form says.
	if p := c.post(t, account, "/console/sessions/none/end", url.Values{"account": {"//evil.example/"}}); p.status != http.StatusNotFound {
		t.Errorf("%d %s", p.status, p.address)
	}
}

// TestChangesNeedAnOperator sends each form of an account as a viewer and from another site.
func TestChangesNeedAnOperator(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com\nviewers view@example.com")
	c.AddAccount(t, "a@example.com")
	viewer, operator := c.as(t, "view@example.com"), c.as(t, "op@example.com")
	account := operator.get(t, "/console/accounts/a@example.com")
	id := removeForm.FindStringSubmatch(account.body)
	if id == nil {
		t.Fatal("no device")
	}
	before := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)
	for _, path := range []string{"/change", "/password", "/devices/" + id[1] + "/remove", "/pause", "/test", "/invite"} {
		path = "/console/accounts/a@example.com" + path
		form := account.fill(settings(url.Values{"rate": {"1"}, "replace": {"1"}, "to": {"x@example.net"}}))
		for who, p := range map[string]page{
			"a viewer":     viewer.do(t, http.MethodPost, path, viewer.get(t, "/console/accounts/a@example.com").fill(form)),
			"no token":     operator.do(t, http.MethodPost, path, settings(nil)),
			"another site": operator.do(t, http.MethodPost, path, form, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
			"a link":       operator.do(t, http.MethodGet, path+"?"+form.Encode(), nil),
		} {
			if p.status < 400 && (who != "a link" || !strings.HasSuffix(path, "/change")) {
				t.Errorf("%s, %s: %d", path, who, p.status)
			}
		}
	}
	after := c.Do(t, "GET", "/smtp/accounts/a@example.com", "").Want(http.StatusOK)
	b, _ := json.Marshal(before)
	if a, _ := json.Marshal(after); string(a) != string(b) {
		t.Errorf("something was changed: %s, before %s", a, b)
	}
	if p := viewer.do(t, http.MethodGet, changePage, nil); p.status != http.StatusForbidden {
		t.Errorf("a viewer is shown the form: %d", p.status)
	}
}
