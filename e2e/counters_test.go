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
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/smtpapp/counters"
)

// TestAccountCounters: what became of an account's messages is counted, across
// reloads, and nothing of one account counts for another.
func TestAccountCounters(t *testing.T) {
	const user = "counted@example.com"
	w := newWorld(t, withAccount(account(user, user)))
	counted := func() counters.Counters {
		c, _ := counters.Of(user)
		return c
	}
	send := func(code int) {
		t.Helper()
		c := w.dial()
		c.cmd("AUTH PLAIN "+plain(user, testPassword), 235)
		c.cmd("MAIL FROM:<"+user+">", 250)
		c.cmd("RCPT TO:<one@example.net>", 250)
		c.cmd("RCPT TO:<two@example.net>", 250)
		if rep := c.data([]byte("12345678\r\n")); rep.code != code {
			t.Fatalf("final reply %q, want %d", rep, code)
		}
		c.cmd("QUIT", 221)
	}
	send(250)
	send(250)
	w.server()["max_recipients"] = 10
	w.load()
	for _, words := range []string{"550 5.7.1 No", "451 4.3.0 Later"} {
		if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "end", Action: "reply", Reply: words, Times: 1}); err != nil {
			t.Fatal(err)
		}
	}
	send(550)
	send(451)
	if rep := w.login().send("another account's\r\n"); rep.code != 250 {
		t.Fatalf("final reply %q", rep)
	}
	got := counted()
	if got.Last.IsZero() {
		t.Error("no time of the last message")
	}
	got.Last = counters.Counters{}.Last
	want := counters.Counters{Accepted: 2, Deferred: 1, Refused: 1, Recipients: 4, Bytes: 20}
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
