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
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// eightBit returns n octets of lines that hold every octet but NUL, CR and LF.
func eightBit(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, 0, n+2)
	for len(body) < n {
		if len(body) > 0 && rnd.IntN(80) == 0 {
			body = append(body, "\r\n"...)
			continue
		}
		b := byte(rnd.Uint32())
		if b == 0 || b == '\r' || b == '\n' { // RFC 6152 section 3: no NUL
			b = '.'
		}
		body = append(body, b)
	}
	return append(body, "\r\n"...)
}

// TestSameBytes: what the provider received is what was sent, whatever the
// framing on either side.
func TestSameBytes(t *testing.T) {
	bodies := []struct {
		name string
		body []byte
	}{
		{"empty", nil},
		{"one dot", []byte(".\r\n")},
		{"dots", []byte("..\r\n.\r\n...x\r\n.\r\n\r\n.\r\n")},
		{"one empty line", []byte("\r\n")},
		{"8-bit", eightBit(40_000)},
		{"long lines", append(append(bytes.Repeat([]byte("x"), 900_000), "\r\n.y"...), "\r\n"...)},
		{"256 KiB and a dot", append(bytes.Repeat([]byte("123456789012345678901234567890\r\n"), 8192), ".\r\n"...)},
		{"25 MiB", eightBit(25<<20 - 2)},
	}
	for _, upstream := range []string{"bdat", "data"} {
		t.Run("upstream "+upstream, func(t *testing.T) {
			w := newWorld(t, withServer("max_message_size", 26<<20),
				withSandbox(func(sb *sandbox.App) { sb.NoChunking = upstream == "data"; sb.KeepBodies = false }))
			for _, framing := range []string{"DATA", "BDAT"} {
				for _, b := range bodies {
					t.Run(framing+" "+b.name, func(t *testing.T) {
						before := w.sandbox.MessageCount()
						c := w.in(t).login()
						c.cmd("MAIL FROM:<"+testUser+"> BODY=8BITMIME", 250)
						c.cmd("RCPT TO:<someone@example.net>", 250)
						var rep reply
						if framing == "DATA" {
							rep = c.data(b.body)
						} else {
							rep = c.bdat(b.body, 1<<20)
						}
						if rep.code != 250 {
							t.Fatalf("final reply %q", rep)
						}
						if n := w.sandbox.MessageCount() - before; n != 1 {
							t.Fatalf("the provider holds %d messages, want 1", n)
						}
						all := w.sandbox.Messages()
						got := all[len(all)-1]
						if got.SHA256 != digest(b.body) || got.Size != int64(len(b.body)) {
							t.Errorf("the provider received %d bytes (%s), sent were %d (%s)", got.Size, got.SHA256, len(b.body), digest(b.body))
						}
						if want := strings.ToUpper(upstream); got.Framing != want {
							t.Errorf("framing %s, want %s", got.Framing, want)
						}
					})
				}
			}
		})
	}
}

// TestOneRecipientRefused: the refusal of one recipient is that recipient's
// reply alone, and the others get the message.
func TestOneRecipientRefused(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		t.Run(fmt.Sprintf("pipelined=%v", pipelined), func(t *testing.T) {
			w := newWorld(t)
			c := w.login()
			cmds := []string{
				"MAIL FROM:<" + testUser + ">", "RCPT TO:<one@example.net>",
				"RCPT TO:<reject-two@example.net>", "RCPT TO:<three@example.net>",
			}
			codes := []int{250, 250, 550, 250}
			if pipelined {
				c.write(strings.Join(cmds, "\r\n") + "\r\n")
			}
			for i, cmd := range cmds {
				if !pipelined {
					c.write(cmd + "\r\n")
				}
				if rep := c.expect(codes[i]); codes[i] == 550 && !strings.HasPrefix(rep.lines[0], "5.1.1 ") {
					t.Errorf("the refusal is not the provider's: %q", rep)
				}
			}
			if rep := c.data([]byte("Subject: three\r\n\r\nhello\r\n")); rep.code != 250 {
				t.Fatalf("final reply %q", rep)
			}
			all := w.sandbox.Messages()
			if len(all) != 1 {
				t.Fatalf("the provider holds %d messages, want 1", len(all))
			}
			if got, want := strings.Join(all[0].Rcpts, " "), "one@example.net three@example.net"; got != want {
				t.Errorf("delivered to %q, want %q", got, want)
			}
		})
	}
}

// TestMailboxIsTheIdentity: `user=` is the account's mailbox whatever MAIL
// FROM says, and a warm connection never carries another account's mail.
func TestMailboxIsTheIdentity(t *testing.T) {
	w := newWorld(t, withAccount(account("printer", "shared@example.com")))
	senders := []string{testUser, "somebody.else@example.org", "", "bounce+someone=example.net@example.com"}
	for _, from := range senders {
		c := w.login()
		c.cmd("MAIL FROM:<"+from+">", 250)
		c.cmd("RCPT TO:<someone@example.net>", 250)
		if rep := c.data([]byte("x\r\n")); rep.code != 250 {
			t.Fatalf("sender %q: final reply %q", from, rep)
		}
	}
	p := w.dial()
	p.cmd("AUTH PLAIN "+plain("printer", testPassword), 235)
	p.cmd("MAIL FROM:<"+testUser+">", 250)
	p.cmd("RCPT TO:<someone@example.net>", 250)
	if rep := p.data([]byte("x\r\n")); rep.code != 250 {
		t.Fatalf("final reply %q", rep)
	}
	all := w.sandbox.Messages()
	if len(all) != len(senders)+1 {
		t.Fatalf("the provider holds %d messages, want %d", len(all), len(senders)+1)
	}
	for i, from := range senders {
		if all[i].Mailbox != testUser || all[i].From != from {
			t.Errorf("message %d came as %s from <%s>, want %s from <%s>", i, all[i].Mailbox, all[i].From, testUser, from)
		}
	}
	if got := all[len(senders)].Mailbox; got != "shared@example.com" {
		t.Errorf("the printer's message came as %s", got)
	}
}

// TestWrongPasswordAndUnknownAccountLookAlike: the same bytes answer both.
func TestWrongPasswordAndUnknownAccountLookAlike(t *testing.T) {
	w := newWorld(t)
	var got [2]string
	for i, user := range []string{testUser, "nobody@example.com"} {
		c := w.dial()
		got[i] = c.cmd("AUTH PLAIN "+plain(user, "wrong-password"), 535).String()
		c.cmd("MAIL FROM:<"+testUser+">", 530)
	}
	if got[0] != got[1] {
		t.Errorf("wrong password: %q, unknown account: %q", got[0], got[1])
	}
}

// TestNothingBeforeAuth: no envelope command is accepted before AUTH.
func TestNothingBeforeAuth(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	for _, cmd := range []string{"MAIL FROM:<" + testUser + ">", "RCPT TO:<someone@example.net>", "DATA", "BDAT 5 LAST"} {
		c.write(cmd + "\r\n")
		if strings.HasPrefix(cmd, "BDAT") {
			c.write("hello")
		}
		rep, err := c.readReply()
		if err != nil {
			t.Fatal(err)
		}
		if rep.code != 530 && rep.code != 503 || strings.HasPrefix(cmd, "MAIL") && rep.code != 530 {
			t.Errorf("%s was answered %q", cmd, rep)
		}
	}
	c.cmd("NOOP", 250)
	if n := w.sandbox.Stats().ConnsTotal; n != 0 {
		t.Errorf("%d upstream connections without a login", n)
	}
}

// TestOneConnectionForAHundredMessages: the pool reuses, and does not probe.
func TestOneConnectionForAHundredMessages(t *testing.T) {
	w := newWorld(t)
	c := w.login()
	for i := range 100 {
		if rep := c.send(fmt.Sprintf("Subject: %d\r\n\r\nhello\r\n", i)); rep.code != 250 {
			t.Fatalf("message %d: final reply %q", i, rep)
		}
	}
	st := w.sandbox.Stats()
	// A RSET leaves behind each message, in its write.
	if st.Messages != 100 || st.ConnsTotal != 1 || st.Commands["NOOP"] != 0 || st.Commands["RSET"] != 100 {
		t.Errorf("%d messages over %d connections with %d NOOP and %d RSET; want 100, 1, 0, 100",
			st.Messages, st.ConnsTotal, st.Commands["NOOP"], st.Commands["RSET"])
	}
	if posts := st.TokenPosts["refresh_token"]; posts != 1 {
		t.Errorf("%d token requests, want 1", posts)
	}
}

// TestProvidersWords: the final reply reaches the client as it came.
func TestProvidersWords(t *testing.T) {
	for _, words := range []string{
		"550 5.7.60 SMTP; Client does not have permissions to send as this sender",
		"451 4.7.0 Temporary server error. Please try again later. PRX2",
		"552-5.2.3 Your message exceeded Google's message size limits.\n552 5.2.3 https://support.google.com/mail/?p=MaxSizeError",
		"554 no enhanced code here",
	} {
		t.Run(words[:9], func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "end", Action: "reply", Reply: words, Times: 1}); err != nil {
				t.Fatal(err)
			}
			c := w.login()
			rep := c.send("hello\r\n")
			want := strings.Split(words, "\n")
			for i := range want {
				want[i] = want[i][4:]
			}
			if fmt.Sprint(rep.code) != words[:3] || strings.Join(rep.lines, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %q, want %q", rep, words)
			}
			if n := w.sandbox.MessageCount(); n != 0 {
				t.Errorf("the provider holds %d messages, want 0", n)
			}
		})
	}
}

// TestClientGone: a client that vanishes amid the body leaves no message.
func TestClientGone(t *testing.T) {
	for _, body := range []int{1000, 1 << 20} {
		for _, framing := range []string{"DATA", "BDAT"} {
			t.Run(fmt.Sprintf("%s %d", framing, body), func(t *testing.T) {
				w := newWorld(t)
				c := w.login()
				c.cmd("MAIL FROM:<"+testUser+">", 250)
				c.cmd("RCPT TO:<someone@example.net>", 250)
				if framing == "DATA" {
					c.cmd("DATA", 354)
				} else {
					c.write(fmt.Sprintf("BDAT %d LAST\r\n", body+1))
				}
				c.write(strings.Repeat("0123456789abcdef0123456789abcd\r\n", body/32))
				if tcp, ok := c.conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
				}
				c.conn.Close()
				// The next message shows that the gateway is done with the first.
				if rep := w.login().send("next\r\n"); rep.code != 250 {
					t.Fatalf("final reply %q", rep)
				}
				w.close()
				all := w.sandbox.Messages()
				if len(all) != 1 || all[0].Size != int64(len("next\r\n")) {
					t.Errorf("the provider holds %d messages, want only the second one", len(all))
				}
			})
		}
	}
}
