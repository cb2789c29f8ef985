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
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestForgottenSession has a provider refuse MAIL, RCPT or DATA in words that mean
// the session: on a connection that has worked the message goes out on another
// one, once; on a new one it is no final refusal; either way the connection
// carries nothing more.
func TestForgottenSession(t *testing.T) {
	replies := []string{
		"530 5.7.57 Client not authenticated to send mail. [X]",
		"530-5.7.0 Authentication Required. For more information, go to\r\n530 5.7.0 https://support.google.com/accounts - gsmtp",
		"503 5.5.1 Bad sequence of commands", "535 5.7.3 Authentication unsuccessful", "451 4.7.0 Timeout waiting for client input", "451 4.4.2 gone",
		"450 4.4.2 gone", "454 4.7.0 Temporary authentication failure", "534 5.7.9 log in with your browser", "538 5.7.11 encrypt", "502 5.5.1 EHLO first", "500 5.5.1 Command unrecognized",
	}
	ways := map[string]func(u *upstream, body string) error{
		"one":      func(u *upstream, body string) error { return deliverBetween(u, body, 1, func() {}) },
		"many":     func(u *upstream, body string) error { return deliverBetween(u, body, 3, func() {}) },
		"deferred": func(u *upstream, body string) error { return single(u, testAccount("a@a.test"), body) },
	}
	for _, without := range []string{"", "PIPELINING", "CHUNKING"} {
		for way, send := range ways {
			for _, stage := range []string{"MAIL", "RCPT", "DATA"} {
				if stage == "DATA" && without != "CHUNKING" {
					continue
				}
				for _, pooled := range []bool{true, false} {
					t.Run(fmt.Sprintf("without=%s/%s/%s/pooled=%v", without, way, stage, pooled), func(t *testing.T) {
						t.Parallel()
						for _, reply := range replies {
							testForgotten(t, without, stage, pooled, reply, send)
						}
					})
				}
			}
		}
	}
}

func testForgotten(t *testing.T, without, stage string, pooled bool, reply string, send func(*upstream, string) error) {
	t.Helper()
	var bad atomic.Int64 // the connection that is forgotten; -1: all of them
	p := newProvider(t, func(p *provider) {
		p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(s string) bool { return s == without })
		p.hook = func(s *serverConn, line string) string {
			if n := bad.Load(); n != int64(s.n) && n != -1 {
				return ""
			}
			switch verb, _, _ := strings.Cut(line, " "); {
			case verb == stage:
				return reply
			case verb == "RCPT":
				return "503 5.5.1 MAIL first"
			}
			return ""
		}
	})
	s := testSettings(t, p)
	s.name += reply[:12]
	u := start(t, s)
	if !pooled {
		bad.Store(-1)
		err := send(u, "fresh\r\n")
		if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Code/100 != 4 {
			t.Errorf("%q: outcome on a new connection %v: want a passing refusal", reply, err)
		}
	} else {
		if err := send(u, "first\r\n"); err != nil {
			t.Fatal(err)
		}
		bad.Store(1)
		if err := send(u, "second\r\n"); err != nil {
			t.Errorf("%q: %v", reply, err)
		}
		if n := p.holds("second\r\n"); n != 1 {
			t.Errorf("%q: held %d times, want once", reply, n)
		}
	}
	bad.Store(0)
	if ac := u.peek("a@a.test"); ac != nil {
		ac.mu.Lock()
		ac.adapt.Forgive()
		ac.mu.Unlock()
	}
	before := p.dialed()
	if err := send(u, "third\r\n"); err != nil {
		t.Errorf("%q: the message after: %v", reply, err)
	}
	if pooled && p.dialed() != 2 {
		t.Errorf("%q: %d connections, want 2", reply, p.dialed())
	}
	if !pooled && p.dialed() != before+1 {
		t.Errorf("%q: a connection that was refused carried the message after", reply)
	}
}

// TestForgottenAtTheEnd has a provider refuse the end of a message in such words. The
// message was not accepted: it goes out again, once, where all of it is still there
// and nobody behind the provider can have it; else the client hears a passing refusal.
func TestForgottenAtTheEnd(t *testing.T) {
	for _, without := range []string{"", "PIPELINING", "CHUNKING"} {
		for _, large := range []bool{false, true} {
			for _, reply := range []string{"530 5.7.57 Client not authenticated", "503 5.5.1 Bad sequence", "535 5.7.3 no", "538 5.7.11 encrypt", "451 4.4.2 gone", "450 4.4.2 gone"} {
				for _, way := range []string{"many", "deferred"} {
					t.Run(fmt.Sprintf("without=%s/large=%v/%s/%s", without, large, way, reply[:3]), func(t *testing.T) {
						t.Parallel()
						var armed atomic.Bool
						p := newProvider(t, func(p *provider) {
							p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(s string) bool { return s == without })
							p.hook = func(s *serverConn, line string) string {
								if line == "<end>" && s.n == 1 && armed.Load() {
									return reply
								}
								return ""
							}
						})
						u := start(t, testSettings(t, p))
						send := func(text string) error {
							if large {
								text += strings.Repeat(strings.Repeat("x", 98)+"\r\n", 10*smtpclient.SmallBody/100)
							}
							if way == "deferred" {
								return single(u, testAccount("a@a.test"), text)
							}
							return deliverBetween(u, text, 3, func() {})
						}
						if err := send("first\r\n"); err != nil {
							t.Fatal(err)
						}
						armed.Store(true)
						again := without != "CHUNKING" && !large && reply[0] == '5'
						err := send("second\r\n")
						r, _ := errors.AsType[*relay.Reply](err)
						if again && err != nil || !again && (r == nil || r.Code/100 != 4) {
							t.Errorf("outcome %v", err)
						}
						if err := send("third\r\n"); err != nil || p.dialed() != 2 {
							t.Errorf("the message after: %v, %d connections", err, p.dialed())
						}
					})
				}
			}
		}
	}
}

// TestUnknownBDAT has a provider announce CHUNKING and not know BDAT: it takes
// the chunk for commands. Each message is delivered with DATA, on a connection
// that has heard nothing of the chunk.
func TestUnknownBDAT(t *testing.T) {
	for _, code := range []string{"500", "502", "503", "504"} {
		for _, size := range []int{1, 20000} {
			for _, way := range []string{"two", "one"} {
				t.Run(fmt.Sprintf("%s/%d/%s", code, size, way), func(t *testing.T) {
					t.Parallel()
					p := newProvider(t, func(p *provider) { p.noBDAT = code + " 5.5.1 Command not implemented" })
					u := start(t, testSettings(t, p))
					for i := range 3 {
						body := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat("RSET\r\nhi\r\n", size)
						var err error
						if way == "one" {
							err = single(u, testAccount("a@a.test"), body)
						} else {
							err = deliver(u, testAccount("a@a.test"), body, "a@b.test", "b@b.test")
						}
						if err != nil {
							t.Errorf("message %d: %v", i, err)
						}
						if n := p.holds(body); n != 1 {
							t.Errorf("message %d is held %d times, want once", i, n)
						}
					}
					if n := p.count("BDAT"); n != 1 {
						t.Errorf("BDAT was tried %d times, want once", n)
					}
					if n := p.dialed(); n != 2 {
						t.Errorf("%d connections, want 2", n)
					}
				})
			}
		}
	}
}

// TestBrokenPipelining has a provider announce PIPELINING and lose, refuse or
// end what follows the first command.
func TestBrokenPipelining(t *testing.T) {
	for _, how := range []string{"lose", "refuse", "close"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, func(p *provider) {
				p.hook = func(s *serverConn, line string) string {
					if !strings.HasPrefix(line, "MAIL") || s.br.Buffered() == 0 {
						return ""
					}
					switch how {
					case "lose":
						_, _ = s.br.Discard(s.br.Buffered())
						s.from = line
						return "250 2.1.0 ok"
					case "close":
						return "250 2.1.0 ok<close>"
					}
					_, _ = s.br.Discard(s.br.Buffered())
					return "250 2.1.0 ok\r\n503 5.5.0 pipelining not allowed"
				}
			})
			s := testSettings(t, p)
			s.CommandTimeout = 300 * time.Millisecond
			u := start(t, s)
			for i := range 3 {
				body := fmt.Sprint("message ", i)
				if err := deliver(u, testAccount("a@a.test"), body, "a@b.test"); err != nil || p.holds(body) != 1 {
					t.Errorf("message %d: %v, held %d times", i, err, p.holds(body))
				}
			}
			if n := p.dialed(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// TestPipeliningIsNotGivenUpLightly: where it has worked, a connection that
// ends in the middle of a flight teaches nothing.
func TestPipeliningIsNotGivenUpLightly(t *testing.T) {
	var cut atomic.Bool
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if strings.HasPrefix(line, "RCPT") && cut.CompareAndSwap(true, false) {
				return "<close>"
			}
			return ""
		}
	})
	s := testSettings(t, p)
	u := start(t, s)
	if err := deliver(u, testAccount("a@a.test"), "first"); err != nil {
		t.Fatal(err)
	}
	cut.Store(true)
	_ = deliver(u, testAccount("a@a.test"), "second")
	if s.Learned.NoPipelining.Load() {
		t.Error("PIPELINING was given up")
	}
}

func TestSlowGreeting(t *testing.T) {
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if line == "<connect>" {
				time.Sleep(200 * time.Millisecond) // the provider's pause is what is tested
			}
			return ""
		}
	})
	s := testSettings(t, p)
	s.DialTimeout = 50 * time.Millisecond
	if err := deliver(start(t, s), testAccount("a@a.test"), "x"); err != nil {
		t.Error(err)
	}
	if got, err := (&SMTPTransport{Preset: "gmail"}).resolve("x"); err != nil || got.GreetingTimeout != time.Minute {
		t.Errorf("greeting within %v, %v: want a minute", got.GreetingTimeout, err)
	}
}

// TestIntroduceAs: the smtp app's name is what an upstream without its own says.
func TestIntroduceAs(t *testing.T) {
	for own, want := range map[string]string{"": "relay.example", "own": "own"} {
		tr := &SMTPTransport{Dial: "127.0.0.1:1", Hostname: own, Auth: &UpstreamAuth{Mechanism: smtpclient.AuthNone}}
		if err := tr.Bind("x"); err != nil {
			t.Fatal(err)
		}
		before := tr.bound.identity
		tr.IntroduceAs("short")
		if tr.bound.identity != before {
			t.Error("a short name was taken")
		}
		tr.IntroduceAs("relay.example")
		if tr.bound.Hostname != want {
			t.Errorf("EHLO %s, want %s", tr.bound.Hostname, want)
		}
		if (tr.bound.identity != before) != (own == "") {
			t.Error("connections under another name would be lent")
		}
	}
}

func TestHelloName(t *testing.T) {
	for name, tc := range map[string]struct {
		hostname string
		named    bool
		want     string
	}{
		"operator's": {"short", true, "EHLO short"}, "system's": {"host.example", false, "EHLO host.example"},
		"system's, short": {"box", false, "EHLO [127.0.0.1]"}, "trailing dot": {"box.", false, "EHLO [127.0.0.1]"},
	} {
		p := newProvider(t)
		s := testSettings(t, p)
		s.Hostname, s.Named = tc.hostname, tc.named
		s.name += name
		if err := deliver(start(t, s), testAccount("a@a.test"), "x"); err != nil {
			t.Error(err)
		}
		if p.count(tc.want) != 1 {
			t.Errorf("%s: want %s in %q", name, tc.want, p.commands())
		}
	}
}
