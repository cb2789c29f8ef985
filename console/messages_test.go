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
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

func TestMessagesAreOptional(t *testing.T) {
	c := newConsole(t, "")
	c.get(t, "/console/messages", "keeps no list of its messages", "<code>messages</code>")
	c.get(t, "/console/spool", "No upstream keeps messages")
	c.get(t, "/console/health", "Certificates that devices see", "storage", "counts alone")
	page := c.get(t, "/console/accounts/new") // any page with a form
	for path, want := range map[string]int{
		"/console/spool/none/delete": http.StatusNotFound, "/console/spool/none/nonsense": http.StatusNotFound,
	} {
		if p := c.post(t, page, path, nil); p.status != want {
			t.Errorf("%s: %d, want %d", path, p.status, want)
		}
	}
}

// reload loads the console's configuration with more in the smtp app and among the upstreams.
func (c *console) reload(t *testing.T, edit func(apps map[string]any)) {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(c.Config(t, c.site), &config); err != nil {
		t.Fatal(err)
	}
	edit(config["apps"].(map[string]any))
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(body, true); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesPage(t *testing.T) {
	c := newConsole(t, "")
	pw := c.AddAccount(t, "a@example.com")
	c.reload(t, func(apps map[string]any) {
		apps["smtp"].(map[string]any)["messages"] = map[string]any{"directory": t.TempDir()}
	})
	c.get(t, "/console/messages", "There was no message yet")
	const tag = `<script>alert(1)</script>`
	c.send(t, "a@example.com", pw, "good@example.org")
	c.send(t, "a@example.com", pw, "reject-me@example.org")
	c.send(t, "a@example.com", pw, `"`+tag+`"@example.org`)
	found := c.get(t, "/console/messages?q=good@example.org", "Accepted by the provider", "a@example.com", "250 ")
	if strings.Contains(found.body, "reject-me") {
		t.Error("the search finds what it should not")
	}
	c.get(t, "/console/messages?failed=1", "reject-me@example.org", "550 5.1.1")
	c.get(t, "/console/messages?q="+url.QueryEscape(`"><script>alert(1)</script>`), "No message is like that")
	c.get(t, "/console/messages", "&lt;script&gt;")
	c.get(t, "/console/accounts/a@example.com", "Last messages", "good@example.org")
	if p := c.do(t, http.MethodGet, "/console/messages?after=nonsense", nil); p.status != http.StatusBadRequest {
		t.Errorf("a malformed cursor: %d", p.status)
	}
}

// send sends a message as a device would; the server may refuse the recipient.
func (c *console) send(t *testing.T, account, pw, to string) {
	t.Helper()
	s := gatewaytest.Session(t, gatewaytest.Dial(t, c.SMTP))
	defer s.Close()
	if err := s.Auth(plain(account, pw)); err != nil {
		t.Fatal(err)
	}
	if err := s.Mail(account); err != nil {
		t.Fatal(err)
	}
	if s.Rcpt(to) == nil {
		w, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("Subject: x\r\n\r\nx\r\n"))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Reset()
	_ = s.Quit()
}

func TestSpoolPage(t *testing.T) {
	c := newConsole(t, "")
	pw := c.AddAccount(t, "a@example.com")
	dir := t.TempDir()
	c.reload(t, func(apps map[string]any) {
		upstreams := apps["smtp_upstreams"].(map[string]any)["upstreams"].(map[string]any)
		upstreams["later"] = map[string]any{"transport": "spool", "upstream": "nowhere", "directory": dir, "always": true, "min_free": 0.001}
		nowhere := maps.Clone(upstreams["sandbox"].(map[string]any))
		nowhere["dial"] = "127.0.0.1:1" // refuses connections
		upstreams["nowhere"] = nowhere
	})
	c.get(t, "/console/spool", "later", "Nothing is kept")
	c.Do(t, http.MethodPatch, "/smtp/accounts/a@example.com", `{"upstream": "later"}`).Want(http.StatusOK)
	const tag = `<script>alert(1)</script>`
	c.send(t, "a@example.com", pw, `"`+tag+`"@example.org`)
	// Buttons are there between two attempts.
	kept := c.get(t, "/console/spool", "&lt;script&gt;")
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(kept.body, "/hold") && time.Now().Before(deadline); {
		kept = c.get(t, "/console/spool")
	}
	id := regexp.MustCompile(`/spool/([^/"]+)/hold`).FindStringSubmatch(kept.body)
	if id == nil {
		t.Fatalf("no button: %s", kept.body)
	}
	// The page waits for no attempt: while one is made, the button says so.
	steer := func(what, want string) {
		t.Helper()
		for range 1000 {
			p := c.post(t, kept, "/console/spool/"+id[1]+"/"+what, nil)
			if p.status == http.StatusConflict {
				continue
			}
			if p.status != http.StatusOK || !strings.Contains(p.body, want) {
				t.Fatalf("%s: %d\n%s", what, p.status, p.body)
			}
			return
		}
		t.Fatalf("%s: the message is always being sent", what)
	}
	steer("hold", "held by an operator")
	steer("delete", "Nothing is kept")
	if p := c.post(t, kept, "/console/spool/"+id[1]+"/release", nil); p.status != http.StatusNotFound {
		t.Errorf("a message that is gone: %d", p.status)
	}
}
