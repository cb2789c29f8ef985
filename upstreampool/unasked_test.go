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
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestUnaskedReply has the provider say one reply too many at every place of a
// session and refuse the message that follows: whatever the framing, the
// envelope and the encryption, the refused message is never confirmed, and the
// connection carries nothing more.
func TestUnaskedReply(t *testing.T) {
	const stray = "250 2.0.0 stray"
	small, large := "Subject: x\r\n\r\nhello\r\n", strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 800)
	without := func(word string) []string {
		return slices.DeleteFunc(slices.Clone(allCaps), func(s string) bool { return s == word })
	}
	ways := map[string]func(u *upstream, body string, between func()) error{
		"one": func(u *upstream, body string, between func()) error { return deliverBetween(u, body, 1, between) },
		"many": func(u *upstream, body string, between func()) error {
			return deliverBetween(u, body, 3, between)
		},
		"deferred": func(u *upstream, body string, _ func()) error { return single(u, testAccount("a@a.test"), body) },
	}
	// Where the stray reply is: with a reply of the provider's, before the
	// second message, or between its envelope and its body.
	places := []string{"MAIL", "RCPT", "BDAT", "DATA", "<end>", "idle", "between"}
	for _, encrypted := range []bool{false, true} {
		for _, caps := range []string{"", "PIPELINING", "CHUNKING"} {
			for way, send := range ways {
				for size, body := range map[string]string{"small": small, "large": large} {
					t.Run(fmt.Sprintf("tls=%v/without=%s/%s/%s", encrypted, caps, way, size), func(t *testing.T) {
						t.Parallel()
						for _, place := range places {
							testUnasked(t, encrypted, without(caps), place, stray, body, send)
						}
					})
				}
			}
		}
	}
}

// newTLSProvider is newProvider and testSettings, with STARTTLS if encrypted.
func newTLSProvider(t testing.TB, encrypted bool, mod ...func(*provider)) (*provider, *settings) {
	t.Helper()
	if !encrypted {
		p := newProvider(t, mod...)
		return p, testSettings(t, p)
	}
	conf, pool := testTLS(t)
	p := newProvider(t, append(mod, func(p *provider) { p.tls = conf })...)
	s := testSettings(t, p, func(tr *SMTPTransport) { tr.TLS = &UpstreamTLS{Mode: smtpclient.StartTLS} })
	s.TLS.RootCAs = pool
	return p, s
}

// deliverBetween delivers to n recipients and calls between before the body.
func deliverBetween(u *upstream, body string, n int, between func()) error {
	tx, err := u.begin(context.Background(), testAccount("a@a.test"), "from@a.test", nil)
	if err != nil {
		return err
	}
	defer tx.Abort()
	for _, err := range tx.RcptBatch(context.Background(), slices.Repeat([]relay.Recipient{{To: "to@b.test"}}, n)) {
		if err != nil {
			return err
		}
	}
	between()
	_, err = tx.Data(context.Background(), strings.NewReader(body))
	return err
}

func testUnasked(t *testing.T, encrypted bool, caps []string, place, stray, body string, send func(*upstream, string, func()) error) {
	t.Helper()
	var second, said atomic.Bool
	var conn atomic.Pointer[serverConn]
	var strayOn, refusedOn atomic.Int64
	say := func() {
		s := conn.Load()
		said.Store(true)
		strayOn.Store(int64(s.n))
		_, _ = io.WriteString(s.nc, stray+"\r\n")
	}
	p, s := newTLSProvider(t, encrypted, func(p *provider) {
		p.caps = caps
		p.hook = func(s *serverConn, line string) string {
			usual := map[string]string{"MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "BDAT": "", "DATA": "354 go", "<end>": "554 5.7.1 refused"}
			verb, args, _ := strings.Cut(line, " ")
			// Who carries a message: one that was given up may still have lines to read.
			if verb == "MAIL" {
				conn.Store(s)
			}
			if verb != "<end>" && verb != place || !second.Load() {
				return ""
			}
			if verb == "<end>" {
				// A provider looks at a message before it refuses it: nothing
				// follows the reply too many for a while.
				time.Sleep(5 * time.Millisecond)
				refusedOn.Store(int64(s.n))
			}
			r := usual[verb]
			if verb != place || !said.CompareAndSwap(false, true) {
				if verb == "<end>" {
					return r
				}
				said.Store(true)
				return ""
			}
			strayOn.Store(int64(s.n))
			switch {
			case verb == "BDAT" && strings.HasSuffix(args, "LAST"):
				said.Store(false)
				return "" // `<end>` is its reply
			case verb == "BDAT":
				r = "250 2.0.0 chunk"
			case verb == "<end>":
				return "250 2.0.0 ok\r\n554 5.7.1 which of them" // held, and not to be believed
			case verb == "MAIL":
				s.from = line
			}
			return r + "\r\n" + stray
		}
	})
	s.name += "-" + place
	u := start(t, s)
	if err := send(u, "first"+body, func() {}); err != nil {
		t.Fatalf("%s: the message before: %v", place, err)
	}
	second.Store(true)
	if place == "idle" {
		say()
	}
	between := func() {
		if place == "between" {
			say()
		}
	}
	err := send(u, "second"+body, between)
	r, isReply := errors.AsType[*relay.Reply](err)
	if !isReply {
		t.Fatalf("%s: outcome %v: want a refusal", place, err)
	}
	// A refusal for good is the provider's own word only where the whole of the
	// message was said again on a connection without a reply too many.
	anew := r.Code == 554 && refusedOn.Load() > strayOn.Load()
	if said.Load() && place != "idle" && r.Code/100 != 4 && !anew {
		t.Errorf("%s: outcome %v: want a passing refusal", place, r)
	}
	if (place == "idle" || place == "between" && said.Load()) && !anew {
		t.Errorf("%s: outcome %v: want the provider's, on a new connection", place, r)
	}
	// The third is another client's; the connection in doubt does not carry it.
	second.Store(false)
	if err := send(u, "third"+body, func() {}); err != nil {
		t.Errorf("%s: the message after: %v", place, err)
	}
	if p.holds("third"+body) != 1 || p.holds("first"+body) != 1 {
		t.Errorf("%s: held: first %d times, third %d times", place, p.holds("first"+body), p.holds("third"+body))
	}
	if n := strayOn.Load(); n != 0 && said.Load() && int64(conn.Load().n) == n {
		t.Errorf("%s: the connection with the stray reply carried the message after", place)
	}
}

// TestRepliesOutOfStep delays the replies so that the one too many comes when
// the flight has left, and nothing is left over when the end's is read.
func TestRepliesOutOfStep(t *testing.T) {
	var second atomic.Bool
	release := make(chan struct{})
	p := newProvider(t, func(p *provider) {
		p.hook = func(s *serverConn, line string) string {
			if !second.Load() {
				return ""
			}
			switch verb, _, _ := strings.Cut(line, " "); verb {
			case "MAIL":
				s.from = line
				return "250 2.0.0 late and again\r\n250 2.1.0 sender ok"
			case "<end>":
				<-release
				return "554 5.7.1 refused"
			}
			return ""
		}
	})
	u := start(t, testSettings(t, p))
	a := testAccount("a@a.test")
	if err := single(u, a, "first"); err != nil {
		t.Fatal(err)
	}
	second.Store(true)
	err := single(u, a, "second")
	close(release)
	if !errors.Is(err, relay.ReplyDeliveryUnknown) {
		t.Errorf("outcome %v: want %v", err, relay.ReplyDeliveryUnknown)
	}
}

// TestGoodbyeAfterReply: a 421 may follow any reply and takes nothing from it.
func TestGoodbyeAfterReply(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		p, s := newTLSProvider(t, encrypted, func(p *provider) {
			p.hook = func(_ *serverConn, line string) string {
				if line == "<end>" {
					return "250 2.0.0 queued\r\n421 4.3.2 closing<close>"
				}
				return ""
			}
		})
		s.name += fmt.Sprint(encrypted)
		u := start(t, s)
		for i := range 3 {
			if err := deliver(u, testAccount("a@a.test"), fmt.Sprint(i)); err != nil {
				t.Errorf("encrypted=%v: message %d: %v", encrypted, i, err)
			}
		}
		if n := p.dialed(); n != 3 {
			t.Errorf("encrypted=%v: %d connections, want 3", encrypted, n)
		}
	}
}
