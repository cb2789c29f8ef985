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

package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestStatusPage: what the page is told is what happened.
func TestStatusPage(t *testing.T) {
	web := freeAddr(t)
	w := newWorld(t, withAccount(account("gone@example.com", "gone@example.com")),
		func(w *world, _ *sandbox.App) {
			w.config["apps"].(object)["http"] = object{"servers": object{"status": object{
				"listen": []string{web},
				"routes": []any{object{"handle": []any{object{"handler": "smtp_status", "show_accounts": true, "interval": "1s"}}}},
			}}}
		})
	w.sandbox.RevokeMailbox("gone@example.com")
	resp, err := http.Get("http://" + web + "/?events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (s struct {
		Total     map[string]float64
		Upstreams []struct {
			Name        string
			Connections struct{ Idle int }
		}
		Accounts struct {
			Total   int
			Consent int `json:"needs_consent"`
			Notices []struct{ Account, State, Cause, Remedy string }
		}
	}) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &s); err != nil {
					t.Fatal(err)
				}
				return s
			}
		}
		t.Fatalf("the events ended: %v", lines.Err())
		return s
	}
	before := next()
	if before.Accounts.Total != 2 {
		t.Errorf("%d accounts, want 2", before.Accounts.Total)
	}
	for range 3 {
		if rep := w.login().send("x\r\n"); rep.code != 250 {
			t.Fatalf("final reply %q", rep)
		}
	}
	gone := w.dial()
	gone.cmd("AUTH PLAIN "+plain("gone@example.com", testPassword), 235)
	gone.cmd("MAIL FROM:<gone@example.com>", 250)
	gone.cmd("RCPT TO:<someone@example.net>", 454)
	for { // accounts are gone through every ten seconds
		s := next()
		if s.Accounts.Consent == 0 {
			continue
		}
		if n := s.Total["2xx"] - before.Total["2xx"]; n != 3 {
			t.Errorf("%v messages, want 3", n)
		}
		if len(s.Upstreams) != 1 || s.Upstreams[0].Connections.Idle != 1 {
			t.Errorf("upstreams %+v, want one with one idle connection", s.Upstreams)
		}
		if len(s.Accounts.Notices) != 1 || s.Accounts.Notices[0].Account != "gone@example.com" || s.Accounts.Notices[0].Remedy == "" {
			t.Errorf("notices %+v", s.Accounts.Notices)
		}
		return
	}
}
