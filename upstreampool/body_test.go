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

package upstreampool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestSameBytes sends bodies that are hard to frame, in pieces of any size.
func TestSameBytes(t *testing.T) {
	random := make([]byte, 700_000)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(random)
	random = bytes.ReplaceAll(bytes.ReplaceAll(random, []byte("\r"), []byte("x")), []byte("\n"), []byte("y"))
	bodies := map[string]string{
		"empty": "", "dot": ".\r\n", "dots": "..\r\n.\r\n...\r\n\r\n.x\r\n", "dot in the middle": "a.b\r\n",
		"no end": "x", "dot without end": ".", "8 bit": "\xe9\xff\x80\x00\r\n", "lf": "a\nb\r\n", "cr": "a\rb\r\n",
		"long line": strings.Repeat("x", 1<<20) + "\r\n", "dot at the edge": strings.Repeat("x", smtpclient.SmallBody-2) + "\r\n.\r\n..\r\n",
		"exactly small": strings.Repeat("x", smtpclient.SmallBody-2) + "\r\n", "one more": strings.Repeat("x", smtpclient.SmallBody-1) + "\r\n",
		"random": string(random) + "\r\n", "grow": strings.Repeat(".x\r\n", 20_000), "all dots": strings.Repeat(".\r\n", 200_000),
		"three chunks": strings.Repeat("0123456789abcde\n", 3*smtpclient.SmallBody/16)[:3*smtpclient.SmallBody-2] + "\r\n",
	}
	for _, framing := range []string{framingAuto, framingData} {
		for _, pipelining := range []bool{true, false} {
			p := newProvider(t, func(p *provider) {
				if !pipelining {
					p.caps = p.caps[1:]
				}
			})
			s := testSettings(t, p, func(tr *SMTPTransport) { tr.Framing = framing })
			u := start(t, s)
			a := testAccount("a@a.test")
			for name, body := range bodies {
				for _, way := range []string{"two", "one"} {
					var r io.Reader = strings.NewReader(body)
					if len(body) < 100_000 {
						r = iotest.HalfReader(iotest.DataErrReader(r))
					}
					var err error
					if way == "one" {
						_, _, err = u.send(t.Context(), a, "from@a.test", nil, relay.Recipient{To: "to@b.test"}, r)
					} else {
						var tx *transaction
						if tx, err = u.begin(t.Context(), a, "from@a.test", nil); err != nil {
							t.Fatal(err)
						}
						if err = tx.Rcpt(t.Context(), "to@b.test", nil); err != nil {
							t.Fatal(err)
						}
						_, err = tx.Data(t.Context(), r)
					}
					if err != nil {
						t.Errorf("%s %s: %v", framing, name, err)
						continue
					}
					want := body
					if framing == framingData && body != "" && !strings.HasSuffix(body, "\r\n") {
						want += "\r\n" // DATA can't say otherwise
					}
					list := p.got()
					if got := list[len(list)-1].body; got != want {
						t.Errorf("%s %s %s: %d bytes became %d", framing, way, name, len(want), len(got))
					}
				}
			}
			if n := p.dialed(); n != 1 {
				t.Errorf("%d connections", n)
			}
			settled(t, u, "a@a.test")
			u.detach(s)
		}
	}
}

// TestNoSmuggling sends everything that a lax server could take for the end of
// data. With BDAT it arrives as it is; with DATA it is refused where a dot
// stands alone between line ends of which not both are CRLF.
func TestNoSmuggling(t *testing.T) {
	p := newProvider(t)
	s := testSettings(t, p, func(tr *SMTPTransport) { tr.Framing = framingData })
	u := start(t, s)
	a := testAccount("a@a.test")
	ends := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r"}
	for _, before := range ends {
		for _, after := range ends {
			for _, edge := range []int{0, smtpclient.SmallBody - len("x"+before), smtpclient.SmallBody - len("x"+before+".")} {
				evil := "MAIL FROM:<evil@b.test>\r\nRCPT TO:<x@b.test>\r\n"
				body := strings.Repeat("y", max(edge, 0)) + "x" + before + "." + after + evil
				err := deliver(u, a, body)
				proper := strings.HasSuffix(before, "\r\n")
				if proper != (err == nil) {
					t.Errorf("%q.%q at %d: %v", before, after, edge, err)
				}
				if err != nil && !errors.Is(err, relay.ReplyBareNewline) {
					t.Errorf("%q.%q: %v", before, after, err)
				}
				if n := p.holds(body); proper && n == 0 || !proper && n != 0 {
					t.Errorf("%q.%q at %d: held %d times", before, after, edge, n)
				}
			}
		}
	}
	for _, m := range p.got() {
		if strings.Contains(m.from, "evil") {
			t.Error("smuggled")
		}
	}
	settled(t, u, "a@a.test")
}

func TestBrokenBodyLeavesNothing(t *testing.T) {
	gone := errors.New("client gone")
	for _, framing := range []string{framingAuto, framingData} {
		for _, size := range []int{0, 1, 1000, smtpclient.SmallBody, smtpclient.SmallBody + 1, 5*smtpclient.SmallBody + 17} {
			for _, own := range []bool{false, true} {
				p := newProvider(t)
				s := testSettings(t, p, func(tr *SMTPTransport) { tr.Framing = framing })
				u := start(t, s)
				a := testAccount("a@a.test")
				cause := gone
				if own {
					cause = relay.ReplyTooBig
				}
				tx, err := u.begin(t.Context(), a, "", nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := tx.Rcpt(t.Context(), "to@b.test", nil); err != nil {
					t.Fatal(err)
				}
				body := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(cause))
				_, err = tx.Data(t.Context(), body)
				r, ok := errors.AsType[*relay.Reply](err)
				if !ok || !errors.Is(err, cause) || own && r != relay.ReplyTooBig {
					t.Error(err)
				}
				if _, _, err := u.send(t.Context(), a, "", nil, relay.Recipient{To: "x@b.test"},
					io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(cause))); !errors.Is(err, cause) {
					t.Error(err)
				}
				if err := deliver(u, a, "whole\r\n"); err != nil {
					t.Error(err)
				}
				settled(t, u, "a@a.test")
				u.detach(s)
				p.stop()
				if list := p.got(); len(list) != 1 || list[0].body != "whole\r\n" {
					t.Errorf("%s, %d bytes: %d messages", framing, size, len(list))
				}
			}
		}
	}
}

func TestRecipients(t *testing.T) {
	for _, pipelining := range []bool{true, false} {
		p := newProvider(t, func(p *provider) {
			if !pipelining {
				p.caps = p.caps[1:]
			}
			p.hook = func(_ *serverConn, line string) string {
				switch {
				case strings.HasPrefix(line, "RCPT TO:<bad"):
					return "550-5.1.1 no such\r\n550 5.1.1 user"
				case strings.HasPrefix(line, "MAIL FROM:<bad"):
					return "550 5.7.60 not you"
				}
				return ""
			}
		})
		s := testSettings(t, p)
		u := start(t, s)
		a := testAccount("a@a.test")
		begin := func(from string) *transaction {
			tx, err := u.begin(t.Context(), a, from, nil)
			if err != nil {
				t.Fatal(err)
			}
			return tx
		}
		// One of three is refused; the others get the message.
		tx := begin("from@a.test")
		for i, to := range []string{"one@b.test", "bad@b.test", "two@b.test"} {
			err := tx.Rcpt(t.Context(), to, nil)
			if i == 1 {
				r, ok := errors.AsType[*relay.Reply](err)
				if !ok || string(r.Append(nil)) != "550-5.1.1 no such\r\n550 5.1.1 user\r\n" || r.Enhanced != [3]int{5, 1, 1} {
					t.Error(err)
				}
			} else if err != nil {
				t.Error(err)
			}
		}
		if _, err := tx.Data(t.Context(), strings.NewReader("x")); err != nil {
			t.Error(err)
		}
		if m := p.got()[0]; strings.Join(m.to, " ") != "RCPT TO:<one@b.test> RCPT TO:<two@b.test>" {
			t.Error(m.to)
		}
		// The refusal of MAIL answers every recipient.
		tx = begin("bad@a.test")
		for _, err := range tx.RcptBatch(t.Context(), []relay.Recipient{{To: "one@b.test"}, {To: "bad@b.test"}}) {
			if err == nil || err.Error() != "550 5.7.60 not you" {
				t.Error(err)
			}
		}
		if err := tx.Rcpt(t.Context(), "later@b.test", nil); err == nil || err.Error() != "550 5.7.60 not you" {
			t.Error(err)
		}
		if _, err := tx.Data(t.Context(), strings.NewReader("x")); err == nil {
			t.Error("sent without a sender")
		}
		// No recipient, no message.
		tx = begin("from@a.test")
		if err := tx.Rcpt(t.Context(), "bad@b.test", nil); err == nil {
			t.Error("accepted")
		}
		if _, err := tx.Data(t.Context(), strings.NewReader("x")); !errors.Is(err, relay.ReplyNoRecipients) {
			t.Error(err)
		}
		tx.Abort()
		// An abandoned envelope reaches nobody.
		tx = begin("from@a.test")
		if err := tx.Rcpt(t.Context(), "abandoned@b.test", nil); err != nil {
			t.Error(err)
		}
		tx.Abort()
		tx.Abort()
		if err := tx.Rcpt(t.Context(), "x@b.test", nil); !errors.Is(err, relay.ReplyBadSequence) {
			t.Error(err)
		}
		if err := deliver(u, a, "y", "last@b.test"); err != nil {
			t.Error(err)
		}
		list := p.got()
		if m := list[len(list)-1]; len(list) != 2 || strings.Join(m.to, " ") != "RCPT TO:<last@b.test>" {
			t.Error(list)
		}
		if n := p.dialed(); n != 1 {
			t.Errorf("%d connections", n)
		}
		settled(t, u, "a@a.test")
		u.detach(s)
	}
}

func TestInjection(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p))
	for _, bad := range []string{
		"a@b.test\r\nRSET", "a@b.test>\r\nRCPT TO:<x@b.test", "a@b.test> SIZE=1", "a b@c.test", "a\x00@b.test", "a\t@b.test",
		`"a@b.test`, `"a\`, "<a@b.test", "\"a\x7f\"@b.test", "é@b.test", strings.Repeat("x", 1001), "a@b.test\n",
	} {
		if _, err := u.begin(t.Context(), testAccount("a@a.test"), bad, nil); !errors.Is(err, relay.ReplyBadSender) {
			t.Errorf("sender %q: %v", bad, err)
		}
		tx, err := u.begin(t.Context(), testAccount("a@a.test"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Rcpt(t.Context(), bad, nil); !errors.Is(err, relay.ReplyBadRecipient) {
			t.Errorf("recipient %q: %v", bad, err)
		}
		tx.Abort()
	}
	for _, line := range p.commands() {
		if !strings.HasPrefix(line, "EHLO") && !strings.HasPrefix(line, "AUTH") && line != "<connect>" {
			t.Errorf("%q was sent", line)
		}
	}
}

func TestWhatTheProviderLacks(t *testing.T) {
	p := newProvider(t, func(p *provider) { p.caps = []string{"PIPELINING", "AUTH=PLAIN LOGIN"} })
	u := start(t, testSettings(t, p))
	a := testAccount("a@a.test")
	for want, opts := range map[*relay.Reply]*smtp.MailOptions{
		relay.ReplyNo8BITMIME:       {Body: smtp.BodyBinaryMIME},
		relay.ReplyUnknownParameter: {RequireTLS: true},
	} {
		if _, err := u.begin(t.Context(), a, "", opts); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	auth := "x"
	tx, err := u.begin(t.Context(), a, "f@a.test", &smtp.MailOptions{Size: 1, Body: smtp.Body7Bit, Return: smtp.DSNReturnFull, EnvelopeID: "e", Auth: &auth})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Rcpt(t.Context(), "t@b.test", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}, OriginalRecipient: "o@b.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Data(context.Background(), strings.NewReader("x\r\n")); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(p.commands()[3:], "\n")
	if want := "MAIL FROM:<f@a.test>\nRCPT TO:<t@b.test>\nDATA\n<body>\n<end>\nRSET"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	settled(t, u, a.Name)
}
