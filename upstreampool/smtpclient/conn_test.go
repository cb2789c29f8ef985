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

package smtpclient

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play is connect with a login.
func play(t *testing.T, cfg *Config, login Login, script string) *Conn {
	t.Helper()
	c := connect(t, cfg, script)
	if derr := c.Login(login); derr != nil {
		t.Fatal(derr)
	}
	return c
}

// connect is a provider that says the lines after `S:` and wants to hear those
// after `C:`, and closes at `END`. What it says in a row leaves together. connect
// returns the connection to it, not logged in.
func connect(t *testing.T, cfg *Config, script string) *Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		if nc.SetDeadline(time.Now().Add(10*time.Second)) != nil {
			return
		}
		br, said := bufio.NewReader(nc), ""
		for line := range strings.Lines(script) {
			who, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
			switch {
			case !ok && strings.TrimSpace(line) == "END":
				_, _ = io.WriteString(nc, said)
				return
			case !ok:
			case who == "S":
				said += text + "\r\n"
			default:
				_, _ = io.WriteString(nc, said)
				said = ""
				got, err := br.ReadString('\n')
				if strings.TrimSuffix(got, "\r\n") != text {
					t.Errorf("the provider got %q, %v, want %q", got, err, text)
					return
				}
			}
		}
		_, _ = io.WriteString(nc, said)
		if rest, err := io.ReadAll(br); err == nil && len(rest) > 0 {
			t.Errorf("the provider got %q at the end", rest)
		}
	}()
	host, port, _ := net.SplitHostPort(ln.Addr().String())
	cfg.Host, cfg.Port, cfg.TLSMode, cfg.Hostname = host, port, NoTLS, "gateway.test"
	cfg.DialTimeout, cfg.GreetingTimeout, cfg.CommandTimeout, cfg.DataTimeout = 5*time.Second, 5*time.Second, 5*time.Second, 5*time.Second
	cfg.Learned = new(Learned)
	c, derr := Dial(t.Context(), cfg, "", nil)
	if derr != nil {
		t.Fatal(derr)
	}
	t.Cleanup(func() {
		c.Abandon()
		<-done
		_ = ln.Close()
	})
	return c
}

const opening = `
	S: 220 provider.test
	C: EHLO gateway.test
	S: 250-provider.test
	S: 250-PIPELINING
	S: 250-CHUNKING
	S: 250-SIZE 1000
	S: 250 AUTH PLAIN
	C: AUTH PLAIN AGFAYS50ZXN0AG1hZGUtdXA=
	S: 235 2.7.0 ok
`

var login = Login{Mailbox: "a@a.test", Secret: "made-up"}

// TestTwoFlights is one message, the provider's own words for each of its
// recipients, and a goodbye.
func TestTwoFlights(t *testing.T) {
	c := play(t, &Config{Mechanism: AuthPlain, BDAT: true}, login, opening+`
		C: MAIL FROM:<a@a.test> SIZE=7
		C: RCPT TO:<one@b.test>
		C: RCPT TO:<two@b.test>
		S: 250 2.1.0 sender
		S: 250 2.1.5 one
		S: 550 5.1.1 no such user
		C: BDAT 7 LAST
		C: hello
		C: RSET
		S: 250 2.0.0 queued
		S: 250 2.0.0 reset
		C: QUIT
		S: 221 2.0.0 bye
	`)
	e := &Envelope{From: "a@a.test", Opts: smtp.MailOptions{Size: 7}}
	if reply := c.CheckMail(e); reply != nil {
		t.Fatal(reply)
	}
	errs := []error{ErrPending, ErrPending}
	if err := c.Flight(t.Context(), e, []relay.Recipient{{To: "one@b.test"}, {To: "two@b.test"}}, errs, true); err != nil {
		t.Fatal(err)
	}
	if errs[0] != nil || errs[1] == nil || errs[1].Error() != "550 5.1.1 no such user" {
		t.Errorf("recipients: %v", errs)
	}
	buf, eof, err := ReadBody(strings.NewReader("hello\r\n"))
	if err != nil || !eof {
		t.Fatal(eof, err)
	}
	defer buf.Free()
	out := c.Transfer(t.Context(), e, buf, eof, nil)
	c.Conclude(&out)
	if !out.Sound || !out.Final || out.Reply == nil || out.Reply.Error() != "250 2.0.0 queued" {
		t.Errorf("outcome %+v", out)
	}
	c.Quit(time.Second)
}

// TestOneFlight is a message that leaves in one write, with RSET behind it so
// that its replies can be counted. A refusal of its sender is the answer.
func TestOneFlight(t *testing.T) {
	c := play(t, &Config{Mechanism: AuthPlain, BDAT: true}, login, opening+`
		C: MAIL FROM:<a@a.test>
		C: RCPT TO:<one@b.test>
		C: BDAT 3 LAST
		C: x
		C: RSET
		S: 550 5.7.1 not you
		S: 503 5.5.1 no sender
		S: 503 5.5.1 no recipient
		S: 250 2.0.0 reset
		C: MAIL FROM:<>
		C: RCPT TO:<one@b.test>
		C: BDAT 3 LAST
		C: x
		C: RSET
		S: 250 2.1.0 sender
		S: 250 2.1.5 one
		S: 250 2.0.0 queued
		S: 250 2.0.0 reset
	`)
	if out := sendSingle(t, c, "a@a.test"); out.Reply == nil || out.Reply.Code != 550 || out.Final || out.Accepted || !out.Sound {
		t.Errorf("outcome %+v", out)
	}
	if out := sendSingle(t, c, ""); out.Reply == nil || out.Reply.Code != 250 || !out.Final || !out.Accepted || !out.Sound {
		t.Errorf("outcome %+v", out)
	}
}

// sendSingle sends a message in one flight.
func sendSingle(t *testing.T, c *Conn, from string) Outcome {
	t.Helper()
	buf, eof, err := ReadBody(strings.NewReader("x\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer buf.Free()
	out, ok := c.Single(t.Context(), &Envelope{From: from}, &relay.Recipient{To: "one@b.test"}, buf, eof)
	if !ok {
		t.Fatal("not in one flight")
	}
	c.Conclude(&out)
	return out
}

// TestRepliesCounted is what a flight's replies mean by their number: the RSET
// behind the message ends the count.
func TestRepliesCounted(t *testing.T) {
	const flight = `
		C: MAIL FROM:<a@a.test>
		C: RCPT TO:<one@b.test>
		C: BDAT 3 LAST
		C: x
		C: RSET
	`
	for name, test := range map[string]struct {
		replies          string
		want             string // of the outcome
		sound            bool
		stutters, noTail bool // what has been learned
	}{
		"in order": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 queued
			S: 250 2.0.0 reset`, want: "250 2.0.0 queued", sound: true},
		"refused": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 554 5.7.1 spam
			S: 250 2.0.0 reset
			C: EHLO gateway.test
			S: 250-provider.test
			S: 250 PIPELINING`, want: "554 5.7.1 spam", sound: true},
		"a refusal too many, then accepted, RSET's reply late": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 554 5.7.1 stray
			S: 250 2.0.0 queued
			C: EHLO gateway.test
			S: 250 2.0.0 reset
			S: 250-provider.test
			S: 250 PIPELINING`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true},
		"one too many, then refused": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 stray
			S: 554 5.7.1 spam
			S: 250 2.0.0 reset`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true},
		"one too many without enhanced codes, first of all": {replies: `
			S: 250 stray
			S: 250 sender
			S: 250 one
			S: 554 spam
			S: 250 reset`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true},
		"a line cut off before a refusal": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0554 5.7.1 spam
			END`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true},
		"a line cut off before a refused recipient": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.550 5.1.1 no such user
			END`, want: relay.ReplyDeliveryUnknown.Error()},
		"a refusal too many, then accepted": {replies: `
			S: 250 2.1.0 sender
			S: 554 5.7.1 stray
			S: 250 2.1.5 one
			S: 250 2.0.0 queued
			S: 250 2.0.0 reset`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true},
		"a refused recipient's chunk, dropped with a good word": {replies: `
			S: 250 2.1.0 sender
			S: 550 5.1.1 no such user
			S: 250 2.0.0 dropped
			S: 250 2.0.0 reset
			C: EHLO gateway.test
			S: 250-provider.test
			S: 250 PIPELINING`, want: "550 5.1.1 no such user", sound: true},
		"one too many, then accepted": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 stray
			S: 250 2.0.0 queued
			S: 250 2.0.0 reset
			C: EHLO gateway.test
			S: 250-provider.test
			S: 250 PIPELINING`, want: "250 2.0.0 stray", sound: true, stutters: true},
		"one too many, then refused at last": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 stray
			S: 250 2.0.0 stray
			S: 250 2.0.0 stray
			C: EHLO gateway.test
			S: 554 5.7.1 spam`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true},
		"a goodbye": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 queued
			S: 421 4.3.2 enough`, want: "250 2.0.0 queued"},
		"refused with a goodbye": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 421 4.3.2 not now`, want: "421 4.3.2 not now"},
		"closed behind the message": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 queued
			END`, want: "250 2.0.0 queued"},
		"RSET not known": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 queued
			S: 502 5.5.1 what`, want: relay.ReplyDeliveryUnknown.Error(), stutters: true, noTail: true},
		"RSET not heard": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 queued
			C: EHLO gateway.test
			S: 250-provider.test
			S: 250 PIPELINING`, want: "250 2.0.0 queued", sound: true, noTail: true},
		"RSET not heard, and the message refused in the end": {replies: `
			S: 250 2.1.0 sender
			S: 250 2.1.5 one
			S: 250 2.0.0 stray
			C: EHLO gateway.test
			S: 554 5.7.1 spam`, want: relay.ReplyDeliveryUnknown.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := play(t, &Config{Mechanism: AuthPlain, BDAT: true}, login, opening+flight+test.replies)
			out := sendSingle(t, c, "a@a.test")
			got := fmt.Sprint(out.Err)
			if out.Reply != nil {
				got = out.Reply.Error()
			}
			if got != test.want || out.Sound != test.sound {
				t.Errorf("outcome %q, sound %v: want %q, %v", got, out.Sound, test.want, test.sound)
			}
			if l := c.cfg.Learned; l.Stutters.Load() != test.stutters || l.NoTail.Load() != test.noTail {
				t.Errorf("learned: stutters %v, no tail %v", l.Stutters.Load(), l.NoTail.Load())
			}
		})
	}
}

// TestTwoAnswers is a provider that answers the end of each message twice: its
// messages are accepted all the same, and a refusal in between is not lost.
func TestTwoAnswers(t *testing.T) {
	for framing, lines := range map[string]string{"BDAT": "C: BDAT 3 LAST\nC: x\nC: RSET\n", "DATA": "C: DATA\nS: 354 go\nC: x\nC: .\nC: RSET\n"} {
		for name, test := range map[string]struct{ replies, want string }{
			"accepted": {"S: 250 2.0.0 queued\nS: 250 2.0.0 queued\nS: 250 reset\nC: EHLO gateway.test\nS: 250-provider.test\nS: 250 SIZE 1\n", "250 2.0.0 queued"},
			"refused":  {"S: 554 5.7.1 spam\nS: 554 5.7.1 spam\nS: 250 reset\n", relay.ReplyDeliveryUnknown.Error()},
			"late":     {"S: 250 2.0.0 of the message before\nS: 554 5.7.1 spam\nS: 250 reset\n", relay.ReplyDeliveryUnknown.Error()},
		} {
			t.Run(framing+"/"+name, func(t *testing.T) {
				t.Parallel()
				c := play(t, &Config{Mechanism: AuthPlain, BDAT: framing == "BDAT"}, login, opening+lines+test.replies)
				checkTransfer(t, c, test.want)
			})
		}
	}
}

// TestApart: without PIPELINING nothing can be sent behind a message, so a command
// of its own ends the count of the replies. EHLO is asked where RSET would not tell:
// at a refusal, and at a provider that has sent replies to nothing.
func TestApart(t *testing.T) {
	const hello = "C: EHLO gateway.test\nS: 250-provider.test\nS: 250 SIZE 1\n"
	unknown := relay.ReplyDeliveryUnknown.Error()
	for name, test := range map[string]struct {
		stutters      bool
		replies, want string
		sound         bool
	}{
		"in order":                      {false, "S: 250 2.0.0 queued\nC: RSET\nS: 250 reset\n", "250 2.0.0 queued", true},
		"one too many, then refused":    {false, "S: 250 2.0.0 stray\nC: RSET\nS: 554 5.7.1 spam\nS: 250 reset\n", unknown, false},
		"one too many, refused late":    {false, "S: 250 2.0.0 stray\nS: 250 2.0.0 stray\nC: EHLO gateway.test\nS: 554 5.7.1 spam\n", unknown, false},
		"closed behind the message":     {false, "S: 250 2.0.0 queued\nC: RSET\nEND\n", "250 2.0.0 queued", false},
		"a goodbye behind the message":  {false, "S: 250 2.0.0 queued\nC: RSET\nS: 421 4.3.2 enough\n", "250 2.0.0 queued", false},
		"refused with a goodbye":        {false, "S: 421 4.3.2 not now\n", "421 4.3.2 not now", false},
		"RSET not known":                {false, "S: 250 2.0.0 queued\nC: RSET\nS: 502 5.5.1 what\n", unknown, false},
		"refused":                       {false, "S: 554 5.7.1 spam\n" + hello, "554 5.7.1 spam", true},
		"refused too much, then kept":   {false, "S: 554 5.7.1 stray\nC: EHLO gateway.test\nS: 250 2.0.0 queued\n", unknown, false},
		"refused twice":                 {false, "S: 554 5.7.1 spam\nS: 554 5.7.1 spam\nC: EHLO gateway.test\n", unknown, false},
		"refused, and closed":           {false, "S: 554 5.7.1 spam\nC: EHLO gateway.test\nEND\n", "554 5.7.1 spam", false},
		"stutters, in order":            {true, "S: 250 2.0.0 queued\n" + hello, "250 2.0.0 queued", true},
		"stutters, late, then refused":  {true, "S: 250 2.0.0 of the message before\nC: EHLO gateway.test\nS: 554 5.7.1 spam\n", unknown, false},
		"stutters, late, then the end":  {true, "S: 250 2.0.0 of the message before\nC: EHLO gateway.test\nEND\n", unknown, false},
		"stutters, late, then accepted": {true, "S: 250 of the message before\nC: EHLO gateway.test\nS: 250 queued\nS: 250-provider.test\nS: 250 SIZE 1\n", "250 of the message before", true},
		"stutters, refused":             {true, "S: 554 5.7.1 spam\n" + hello, "554 5.7.1 spam", true},
	} {
		for framing, lines := range map[string]string{"BDAT": "C: BDAT 3 LAST\nC: x\n", "DATA": "C: DATA\nS: 354 go\nC: x\nC: .\n"} {
			t.Run(framing+"/"+name, func(t *testing.T) {
				t.Parallel()
				c := play(t, &Config{Mechanism: AuthPlain, BDAT: framing == "BDAT"}, login, opening+lines+test.replies)
				c.OneByOne()
				c.cfg.Learned.Stutters.Store(test.stutters)
				if out := checkTransfer(t, c, test.want); out.Sound != test.sound {
					t.Errorf("sound %v", out.Sound)
				}
			})
		}
	}
}

// TestEHLOBehindAStray is a provider that says something of its own before it answers
// EHLO: the account's login was not refused, though its mechanism was not announced.
func TestEHLOBehindAStray(t *testing.T) {
	c := connect(t, &Config{Mechanism: AuthPlain}, `
		S: 220 provider.test
		C: EHLO gateway.test
		S: 250 2.0.0 stray
		C: EHLO gateway.test
		S: 250-provider.test
		S: 250 AUTH PLAIN
		S: 250-provider.test
		S: 250 AUTH PLAIN
	`)
	if derr := c.Login(login); derr == nil || derr.Class != FailLost {
		t.Errorf("login: %v", derr)
	}
}

// checkTransfer sends a body and wants an outcome.
func checkTransfer(t *testing.T, c *Conn, want string) Outcome {
	t.Helper()
	buf, eof, err := ReadBody(strings.NewReader("x\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer buf.Free()
	out := c.Transfer(t.Context(), &Envelope{}, buf, eof, nil)
	c.Conclude(&out)
	got := fmt.Sprint(out.Err)
	if out.Reply != nil {
		got = out.Reply.Error()
	}
	if got != want {
		t.Errorf("outcome %q, want %q", got, want)
	}
	return out
}

// BenchmarkSaid is what the look for secrets costs in a reply with a long word,
// as Microsoft's is, where the token is as long as theirs are.
func BenchmarkSaid(b *testing.B) {
	const reply = "250 2.0.0 OK <AM0PR0402MB3937A1B2C3D4E5F60718293A4B5C6D@AM0PR0402MB3937.eurprd04.prod.outlook.com> [Hostname=AM0PR0402MB3937.eurprd04.prod.outlook.com]\r\n"
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := New(near, &Config{DataTimeout: time.Minute})
	c.login.Token = strings.Repeat("eyJ0eXAiOiJKV1QiLCJub25jZSI6Ik", 70)
	c.replies = relay.NewReplyReader(bufio.NewReader(strings.NewReader(reply)))
	if _, err := c.replies.Read(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if c.Said().Code != 250 {
			b.Fatal("another reply")
		}
	}
}
