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
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/relay"
)

// smuggling is the corpus of what one server may take for the end of a
// message and another not. Each is followed, within the message, by commands.
var smuggling = []struct {
	name, end  string
	normalized string // what `normalize` makes of it; "" if refused all the same
}{
	{"LF.LF", "\n.\n", "\r\n.\r\n"},
	{"LF.CRLF", "\n.\r\n", "\r\n.\r\n"},
	{"CRLF.LF", "\r\n.\n", "\r\n\r\n"}, // the dot is stuffing (RFC 5321 section 4.5.2)
	{"CR.CR", "\r.\r", "\r\n.\r\n"},
	{"CR.CRLF", "\r.\r\n", "\r\n.\r\n"},
	{"CRLF.CR", "\r\n.\r", "\r\n\r\n"},
	{"CR.LF", "\r.\n", "\r\n.\r\n"},
	{"LF.CR", "\n.\r", "\r\n.\r\n"},
	{"CRCRLF.CRLF", "\r\r\n..\r\n", "\r\n.\r\n"},
	{"LFCR.CRLF", "\n\r.\r\n", "\r\n\r\n.\r\n"},
	{"CRLF.CRCRLF", "\r\n.\r\r\n", "\r\n\r\n"},
	{"NUL", "\r\n\x00.\r\n", ""},
	{"NUL after the dot", "\r\n.\x00\r\n", ""},
	{"CRNULLF", "\r\x00\n.\r\x00\n", ""},
	{"LF", "\n", "\r\n"},
	{"CR", "\r", "\r\n"},
}

const smuggled = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nevil\r\n"

// readings are how a body can arrive: in one write, octet by octet, and cut
// in two at each place.
func send(c *client, data string, how string) {
	switch how {
	case "whole":
		c.send(data)
	case "octets":
		for i := range len(data) {
			c.send(data[i : i+1])
		}
	}
}

func TestSmugglingData(t *testing.T) {
	for _, mode := range []string{"reject", "normalize"} {
		for _, how := range []string{"whole", "octets"} {
			for _, tc := range smuggling {
				t.Run(mode+"/"+how+"/"+tc.name, func(t *testing.T) {
					s := startServer(t, func(p *policy) { p.BareNewline = bareNewlines[mode] })
					c := dial(t, s.addr)
					c.play(states["rcpt"])
					c.send("DATA\r\n")
					c.expect("354")
					send(c, "one"+tc.end+smuggled+".\r\n", how)
					if mode == "reject" || tc.normalized == "" {
						c.expect("554 5.6.0")
						if got := s.up.taken(); len(got) != 0 || s.up.aborts != 1 {
							t.Errorf("%d messages delivered, %d aborted", len(got), s.up.aborts)
						}
						c.expectEOF()
						return
					} else {
						c.expect("250")
						got := s.up.taken()
						if want := "one" + tc.normalized + smuggled; len(got) != 1 || string(got[0].body) != want {
							t.Errorf("got %q, want %q", got[0].body, want)
						}
					}
					stillInSync(c, s)
				})
			}
		}
	}
}

func TestSmugglingChunks(t *testing.T) {
	for _, mode := range []string{"reject", "normalize"} {
		for _, tc := range smuggling {
			t.Run(mode+"/"+tc.name, func(t *testing.T) {
				s := startServer(t, func(p *policy) { p.BareNewline = bareNewlines[mode] })
				c := dial(t, s.addr)
				c.play(states["rcpt"])
				body := "one" + tc.end + smuggled
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
				// BDAT has no stuffing: the dots are content.
				want := ""
				if mode == "normalize" {
					want = referenceNormalize(body)
				}
				if want == "" {
					c.expect("554 5.6.0")
					if got := s.up.taken(); len(got) != 0 || s.up.aborts != 1 {
						t.Errorf("%d messages delivered, %d aborted", len(got), s.up.aborts)
					}
					c.expectEOF()
					return
				} else {
					c.expect("250")
					if got := s.up.taken(); len(got) != 1 || string(got[0].body) != want {
						t.Errorf("got %q, want %q", got[0].body, want)
					}
				}
				stillInSync(c, s)
			})
		}
	}
}

// stillInSync sends another message and checks that it alone arrives.
func stillInSync(c *client, s *testServer) {
	c.t.Helper()
	before := len(s.up.taken())
	c.play(`
		C: NOOP
		S: 250 2.0.0 OK
		C: MAIL FROM:<next@example.com>
		S: 250 2.1.0 Sender OK
		C: RCPT TO:<next@example.org>
		S: 250 2.1.5 Recipient OK
		C: DATA
		M: 354
		C: next
		C: .
		M: 250 2.0.0
		C: NOOP
		S: 250 2.0.0 OK`)
	got := s.up.taken()
	if len(got) != before+1 || string(got[before].body) != "next\r\n" || got[before].from != "next@example.com" {
		c.t.Errorf("after it: %+v", got[before:])
	}
}

// referenceNormalize is a slow and simple `normalize`; "" if refused.
func referenceNormalize(s string) string {
	if strings.ContainsRune(s, 0) {
		return ""
	}
	s = regexp.MustCompile("\r+\n").ReplaceAllString(s, "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// TestBodies sends what must arrive as it is, by DATA and by BDAT.
func TestBodies(t *testing.T) {
	long := strings.Repeat("x", maxBodyLine-2) + "\r\n"
	for name, body := range map[string]string{
		"empty":         "",
		"one dot":       ".\r\n",
		"dots":          ".\r\n..\r\n...\r\n",
		"empty line":    "\r\n",
		"8bit":          "gr\xfc\xdf \xff\xfe\r\n",
		"long lines":    long + long,
		"2 MiB":         strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 32768),
		"no final CRLF": "BDAT only",
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(p *policy) { p.MaxSize = 8 << 20 })
			c := dial(t, s.addr)
			c.login()
			sent := 0
			envelope := "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
			check := func(how string) {
				t.Helper()
				c.expect("250 2.1.0")
				c.expect("250 2.1.5")
				if how == "DATA" {
					c.expect("354")
				}
				c.expect("250 2.0.0")
				sent++
				got := s.up.taken()
				if len(got) != sent || string(got[sent-1].body) != body {
					t.Errorf("%s: %d octets arrived, want %d", how, len(got[sent-1].body), len(body))
				}
			}
			if body == "" || strings.HasSuffix(body, "\r\n") {
				stuffed := strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n..")[2:]
				c.send(envelope + "DATA\r\n" + stuffed + ".\r\n")
				check("DATA")
			}
			c.send(envelope + fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
			check("BDAT")
		})
	}
}

func TestBodyLimits(t *testing.T) {
	big := strings.Repeat("0123456789abcd\r\n", 1000) // 16,000 octets
	for name, tc := range map[string]struct{ body, want string }{
		"too big":       {big, "552 5.3.4"},
		"line too long": {strings.Repeat("x", maxBodyLine+1) + "\r\n", "554 5.6.0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(p *policy) {
				if tc.want[:3] == "552" {
					p.MaxSize = 15999
				} else {
					p.MaxSize = 4 << 20
				}
			})
			c := dial(t, s.addr)
			c.login()
			c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n" + tc.body + ".\r\n")
			c.expect("250")
			c.expect("250")
			c.expect("354")
			c.expect(tc.want)
			c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n" +
				fmt.Sprintf("BDAT %d\r\n%sBDAT 5 LAST\r\nNOOP\n", len(tc.body), tc.body))
			c.expect("250")
			c.expect("250")
			c.expect(tc.want)
			c.expect("503 5.5.1") // the chunk that follows is no command
			if n := len(s.up.taken()); n != 0 {
				t.Errorf("%d messages delivered", n)
			}
			stillInSync(c, s)
		})
	}
}

// TestHugeBodyCloses checks that a client that goes on sending what was
// refused long ago is left.
func TestHugeBodyCloses(t *testing.T) {
	s := startServer(t, func(p *policy) { p.MaxSize = 1000 })
	c := dial(t, s.addr)
	c.play(states["rcpt"])
	c.send("DATA\r\n")
	c.expect("354")
	line := []byte(strings.Repeat("x", 1022) + "\r\n")
	for range 4096 {
		if _, err := c.nc.Write(line); err != nil {
			break
		}
	}
	// The 552 may be lost in the reset that follows.
	for {
		if _, err := c.line(); err != nil {
			break
		}
	}
	if n := len(s.up.taken()); n != 0 {
		t.Errorf("%d messages delivered", n)
	}
}

// TestBrokenBody ends the connection within a message: nothing is delivered,
// and nothing of it is a command.
func TestBrokenBody(t *testing.T) {
	for name, raw := range map[string]string{
		"data":           "DATA\r\nhalf a mess",
		"data at a line": "DATA\r\nhalf a message\r\n",
		"data at a dot":  "DATA\r\nhalf a message\r\n.",
		"data at its CR": "DATA\r\nhalf a message\r\n.\r",
		"chunk":          "BDAT 100 LAST\r\nhalf a message\r\n",
		"between chunks": "BDAT 5\r\nabc\r\n",
		"chunk command":  "BDAT 5\r\nabc\r\nBDAT 0 LA",
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, nil)
			c := dial(t, s.addr)
			c.play(states["rcpt"])
			c.send(raw)
			_ = c.nc.(*net.TCPConn).CloseWrite()
			for {
				line, err := c.line()
				if err != nil {
					break
				}
				if !strings.HasPrefix(line, "354") && !strings.HasSuffix(line, " octets received") {
					t.Errorf("reply %q", line)
				}
			}
			<-s.point.whenEmpty()
			if got := s.up.taken(); len(got) != 0 || s.up.aborts != 1 {
				t.Errorf("%d messages delivered, %d aborted", len(got), s.up.aborts)
			}
		})
	}
}

// TestUpstreamFailsEarly checks that the rest of a message is no command when
// the upstream gives up before it has read it.
func TestUpstreamFailsEarly(t *testing.T) {
	s := startServer(t, nil)
	s.up.early, s.up.dataErr = true, relay.ReplyUpstreamLost
	c := dial(t, s.addr)
	c.login()
	body := strings.Repeat("x\r\n", 100000) + smuggled
	c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n" + body + ".\r\nNOOP\r\n")
	for _, want := range []string{"250", "250", "354", "451 4.4.2", "250 2.0.0 OK"} {
		c.expect(want)
	}
	c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n" +
		fmt.Sprintf("BDAT %d LAST\r\n%sNOOP\r\n", len(body), body))
	for _, want := range []string{"250", "250", "451 4.4.2", "250 2.0.0 OK"} {
		c.expect(want)
	}
}

// TestUpstreamLies checks that a success without the whole message is none.
func TestUpstreamLies(t *testing.T) {
	for _, r := range []relay.Reply{{}, {Code: 250, Lines: []string{"2.0.0 yes"}}, {Code: 354}} {
		s := startServer(t, nil)
		s.up.early, s.up.lie = true, r
		c := dial(t, s.addr)
		c.play(states["rcpt"])
		c.send("DATA\r\n")
		c.expect("354")
		c.send("hello\r\n.\r\n")
		c.expect("451 4.3.0")
	}
}
