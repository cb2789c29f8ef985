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

package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/sandbox"
)

// TestMessages goes the way of who asks where a message is: a device sends, the
// provider answers, the command and the API find it, also after a restart.
func TestMessages(t *testing.T) {
	option := fmt.Sprintf(`smtp {
		messages {
			directory %s
		}
	}`, filepath.Join(t.TempDir(), "messages"))
	g := gatewaytest.New(t, option)
	plain := g.AddAccount(t, "scanner@example.com")
	send := func(to ...string) error {
		c := gatewaytest.Session(t, gatewaytest.Dial(t, g.SMTP))
		if err := c.Auth(smtp.PlainAuth("", "scanner@example.com", plain, "localhost")); err != nil {
			t.Fatal(err)
		}
		if err := c.Mail("scanner@example.com"); err != nil {
			return err
		}
		accepted := 0
		for _, r := range to {
			if c.Rcpt(r) == nil {
				accepted++
			}
		}
		if accepted == 0 {
			return nil
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte("Subject: scan\r\n\r\nbody\r\n")); err != nil {
			return err
		}
		return w.Close()
	}
	if err := send("kim@example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "rcpt", Action: "reply", Nth: 1, Reply: "550 5.1.1 No such user"}); err != nil {
		t.Fatal(err)
	}
	if err := send("gone@example.org", "lee@example.org"); err != nil {
		t.Fatal(err)
	}

	find := func(query string) []*messagelog.Entry {
		t.Helper()
		var page admin.MessagePage
		answer := g.Do(t, "GET", "/smtp/messages?"+query, "")
		answer.Want(200)
		if err := json.Unmarshal(answer.Body, &page); err != nil {
			t.Fatal(err)
		}
		return page.Messages
	}
	all := find("")
	if len(all) != 2 {
		t.Fatalf("%d messages", len(all))
	}
	partly, delivered := all[0], all[1]
	if delivered.Outcome != messagelog.Delivered || delivered.ClientIP != "127.0.0.1" || delivered.Account != "scanner@example.com" ||
		delivered.Code != 250 || delivered.QueueID == "" || delivered.Upstream != "sandbox" || delivered.Server != "local" || delivered.Size == 0 {
		t.Errorf("%+v", delivered)
	}
	if partly.Outcome != messagelog.Partly || len(partly.Recipients) != 2 || partly.Recipients[0].Reply != "5.1.1 No such user" || partly.Recipients[1].Code != 0 {
		t.Errorf("%+v", partly)
	}
	for query, want := range map[string]string{
		"failed=true": partly.ID, "recipient=KIM@example.org": delivered.ID, "id=" + delivered.QueueID: delivered.ID, "text=no+such+user": partly.ID,
		"account=Scanner@example.com&recipient=lee&since=1h": partly.ID,
	} {
		if got := find(query); len(got) != 1 || got[0].ID != want {
			t.Errorf("%s: %v", query, got)
		}
	}
	for _, query := range []string{"limit=0", "failed=yes", "since=yesterday", "cursor=x", "who=me"} {
		if a := g.Do(t, "GET", "/smtp/messages?"+query, ""); a.Status != 400 || !strings.Contains(string(a.Body), `"field":"`) {
			t.Errorf("%s: %d %s", query, a.Status, a.Body)
		}
	}

	if out := g.MustRun(t, "", "messages"); !strings.Contains(out, "kim@example.org") || !strings.Contains(out, "gone@example.org +1") {
		t.Errorf("table: %s", out)
	}
	if out := g.MustRun(t, "", "messages", "--failed"); !strings.Contains(out, "550 5.1.1 No such user") || !strings.Contains(out, "accepted") {
		t.Errorf("one: %s", out)
	}
	var listed []messagelog.Entry
	if err := json.Unmarshal([]byte(g.MustRun(t, "", "messages", "--json", "--limit", "1")), &listed); err != nil || len(listed) != 1 || listed[0].ID != partly.ID {
		t.Errorf("JSON: %v (%v)", listed, err)
	}

	g.Load(t, option)
	if got := find("limit=1"); len(got) != 1 || got[0].ID != partly.ID {
		t.Errorf("after a reload: %v", got)
	}
	g.Load(t)
	if a := g.Do(t, "GET", "/smtp/messages", ""); a.Status != 404 {
		t.Errorf("without the option: %d %s", a.Status, a.Body)
	}
	g.Load(t, option)
	if got := find("recipient=lee"); len(got) != 1 || got[0].ID != partly.ID {
		t.Errorf("after it was off: %v", got)
	}
}
