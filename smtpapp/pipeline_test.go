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

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// TestPipelining checks that pipelined commands are answered in order and in
// one write (RFC 2920 section 3.2), and that their recipients leave in one
// flight.
func TestPipelining(t *testing.T) {
	s := startServer(t, nil)
	s.up.rcptErr = func(to string) error {
		if strings.HasPrefix(to, "no") {
			return asProvider(550, "5.1.1 "+to+" unknown")
		}
		return nil
	}
	c := dial(t, s.addr)
	c.login()
	before := s.count.last().count()
	c.play(`
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<one@example.org>
		C: RCPT TO:<no@example.org>
		C: RCPT TO:<two@example.org> NOTIFY=NEVER
		C: RCPT TO:<bad
		C: RCPT TO:<three@example.org>
		C: NOOP
		C: RCPT TO:<four@example.org>
		C: DATA
		S: 250 2.1.0 Sender OK
		S: 250 2.1.5 Recipient OK
		S: 550 5.1.1 no@example.org unknown
		S: 250 2.1.5 Recipient OK
		S: 501 5.1.3 Bad recipient address syntax
		S: 250 2.1.5 Recipient OK
		S: 250 2.0.0 OK
		S: 250 2.1.5 Recipient OK
		S: 354 End data with <CR><LF>.<CR><LF>`)
	if n := s.count.last().count() - before; n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
	want := [][]string{{"one@example.org", "no@example.org", "two@example.org"}, {"three@example.org"}, {"four@example.org"}}
	if !slices.EqualFunc(s.up.flights, want, slices.Equal) {
		t.Errorf("flights %v", s.up.flights)
	}
	before = s.count.last().count()
	c.play(`
		C: hello
		C: .
		C: MAIL FROM:<b@example.com>
		C: RCPT TO:<five@example.org>
		C: BDAT 5
		Q: "abc\r\nBDAT 3\r\nd\r\nBDAT 0 LAST\r\n"
		C: NOOP
		C: QUIT
		S: 250 2.0.0 OK 12345 provider
		S: 250 2.1.0 Sender OK
		S: 250 2.1.5 Recipient OK
		S: 250 2.0.0 5 octets received
		S: 250 2.0.0 3 octets received
		S: 250 2.0.0 OK 12345 provider
		S: 250 2.0.0 OK
		S: 221 2.0.0 Closing connection
		EOF`)
	if n := s.count.last().count() - before; n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
	got := s.up.taken()
	if len(got) != 2 || !slices.Equal(got[0].to, []string{"one@example.org", "two@example.org", "three@example.org", "four@example.org"}) ||
		string(got[0].body) != "hello\r\n" || string(got[1].body) != "abc\r\nd\r\n" {
		t.Errorf("got %+v", got)
	}
	if len(got[0].rcpts[1].Notify) != 1 || got[0].rcpts[1].Notify[0] != smtp.DSNNotifyNever || got[0].rcpts[0].Notify != nil {
		t.Errorf("parameters %+v", got[0].rcpts)
	}
}

// TestGreeting checks that EHLO's many lines are one write.
func TestGreeting(t *testing.T) {
	s := startServer(t, nil)
	c := dial(t, s.addr)
	c.expect("220 mail.test ESMTP")
	c.send("EHLO c\r\n")
	c.expect("250 AUTH PLAIN LOGIN")
	if n := s.count.last().count(); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
}

func TestMaxRecipients(t *testing.T) {
	s := startServer(t, func(p *policy) { p.MaxRecipients = 3 })
	c := dial(t, s.addr)
	c.login()
	c.send("MAIL FROM:<a@example.com>\r\n")
	c.expect("250")
	for i := range 5 {
		c.send(fmt.Sprintf("RCPT TO:<u%d@example.org>\r\n", i))
		if i < 3 {
			c.expect("250 2.1.5")
		} else {
			c.expect("452 4.5.3")
		}
	}
	c.send("RSET\r\nMAIL FROM:<a@example.com>\r\n")
	c.expect("250")
	c.expect("250")
	c.send(strings.Repeat("RCPT TO:<u@example.org>\r\n", 5))
	for i := range 5 {
		if i < 3 {
			c.expect("250 2.1.5")
		} else {
			c.expect("452 4.5.3")
		}
	}
	c.send("DATA\r\n.\r\n")
	c.expect("354")
	c.expect("250")
	if got := s.up.taken(); len(got) != 1 || len(got[0].to) != 3 {
		t.Errorf("got %+v", got)
	}
}

// TestBeginFails checks that a message waits for the upstream once, whatever
// the number of recipients.
func TestBeginFails(t *testing.T) {
	s := startServer(t, nil)
	s.up.beginErr = relay.ReplyNoConnection
	c := dial(t, s.addr)
	c.login()
	c.send("MAIL FROM:<a@example.com>\r\n" + strings.Repeat("RCPT TO:<u@example.org>\r\n", 5) + "RSET\r\n")
	c.expect("250")
	for range 5 {
		c.expect("451 4.3.2")
	}
	c.expect("250")
	if s.up.begins != 1 {
		t.Errorf("%d attempts", s.up.begins)
	}
}

// TestProviderWords checks that replies of any shape arrive as they are.
func TestProviderWords(t *testing.T) {
	for _, lines := range [][]string{
		{"2.0.0 OK  1700000000 abc-1.2.3 - gsmtp"},
		{"2.6.0 first", "2.6.0 second", "third without a code"},
		{"ok"},
		{""},
		{},
	} {
		s := startServer(t, nil)
		s.up.reply = relay.Reply{Code: 250, Lines: lines}
		c := dial(t, s.addr)
		c.play(states["rcpt"])
		c.send("BDAT 0 LAST\r\n")
		want := lines
		if len(want) == 0 {
			want = []string{""}
		}
		for i, text := range want {
			sep := "-"
			if i == len(want)-1 {
				sep = " "
			}
			got, err := c.line()
			if err != nil || got != "250"+sep+text {
				t.Errorf("got %q, %v; want %q", got, err, text)
			}
		}
	}
	for _, r := range []*relay.Reply{
		asProvider(550, "5.4.5 Daily user sending limit exceeded."),
		asProvider(421, "4.7.0 Try again later, closing connection."),
		asProvider(554, "5.2.252 SendAsDenied; a@example.com", "5.2.252 not allowed"),
	} {
		s := startServer(t, nil)
		s.up.dataErr = r
		c := dial(t, s.addr)
		c.play(states["rcpt"])
		c.send("DATA\r\n")
		c.expect("354")
		c.send("x\r\n.\r\n")
		for _, want := range strings.Split(strings.TrimSuffix(string(r.Append(nil)), "\r\n"), "\r\n") {
			if got, err := c.line(); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
		// The provider's 421 closes the provider's connection, not ours.
		c.send("NOOP\r\n")
		c.expect("250")
	}
}

func TestReplyID(t *testing.T) {
	s := startServer(t, func(p *policy) { p.replyID = true })
	c := dial(t, s.addr)
	c.play(states["rcpt"])
	c.send("BDAT 0 LAST\r\n")
	got := c.expect("250 2.0.0 OK 12345 provider [mg-")
	if !strings.HasSuffix(got, ".1]") {
		t.Errorf("got %q", got)
	}
}

// TestDeferred sends in one flight what has one recipient.
func TestDeferred(t *testing.T) {
	s := startServerWith(t, singleUpstream{new(fakeUpstream)}, func(p *policy) { p.deferred = true })
	c := dial(t, s.addr)
	c.login()
	c.play(`
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<one@example.org>
		C: RCPT TO:<two@example.org>
		C: DATA
		S: 250 2.1.0 Sender OK
		S: 250 2.1.5 Recipient OK
		S: 452 4.5.3 One recipient per transaction on this server
		M: 354
		C: hello
		C: .
		S: 250 2.0.0 OK 12345 provider
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<two@example.org>
		C: BDAT 3 LAST
		Q: "x\r\n"
		S: 250 2.1.0 Sender OK
		S: 250 2.1.5 Recipient OK
		S: 250 2.0.0 OK 12345 provider
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<three@example.org>
		C: RSET
		S: 250 2.1.0 Sender OK
		S: 250 2.1.5 Recipient OK
		S: 250 2.0.0 OK`)
	got := s.up.taken()
	if len(got) != 2 || s.up.begins != 0 || !slices.Equal(got[0].to, []string{"one@example.org"}) || !slices.Equal(got[1].to, []string{"two@example.org"}) {
		t.Errorf("got %+v, %d begun", got, s.up.begins)
	}
	// An upstream that cannot is used as ever.
	s = startServer(t, func(p *policy) { p.deferred = true })
	c = dial(t, s.addr)
	c.play(states["rcpt"])
	c.send("RCPT TO:<two@example.org>\r\nBDAT 0 LAST\r\n")
	c.expect("250 2.1.5")
	c.expect("250 2.0.0")
}

func TestCommandLines(t *testing.T) {
	for name, script := range map[string]string{
		"longest": `
			C: NOOP ` + strings.Repeat("x", maxCommand-7) + `
			S: 250 2.0.0 OK`,
		"too long": `
			C: NOOP ` + strings.Repeat("x", maxCommand-6) + `
			S: 500 5.5.6 Command line too long
			C: NOOP
			S: 250 2.0.0 OK`,
		"far too long": `
			C: NOOP ` + strings.Repeat("x", 300_000) + `
			C: NOOP
			S: 500 5.5.6 Command line too long
			S: 250 2.0.0 OK`,
		"NUL": `
			Q: "NO\x00OP\r\n"
			S: 501 5.5.4 Control characters are not allowed`,
		"CR within": `
			Q: "NOOP\rQUIT\r\n"
			S: 501 5.5.4 Control characters are not allowed
			C: NOOP
			S: 250 2.0.0 OK`,
		"tab": `
			Q: "NOOP\tx\r\n"
			S: 501 5.5.4 Control characters are not allowed`,
		"escape in an address": `
			Q: "MAIL FROM:<a\x1b[31m@example.com>\r\n"
			S: 501 5.5.4 Control characters are not allowed`,
		"bare LF": `
			Q: "NOOP\nMAIL FROM:<a@example.com>\r\n"
			S: 500 5.5.2 Line must end with CRLF
			EOF`,
		"lower case": `
			C: noop
			S: 250 2.0.0 OK
			C: mail from:<a@example.com>
			S: 250 2.1.0 Sender OK
			C: rCpT tO:<b@example.org>
			S: 250 2.1.5 Recipient OK`,
		"trailing spaces": `
			Q: "NOOP  \r\nRSET \r\n"
			S: 250 2.0.0 OK
			S: 250 2.0.0 OK`,
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, nil)
			c := dial(t, s.addr)
			c.login()
			c.play(script)
		})
	}
	t.Run("bare LF normalized", func(t *testing.T) {
		s := startServer(t, func(p *policy) { p.BareNewline = smtpserver.BareNormalize })
		c := dial(t, s.addr)
		c.play(`
			M: 220
			Q: "EHLO c\nNOOP\n"
			M: 250
			M: 250 2.0.0 OK`)
	})
	t.Run("endless", func(t *testing.T) {
		s := startServer(t, nil)
		c := dial(t, s.addr)
		c.expect("220")
		block := strings.Repeat("x", 64<<10)
		for range 64 {
			if _, err := c.nc.Write([]byte(block)); err != nil {
				break
			}
		}
		<-s.point.whenEmpty()
	})
}

func TestSizeParameter(t *testing.T) {
	s := startServer(t, func(p *policy) { p.MaxSize = 1000 })
	c := dial(t, s.addr)
	c.login()
	c.play(`
		C: MAIL FROM:<a@example.com> SIZE=1001
		S: 552 5.3.4 Message exceeds the maximum size
		C: MAIL FROM:<a@example.com> SIZE=1000 FOO=bar
		S: 555 5.5.4 Parameter not recognized or not implemented
		C: MAIL FROM:<a@example.com> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2B1
		S: 250 2.1.0 Sender OK
		C: RCPT TO:<bü@example.org> ORCPT=utf-8;x
		S: 250 2.1.5 Recipient OK
		C: BDAT 0 LAST
		M: 250`)
	o := s.up.taken()[0].opts
	if o.Size != 1000 || o.Body != smtp.Body8BitMIME || !o.UTF8 || o.Return != smtp.DSNReturnHeaders || o.EnvelopeID != "x+1" {
		t.Errorf("%+v", o)
	}
}
