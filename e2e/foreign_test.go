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
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestForeignTextIsEscaped has a client, a provider and an authorization server
// say what deceives who reads a log, wherever their words are logged.
func TestForeignTextIsEscaped(t *testing.T) {
	// What turns text around, hides, breaks lines and moves the cursor.
	const bad = "\u202e\u2066\u200b\u2028\ufeff\u0085\U000e0001"
	mark := func(place string) string { return place + bad + "end" }
	w := newProcessWorld(t,
		withAccount(account("second@example.com", "second@example.com")),
		withAccount(account("third@example.com", "third@example.com")),
		func(w *world, _ *sandbox.App) {
			w.config["logging"] = object{"logs": object{"default": object{"level": "DEBUG"}}}
		})
	fault := func(f sandbox.Fault) func() {
		t.Helper()
		f.Action = "reply"
		id, err := w.sandbox.AddFault(f)
		if err != nil {
			t.Fatal(err)
		}
		return func() { w.sandbox.RemoveFault(id) }
	}
	p := w.run()
	login := func(user string) *client {
		t.Helper()
		c := w.dial()
		c.cmd("EHLO "+mark("hello-of-the-client"), 250)
		c.cmd("AUTH PLAIN "+plain(user, testPassword), 235)
		return c
	}

	// The provider's words, for a message, a recipient and a login.
	done := fault(sandbox.Fault{Stage: "end", Reply: "550 5.7.1 " + mark("end-of-message")})
	c := login(testUser)
	c.cmd("MAIL FROM:<"+testUser+">", 250)
	c.cmd("RCPT TO:<a@example.net>", 250)
	if rep := c.data([]byte("x\r\n")); rep.code != 550 {
		t.Errorf("the message: %s", rep)
	}
	done()
	done = fault(sandbox.Fault{Stage: "rcpt", Reply: "550 5.1.1 " + mark("recipient-refused")})
	c.cmd("MAIL FROM:<"+testUser+">", 250)
	c.cmd("RCPT TO:<a@example.net>", 550)
	c.cmd("RSET", 250)
	done()
	// A path may hold less of it: line ends and control characters are refused.
	c.cmd("MAIL FROM:<sender\u202e\u2066\u200bend@example.com> SMTPUTF8", 250)
	c.cmd("RCPT TO:<a@example.net>", 250)
	if rep := c.data([]byte("x\r\n")); rep.code != 250 {
		t.Errorf("the message of a strange sender: %s", rep)
	}
	c.cmd("QUIT", 221)
	done = fault(sandbox.Fault{Stage: "auth", Reply: "535 5.7.3 " + mark("login-of-the-provider")})
	c = login("second@example.com")
	c.cmd("MAIL FROM:<second@example.com>", 250)
	c.cmd("RCPT TO:<a@example.net>", 454)
	c.cmd("QUIT", 221)
	done()

	// The authorization server's.
	w.sandbox.FailTokens(sandbox.TokenFailure{Times: -1, Status: 400, Error: mark("oauth-error"), Mailbox: "third@example.com"})
	c = login("third@example.com")
	c.cmd("MAIL FROM:<third@example.com>", 250)
	c.cmd("RCPT TO:<a@example.net>", 454)
	c.cmd("QUIT", 221)

	// And a stranger's, up to a ban.
	for i := range 5 {
		c := w.dial()
		c.cmd("AUTH PLAIN "+base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "\x00%s@example.com\x00wrong-%d", mark("name-of-a-stranger"), i)), 535)
		c.conn.Close()
	}
	p.signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		t.Error(err)
	}

	log := p.out.String()
	for _, r := range bad {
		if i := strings.IndexRune(log, r); i >= 0 {
			t.Errorf("the log holds %+q as it is: %+q", r, log[max(0, i-200):min(len(log), i+40)])
		}
	}
	// The parser of tokens' answers replaces line ends before, that of replies, which
	// clients hear too, all of them.
	escaped := regexp.QuoteMeta(`\\u202e\\u2066\\u200b`) + `(\\\\u2028|[? ])\\\\ufeff(\\\\u0085|[? ])` + regexp.QuoteMeta(`\\U000e0001end`)
	for place, want := range map[string]string{
		"hello-of-the-client": escaped, "oauth-error": escaped, "name-of-a-stranger": escaped,
		"end-of-message": `\?+end`, "recipient-refused": `\?+end`, "login-of-the-provider": `\?+end`,
	} {
		if !regexp.MustCompile(place + want).MatchString(log) {
			t.Errorf("%s is not in the log with its escapes", place)
		}
	}
	if !strings.Contains(log, `"from":"sender\\u202e\\u2066\\u200bend@example.com"`) {
		t.Error("the sender is not in the log with its escapes")
	}
	if t.Failed() {
		t.Log(log)
	}
}
