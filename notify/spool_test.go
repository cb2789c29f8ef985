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

package notify_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
)

// TestSpoolIsTold goes the whole way with a spool that has room for one message:
// that it is full is told, then whose mail was given up, then that there is room.
func TestSpoolIsTold(t *testing.T) {
	type notice struct{ State, Check, Subject, Account string }
	told := make(chan notice, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var digest struct{ Notices []notice }
		if err := json.NewDecoder(r.Body).Decode(&digest); err != nil {
			t.Error(err)
		}
		for _, n := range digest.Notices {
			told <- n
		}
	}))
	defer hook.Close()
	server := gatewaytest.FreeAddress(t)
	g := gatewaytest.New(t, fmt.Sprintf(`events {
		on smtp_trouble smtp_notify {
			webhook %s
			window 1s
			interval 1s
		}
	}
	smtp {
		server devices %s {
			tls off
			spool
		}
	}
	smtp_upstreams {
		spool {
			directory %s
			encryption_key %064x
			min_free 0.001 # whatever disk the tests run on
			max_messages 1
			give_up_after 1ms
		}
	}`, hook.URL, server, filepath.Join(t.TempDir(), "own"), 7))
	plain := g.AddAccount(t, "scanner@example.com")
	fault, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.3.0 not now"})
	if err != nil {
		t.Fatal(err)
	}
	c := gatewaytest.Session(t, gatewaytest.Dial(t, server))
	if err := c.Auth(smtp.PlainAuth("", "scanner@example.com", plain, "localhost")); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("scanner@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("kim@example.org"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("Subject: scan\r\n\r\nbody\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("not kept: %v", err)
	}
	want := func(state, check, account string) {
		t.Helper()
		for deadline := time.After(60 * time.Second); ; {
			select {
			case n := <-told:
				if n.Check != "spool_full" && n.Check != "given_up" {
					continue // the machine's own, such as a disk that is nearly full
				}
				if n.State != state || n.Check != check || n.Account != account {
					t.Fatalf("told %+v, want %s of %s", n, state, check)
				}
				return
			case <-deadline:
				t.Fatalf("not told: %s of %s", state, check)
			}
		}
	}
	want("began", "spool_full", "")
	var kept struct{ Messages []struct{ ID string } }
	if out := g.MustRun(t, "", "spool", "list", "--json"); json.Unmarshal([]byte(out), &kept) != nil || len(kept.Messages) != 1 {
		t.Fatalf("kept: %s", out)
	}
	g.MustRun(t, "", "spool", "retry", kept.Messages[0].ID) // which fails once more
	want("began", "given_up", "scanner@example.com")
	g.Sandbox.RemoveFault(fault)
	want("over", "spool_full", "")
}
