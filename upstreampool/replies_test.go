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
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Replies as a provider should not write them, or may: %C is the code that is due.
var (
	// goodReplies say yes.
	goodReplies = []string{
		"%C ok\n", "%C\r\n", "%C \r\n", "%C \x00\x1b[31m ok\r\n", "%C größer ✓\r\n", "%C \xff\xfe\r\n", "%C-\r\n%C\r\n",
		strings.Repeat("%C-x\r\n", 100) + "%C x\r\n", "%C " + strings.Repeat("x", 4000) + "\r\n", "%C-a\n%C-b\n%C c\n", "%C 2.0.0 ok\r\r\n",
	}
	// badReplies say nothing that can be believed.
	badReplies = []string{
		strings.Repeat("%C-x\r\n", 10_000) + "%C x\r\n", "%C " + strings.Repeat("x", 5000) + "\r\n", strings.Repeat("%C-"+strings.Repeat("x", 900)+"\r\n", 100) + "%C x\r\n",
		"%C-ok\r\n550 5.1.1 no\r\n", "%C-ok\r\n450 4.2.0 later\r\n", "550-no\r\n%C ok\r\n", "450-no\r\n%C ok\r\n", "%C-ok\r\n\r\n", "%C-ok\r\nand more\r\n",
		"100 wait\r\n", "199 x\r\n", "099 x\r\n", "000 x\r\n", "600 x\r\n", "999 x\r\n", "2a0 x\r\n", "25\r\n", "\r\n", "\n", "ok\r\n", " %C ok\r\n", "\t%C ok\r\n",
		"-%C ok\r\n", "%C+ok\r\n", "%C\tok\r\n", "%Cok\r\n", "%C=\r\n", "%C0 ok\r\n", "\x00%C ok\r\n", "\ufeff%C ok\r\n", "２５０ ok\r\n", "+OK\r\n", "* OK ready\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"\x15\x03\x01\x00\x02\x02\x28", "100 wait\r\n%C ok\r\n", "%C-",
	}
	// byes end the connection, with what they say before.
	byes = []string{"421 4.3.2 closing\r\n", "421 4.3.2 closing\r\n<close>", "421-4.3.2 closing\r\n421 4.3.2 now\r\n", "<close>", "<half>", "421\r\n<half>", "4<close>", "%C<close>", "%C-ok\r\n<close>"}
	// others are good for another command, and negative.
	others = []string{"220 2.0.0 ready\r\n", "221 2.0.0 bye\r\n", "235 2.7.0 ok\r\n", "250 2.0.0 ok\r\n", "251 2.1.5 forwarded\r\n", "252 2.0.0 maybe\r\n", "334 \r\n", "334 Z28=\r\n", "354 go\r\n"}
)

// due is the code of the good reply at each stage.
var due = map[string]string{"<connect>": "220", "EHLO": "250", "AUTH": "235", "MAIL": "250", "RCPT": "250", "DATA": "354", "BDAT": "250", "<end>": "250", "RSET": "250"}

// TestReplies has a provider answer at each stage in every way that a reply can be
// wrong, or strange and right, whatever it announces and however the message is sent.
// What is said to the client is what became of the message, or that this is not
// known; nothing is delivered twice, nothing is left open, and the next message goes.
func TestReplies(t *testing.T) {
	small := "Subject: x\r\n\r\n.hello\r\n"
	large := strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 400)
	for _, lacks := range []string{"", "PIPELINING", "CHUNKING", "PIPELINING CHUNKING"} {
		for _, way := range []string{"two", "many", "one"} {
			t.Run(fmt.Sprintf("lacks=%s/%s", lacks, way), func(t *testing.T) {
				t.Parallel()
				for stage := range due {
					body := small
					chunked := !strings.Contains(lacks, "CHUNKING")
					if stage == "BDAT" {
						body = large
					}
					if stage == "BDAT" && !chunked || stage == "DATA" && chunked {
						continue
					}
					for _, kind := range [][]string{goodReplies, badReplies, byes, others} {
						for _, reply := range kind {
							if stage == "<end>" && (strings.HasPrefix(reply, "251") || strings.HasPrefix(reply, "252")) {
								continue // good words, as those of RCPT
							}
							if stage == "EHLO" && &kind[0] == &goodReplies[0] {
								continue // it announces nothing
							}
							r := &replyCase{stage: stage, reply: reply, way: way, body: body}
							r.good = &kind[0] == &goodReplies[0] || &kind[0] == &others[0] && (strings.HasPrefix(reply, due[stage]) || stage == "RCPT" && strings.HasPrefix(reply, "25"))
							r.bye = &kind[0] == &byes[0]
							r.test(t, strings.Fields(lacks))
						}
					}
				}
			})
		}
	}
}

type replyCase struct {
	stage, reply, way, body string
	good, bye               bool
}

func (r *replyCase) test(t *testing.T, lacks []string) {
	t.Helper()
	var armed atomic.Bool
	caps := slices.DeleteFunc(slices.Clone(allCaps), func(c string) bool { return slices.Contains(lacks, c) })
	p := newProvider(t, func(p *provider) {
		p.caps = caps
		p.hook = func(s *serverConn, line string) string {
			verb, _, _ := strings.Cut(line, " ")
			if verb != r.stage || verb == "BDAT" && strings.HasSuffix(line, "LAST") || !armed.CompareAndSwap(true, false) {
				return ""
			}
			return r.said(s, line)
		}
	})
	s := testSettings(t, p)
	s.name += fmt.Sprintf("-%p", p)
	u := attach(s)
	a := testAccount("a@a.test")
	send := func(tag string) error {
		switch r.way {
		case "one":
			return single(u, a, tag+r.body)
		case "many":
			tx, err := u.begin(context.Background(), a, "from@a.test", nil)
			if err != nil {
				return err
			}
			defer tx.Abort()
			for _, err := range tx.RcptBatch(context.Background(), slices.Repeat([]relay.Recipient{{To: "to@b.test"}}, 3)) {
				if err != nil {
					return err
				}
			}
			_, err = tx.Data(context.Background(), strings.NewReader(tag+r.body))
			return err
		}
		return deliver(u, a, tag+r.body)
	}
	where := fmt.Sprintf("%s, %.30q", r.stage, r.reply)
	login := r.stage == "<connect>" || r.stage == "EHLO" || r.stage == "AUTH"
	if !login {
		if err := send("before"); err != nil {
			t.Fatalf("%s: the message before: %v", where, err)
		}
	}
	armed.Store(true)
	err := send("this")
	reached := !armed.Swap(false)
	settled(t, u, a.Name)
	if ac := u.peek(a.Name); ac != nil {
		ac.mu.Lock()
		ac.adapt.Forgive() // the pause after a refused login is another test's
		ac.mu.Unlock()
	}
	if after := send("after"); after != nil {
		t.Errorf("%s: %v, and the message after: %v", where, err, after)
	}
	u.detach(s)
	u.closing.Wait()
	u.limits.Wait()
	p.stop()
	held := p.holds("this" + r.body)
	if n := p.holds("after" + r.body); n != 1 {
		t.Errorf("%s: the message after is held %d times", where, n)
	}
	if n := len(p.got()); n != held+1+p.holds("before"+r.body) {
		t.Errorf("%s: %d messages, some of them nobody's", where, n)
	}
	if n := p.count("AUTH"); n > 4 {
		t.Errorf("%s: %d logins", where, n)
	}
	reply, _ := errors.AsType[*relay.Reply](err)
	switch {
	case r.good && err != nil:
		t.Errorf("%s: %v, want it accepted", where, err)
	case err == nil && held != 1, held > 1:
		t.Errorf("%s: %v, and held %d times", where, err, held)
	case err != nil && reply == nil:
		t.Errorf("%s: %v is no reply", where, err)
	case err != nil && reply.Code >= 500 || reply != nil && reply.Code < 400:
		t.Errorf("%s: %v, want a passing failure", where, err)
	case err != nil && held == 1 && !errors.Is(err, relay.ReplyDeliveryUnknown):
		t.Errorf("%s: %v, and it is held", where, err)
	case !r.good && err == nil && r.stage == "<end>" && reached && !r.bye:
		t.Errorf("%s: delivered by a reply that says nothing", where)
	}
}

// said is the reply, with the state of the provider as it would be.
func (r *replyCase) said(s *serverConn, line string) string {
	text := strings.ReplaceAll(r.reply, "%C", due[r.stage])
	if r.good && r.stage == "MAIL" {
		s.from = line
	}
	if r.good && r.stage == "BDAT" {
		var n int
		_, _ = fmt.Sscanf(line, "BDAT %d", &n)
		_, _ = io.CopyN(&s.chunk, s.br, int64(n))
		_, _ = s.nc.Write([]byte(text))
		return "<taken>"
	}
	if text, half := strings.CutSuffix(text, "<half>"); half {
		_, _ = s.nc.Write([]byte(text))
		_ = s.nc.(*net.TCPConn).CloseWrite()
		return "<hang>"
	}
	if !strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "<close>") {
		_, _ = s.nc.Write([]byte(text))
		return "<close>"
	}
	if before, closes := strings.CutSuffix(text, "<close>"); closes && before != "" {
		_, _ = s.nc.Write([]byte(before))
		return "<close>"
	}
	return text
}

// splitConn writes octet by octet, with time between them.
type splitConn struct{ net.Conn }

func (c splitConn) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(20 * time.Microsecond)
	}
	return len(p), nil
}

// TestRepliesInPieces has all that the provider says come octet by octet, records and
// tickets of TLS too: nothing of it is taken for something else.
func TestRepliesInPieces(t *testing.T) {
	large := strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 800)
	conf, pool := testTLS(t)
	for _, mode := range []string{smtpclient.NoTLS, smtpclient.StartTLS, smtpclient.ImplicitTLS} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, lacks := range []string{"", "PIPELINING", "CHUNKING"} {
				t.Run(fmt.Sprintf("%s/%x/lacks=%s", mode, version, lacks), func(t *testing.T) {
					t.Parallel()
					p := newProvider(t, func(p *provider) {
						p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(c string) bool { return c == lacks })
						p.wrap = func(nc net.Conn) net.Conn { return splitConn{nc} }
						if p.implicit = mode == smtpclient.ImplicitTLS; mode != smtpclient.NoTLS {
							p.tls = conf.Clone()
							p.tls.MaxVersion = version
						}
					})
					s := testSettings(t, p, func(tr *SMTPTransport) { tr.TLS = &UpstreamTLS{Mode: mode} })
					if s.TLS != nil {
						s.TLS.RootCAs = pool
					}
					u := start(t, s)
					var wg sync.WaitGroup
					for n := range 3 {
						wg.Go(func() {
							for i := range 4 {
								body := fmt.Sprintf("%d.%d\r\n", n, i)
								if i == 3 {
									body += large
								}
								send := deliver
								if i%2 == 0 {
									send = func(u *upstream, a *accounts.Account, body string, _ ...string) error { return single(u, a, body) }
								}
								if err := send(u, testAccount("a@a.test"), body); err != nil {
									t.Error(err)
								}
								if k := p.holds(body); k != 1 {
									t.Errorf("held %d times", k)
								}
							}
						})
					}
					wg.Wait()
					if k := p.dialed(); k > 3 {
						t.Errorf("%d connections, want 3", k)
					}
				})
			}
		}
	}
}

// TestAnnouncedOtherwise has a provider announce less on the connection that takes the
// place of one which ended under a message: what the message needs, and was promised
// by the first, is not sent to the second. The client hears of a passing failure.
func TestAnnouncedOtherwise(t *testing.T) {
	const body = "Subject: \xc3\xa4\r\n\r\n\xc3\xb6\r\n"
	for name, tc := range map[string]struct {
		lacks string
		opts  smtp.MailOptions
		fits  bool
	}{
		"8BITMIME":              {"8BITMIME", smtp.MailOptions{Body: smtp.Body8BitMIME}, false},
		"SMTPUTF8":              {"SMTPUTF8", smtp.MailOptions{UTF8: true}, false},
		"BINARYMIME":            {"BINARYMIME", smtp.MailOptions{Body: smtp.BodyBinaryMIME}, false},
		"CHUNKING":              {"CHUNKING", smtp.MailOptions{Body: smtp.BodyBinaryMIME}, false},
		"PIPELINING":            {"PIPELINING", smtp.MailOptions{Body: smtp.Body8BitMIME, UTF8: true}, true},
		"CHUNKING, not needed":  {"CHUNKING", smtp.MailOptions{Body: smtp.Body8BitMIME, UTF8: true}, true},
		"8BITMIME, not claimed": {"8BITMIME", smtp.MailOptions{UTF8: true}, true},
	} {
		for _, way := range []string{"one", "two", "between"} {
			for _, end := range []string{"<close>", "421 4.3.2 closing<close>"} {
				t.Run(fmt.Sprintf("%s/%s/%.3s", name, way, end), func(t *testing.T) {
					all := append([]string{"BINARYMIME"}, allCaps...)
					var ends atomic.Bool
					p := newProvider(t, func(p *provider) {
						p.caps = all
						p.hook = func(s *serverConn, line string) string {
							at := "MAIL"
							if way == "between" {
								at = "DATA,BDAT" // which has not begun
							}
							verb, _, _ := strings.Cut(line, " ")
							switch {
							case verb == "EHLO" && s.n > 1:
								lines := "250-provider.test\r\n"
								for _, c := range all {
									if c != tc.lacks {
										lines += "250-" + c + "\r\n"
									}
								}
								return lines + "250 HELP"
							case strings.Contains(at, verb) && ends.CompareAndSwap(true, false):
								return end
							}
							return ""
						}
					})
					u := start(t, testSettings(t, p))
					a := testAccount("a@a.test")
					if err := deliver(u, a, "before"); err != nil {
						t.Fatal(err)
					}
					ends.Store(true)
					var err error
					if way == "one" {
						_, _, err = u.send(t.Context(), a, "from@a.test", &tc.opts, relay.Recipient{To: "to@b.test"}, strings.NewReader(body))
					} else {
						var tx *transaction
						if tx, err = u.begin(t.Context(), a, "from@a.test", &tc.opts); err != nil {
							t.Fatal(err)
						}
						if err = tx.Rcpt(t.Context(), "to@b.test", nil); err == nil {
							_, err = tx.Data(t.Context(), strings.NewReader(body))
						}
						tx.Abort()
					}
					held := p.holds(body)
					reply, _ := errors.AsType[*relay.Reply](err)
					switch {
					case tc.fits && way != "between" && !(way == "one" && end == "<close>") && (err != nil || held != 1):
						t.Errorf("%v, held %d times, want it delivered", err, held)
					case err == nil && (!tc.fits || held != 1):
						t.Errorf("delivered, and held %d times", held)
					case err != nil && (held != 0 || reply == nil || reply.Code/100 != 4):
						t.Errorf("%v, held %d times, want a passing failure", err, held)
					}
				})
			}
		}
	}
}
