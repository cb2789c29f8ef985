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

package smtpapp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// states are scripts that bring a session into each of its states.
var states = map[string]string{
	"fresh": `
		M: 220`,
	"hello": `
		M: 220
		C: EHLO c
		M: 250`,
	"authenticated": `
		LOGIN`,
	"mail": `
		LOGIN
		C: MAIL FROM:<old@example.com>
		M: 250`,
	"rcpt": `
		LOGIN
		C: MAIL FROM:<old@example.com>
		M: 250
		C: RCPT TO:<stale@example.org>
		M: 250`,
	"refused-rcpt": `
		LOGIN
		C: MAIL FROM:<old@example.com>
		M: 250
		C: RCPT TO:<refused@example.org>
		M: 550`,
	"chunk": `
		LOGIN
		C: MAIL FROM:<old@example.com>
		M: 250
		C: RCPT TO:<stale@example.org>
		M: 250
		C: BDAT 5
		Q: "abc\r\n"
		M: 250`,
	"failed-chunk": `
		LOGIN
		C: MAIL FROM:<old@example.com>
		M: 250
		C: RCPT TO:<stale@example.org>
		M: 250
		C: BDAT 1048577
		Q: "` + strings.Repeat("x", 1<<20+1) + `"
		M: 554`,
	"sent": `
		LOGIN
		C: MAIL FROM:<old@example.com>
		M: 250
		C: RCPT TO:<b@example.org>
		M: 250
		C: BDAT 5 LAST
		Q: "abc\r\n"
		M: 250`,
}

// matrix says what each command answers in each state.
var matrix = []struct {
	command string
	want    map[string]string // by state; "" for all others
}{
	{"EHLO again", map[string]string{"": "250"}},
	{"HELO again", map[string]string{"": "250 mail.test"}},
	{"EHLO", map[string]string{"": "501 5.5.4", "chunk": "501 5.5.4"}},
	{"RSET", map[string]string{"": "250 2.0.0"}},
	{"RSET now", map[string]string{"": "501 5.5.4"}},
	{"NOOP", map[string]string{"": "250 2.0.0"}},
	{"NOOP whatever", map[string]string{"": "250 2.0.0"}},
	{"HELP", map[string]string{"": "214 2.0.0", "chunk": "503 5.5.1"}},
	{"VRFY someone", map[string]string{"": "252 2.1.5", "chunk": "503 5.5.1"}},
	{"QUIT", map[string]string{"": "221 2.0.0"}},
	{"EXPN list", map[string]string{"": "502 5.5.1", "chunk": "503 5.5.1"}},
	{"WHAT", map[string]string{"": "500 5.5.2", "chunk": "503 5.5.1"}},
	{"", map[string]string{"": "500 5.5.2", "chunk": "503 5.5.1"}},
	{" MAIL FROM:<a@example.com>", map[string]string{"": "500 5.5.2", "chunk": "503 5.5.1"}},
	{"STARTTLS", map[string]string{"": "502 5.5.1",
		"mail": "503 5.5.1", "rcpt": "503 5.5.1", "refused-rcpt": "503 5.5.1", "chunk": "503 5.5.1"}},
	{"AUTH PLAIN *", map[string]string{"": "503 5.5.1", "hello": "501 5.5.2"}},
	{"MAIL FROM:<a@example.com>", map[string]string{"": "250 2.1.0", "fresh": "503 5.5.1", "hello": "530 5.7.0",
		"mail": "503 5.5.1", "rcpt": "503 5.5.1", "refused-rcpt": "503 5.5.1", "chunk": "503 5.5.1"}},
	{"RCPT TO:<b@example.org>", map[string]string{"": "503 5.5.1",
		"mail": "250 2.1.5", "rcpt": "250 2.1.5", "refused-rcpt": "250 2.1.5"}},
	{"DATA", map[string]string{"": "503 5.5.1", "rcpt": "354 "}},
	{"DATA now", map[string]string{"": "501 5.5.4", "chunk": "503 5.5.1"}},
	{"BDAT 0 LAST", map[string]string{"": "503 5.5.1", "rcpt": "250 2.0.0", "chunk": "250 2.0.0"}},
	{"BDAT", map[string]string{"": "501 5.5.4"}},
	{"BDAT -1", map[string]string{"": "501 5.5.4"}},
	{"BDAT 1 FIRST", map[string]string{"": "501 5.5.4"}},
}

// TestMatrix sends each command in each state. Then, unless the command is
// about to take a message or has closed the connection, a new message goes
// out: nothing of an envelope that was abandoned may reach it.
func TestMatrix(t *testing.T) {
	for state, script := range states {
		for _, m := range matrix {
			t.Run(state+"/"+m.command, func(t *testing.T) {
				s := startServer(t, nil)
				s.up.rcptErr = func(to string) error {
					if strings.HasPrefix(to, "refused") {
						return asProvider(550, "5.1.1 no such user")
					}
					return nil
				}
				c := dial(t, s.addr)
				c.play(script)
				before := len(s.up.taken())
				want, ok := m.want[state]
				if !ok {
					want = m.want[""]
				}
				c.send(m.command + "\r\n")
				c.expect(want)
				switch {
				case strings.HasPrefix(want, "221"), strings.HasPrefix(m.command, "BDAT") && strings.HasPrefix(want, "501"):
					c.expectEOF()
					return
				case strings.HasPrefix(want, "354"):
					return
				}
				if state == "fresh" || state == "hello" {
					return
				}
				c.play(`
					C: RSET
					M: 250
					C: EHLO c
					M: 250
					C: MAIL FROM:<new@example.com>
					M: 250
					C: RCPT TO:<fresh@example.org>
					M: 250
					C: DATA
					M: 354
					C: new
					C: .
					M: 250`)
				got := s.up.taken()[before:]
				last := got[len(got)-1]
				if last.from != "new@example.com" || !slices.Equal(last.to, []string{"fresh@example.org"}) || string(last.body) != "new\r\n" {
					t.Errorf("envelope %s -> %v, body %q", last.from, last.to, last.body)
				}
			})
		}
	}
}

// TestReset checks for each command that ends a transaction that it does,
// and for the others that the recipients stay.
func TestReset(t *testing.T) {
	for _, command := range []string{"RSET", "EHLO x", "HELO x"} {
		for _, then := range []string{"RCPT TO:<b@example.org>", "DATA", "BDAT 0 LAST"} {
			t.Run(command+"/"+then, func(t *testing.T) {
				s := startServer(t, nil)
				c := dial(t, s.addr)
				c.play(states["rcpt"])
				c.send(command + "\r\n")
				c.expect("250")
				c.send(then + "\r\n")
				c.expect("503 5.5.1")
				if s.up.aborts != 1 {
					t.Errorf("%d transactions aborted, want 1", s.up.aborts)
				}
			})
		}
	}
	for _, command := range []string{"NOOP", "VRFY x", "HELP", "AUTH PLAIN", "MAIL FROM:<x@example.com>", "STARTTLS", "WHAT", "RSET x", "EHLO", "RCPT TO:<bad"} {
		t.Run("keeps/"+command, func(t *testing.T) {
			s := startServer(t, nil)
			c := dial(t, s.addr)
			c.play(states["rcpt"])
			c.send(command + "\r\n")
			c.expect("")
			c.play(`
				C: DATA
				M: 354
				C: .
				M: 250`)
			if got := s.up.taken(); len(got) != 1 || !slices.Equal(got[0].to, []string{"stale@example.org"}) || len(got[0].body) != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestTooManyErrors(t *testing.T) {
	for state, limit := range map[string]int{"fresh": maxErrorsEarly, "hello": maxErrorsEarly, "authenticated": maxErrors} {
		s := startServer(t, nil)
		c := dial(t, s.addr)
		c.play(states[state])
		for i := range limit {
			c.send("WHAT\r\n")
			c.expect("500 5.5.2")
			if i == limit/2 {
				// What is of no use does not make up for them.
				c.send("EHLO c\r\nNOOP\r\nRSET\r\n")
				c.expect("250")
				c.expect("250")
				c.expect("250")
			}
		}
		c.expect("421 4.7.0")
		c.expectEOF()
	}
}

// TestProviderRefusals checks that what the provider refuses is not held
// against the client.
func TestProviderRefusals(t *testing.T) {
	s := startServer(t, nil)
	s.up.rcptErr = func(to string) error { return asProvider(550, "5.1.1 "+to+" unknown") }
	c := dial(t, s.addr)
	c.play(states["authenticated"])
	c.send("MAIL FROM:<a@example.com>\r\n")
	c.expect("250")
	for i := range 2 * maxErrors {
		c.send(fmt.Sprintf("RCPT TO:<u%d@example.org>\r\n", i))
		c.expect(fmt.Sprintf("550 5.1.1 u%d@example.org unknown", i))
	}
	c.send("DATA\r\n")
	c.expect("503 5.5.1")
}
