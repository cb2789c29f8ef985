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

package command_test

import (
	"encoding/json"
	"fmt"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// login opens a connection and logs in.
func login(t *testing.T, g *gatewaytest.Gateway, name, password string) (*smtp.Client, error) {
	t.Helper()
	c, err := smtp.Dial(g.SMTP)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, c.Auth(smtp.PlainAuth("", name, password, "127.0.0.1"))
}

func TestSessionCommands(t *testing.T) {
	g := gatewaytest.New(t)
	const name = "alerts@example.com"
	password := g.AddAccount(t, name)
	var clients []*smtp.Client
	for range 3 {
		c, err := login(t, g, name, password)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	var list []admin.Session
	if err := json.Unmarshal([]byte(g.MustRun(t, "", "session", "list", "--account", name, "--json")), &list); err != nil || len(list) != 3 {
		t.Fatalf("%v, %+v", err, list)
	}
	if out := g.MustRun(t, "", "session", "list"); !strings.Contains(out, list[0].ID) || !strings.Contains(out, name) {
		t.Errorf("list: %s", out)
	}
	if out := g.MustRun(t, "", "session", "end", list[0].ID); out != "1 ended\n" {
		t.Errorf("end: %s", out)
	}
	if err := clients[0].Noop(); err == nil || !strings.Contains(err.Error(), "4.3.2 Session ended by the operator") {
		t.Errorf("a session that was ended: %v", err)
	}
	// It has said goodbye, and may still be on its way out.
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if out := g.MustRun(t, "", "session", "list"); !strings.Contains(out, list[0].ID) {
			break
		}
	}
	// One within a message ends after it, unless that must be at once.
	for _, c := range clients[1:] {
		if err := c.Mail(name); err != nil {
			t.Fatal(err)
		}
	}
	if out := g.MustRun(t, "", "session", "end", "--account", strings.ToUpper(name)); out != "2 ended\n" {
		t.Errorf("end: %s", out)
	}
	if err := clients[1].Rcpt("you@example.org"); err != nil {
		t.Errorf("a session within a message: %v", err)
	}
	if out := g.MustRun(t, "", "session", "end", "--now", list[2].ID); out != "1 ended\n" {
		t.Errorf("end: %s", out)
	}
	if err := clients[2].Rcpt("you@example.org"); err == nil || strings.HasPrefix(err.Error(), "4") {
		t.Errorf("a session that was ended at once: %v", err)
	}
	for _, args := range [][]string{{"session", "end"}, {"session", "end", "none"}, {"session", "end", "x", "--server", "local"}} {
		if _, stderr, err := g.Run(t, "", args...); err == nil {
			t.Errorf("%v: no error, %s", args, stderr)
		}
	}
}

func TestBanCommands(t *testing.T) {
	g := gatewaytest.New(t)
	// What has logged in from here before is let in.
	name := fmt.Sprintf("new%d@example.com", time.Now().UnixNano())
	password := g.AddAccount(t, name)
	t.Cleanup(func() { g.Do(t, "DELETE", "/smtp/bans?network=127.0.0.0/8", "") })
	// Other tests have logged in from here: that is spared for a while.
	var err error
	for i := 0; i < 100 && (err == nil || !strings.Contains(err.Error(), "421")); i++ {
		if _, err = login(t, g, fmt.Sprint("guess", i), "Summer1"); err == nil {
			t.Fatal("logged in")
		}
	}
	if _, err := login(t, g, name, password); err == nil || !strings.Contains(err.Error(), "421") {
		t.Errorf("from a banned address: %v", err)
	}
	if out := g.MustRun(t, "", "ban", "list"); !strings.Contains(out, "127.0.0.1/32") || !strings.Contains(out, "local") {
		t.Errorf("list: %s", out)
	}
	if out := g.MustRun(t, "", "refusals", "--client", "127.0.0.1", "--cause", "unknown_account"); strings.Count(out, "unknown_account") < 5 || !strings.Contains(out, "guess3") {
		t.Errorf("refusals: %s", out)
	} else if strings.Count(out, "\nunknown_account: ") != 1 {
		t.Errorf("refusals without the cause's remedy: %s", out)
	}
	var refusals []admin.Refusal
	if err := json.Unmarshal([]byte(g.MustRun(t, "", "refusals", "--cause", "banned", "--json")), &refusals); err != nil || len(refusals) != 1 || refusals[0].Remedy == "" {
		t.Errorf("%v, %+v", err, refusals)
	}
	if out, stderr, err := g.Run(t, "", "ban", "lift", "127.0.0.1", "--server", "other"); err == nil || out != "" || !strings.Contains(stderr, "field 'server': unrecognized value 'other', want local") {
		t.Errorf("lift at a server that is not there: %v, %s, %s", err, out, stderr)
	}
	if out := g.MustRun(t, "", "ban", "lift", "127.0.0.1"); out != "127.0.0.1: 1 lifted\n" {
		t.Errorf("lift: %s", out)
	}
	if _, err := login(t, g, name, password); err != nil {
		t.Errorf("after the ban was lifted: %v", err)
	}
	if _, stderr, err := g.Run(t, "", "ban", "lift", "office"); err == nil || !strings.Contains(stderr, "network") {
		t.Errorf("a network that is none: %v, %s", err, stderr)
	}
}
