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
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// announcing is a reply to EHLO.
func announcing(caps ...string) string {
	return "250-provider.test at your service\r\n" + strings.Join(append(slices.Collect(func(yield func(string) bool) {
		for _, c := range caps {
			if !yield("250-" + c) {
				return
			}
		}
	}), "250 HELP"), "\r\n")
}

// TestAnnouncedAroundTLS has a provider announce one thing in the clear and another in
// TLS: what counts is what was said in TLS (RFC 3207 section 4.2).
func TestAnnouncedAroundTLS(t *testing.T) {
	much := []string{"PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 1000"}
	login := []string{"AUTH LOGIN"}
	for name, tc := range map[string]struct {
		before, after []string
		refused       bool
		chunked       bool
	}{
		"less":                 {before: slices.Concat(much, login), after: login},
		"more":                 {after: slices.Concat(much, login), chunked: true},
		"login before only":    {before: slices.Concat(much, login), after: much, refused: true},
		"login behind only":    {before: much, after: slices.Concat(much, login), chunked: true},
		"other login before":   {before: []string{"AUTH PLAIN"}, after: login},
		"starttls once more":   {before: login, after: append([]string{"STARTTLS"}, login...)},
		"old form, lower case": {after: []string{"auth=login", "pipelining", "chunking", "", "size"}, chunked: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, s := newTLSProvider(t, true, func(p *provider) {
				p.hook = func(s *serverConn, line string) string {
					_, encrypted := s.nc.(*tls.Conn)
					switch verb, _, _ := strings.Cut(line, " "); {
					case verb == "EHLO" && encrypted:
						return announcing(tc.after...)
					case verb == "EHLO":
						return announcing(append([]string{"STARTTLS"}, tc.before...)...)
					case verb == "AUTH":
						return "334 VXNlcm5hbWU6"
					case line == "YUBhLnRlc3Q=":
						return "334 UGFzc3dvcmQ6"
					case line == "bWFkZS11cA==":
						return "235 2.7.0 ok"
					case verb == "MAIL" && !slices.Contains(tc.after, "PIPELINING") && !slices.Contains(tc.after, "pipelining") && s.br.Buffered() > 0:
						return "503 5.5.0 one by one"
					}
					return ""
				}
			})
			s.Mechanism = smtpclient.AuthLogin
			u := start(t, s)
			err := deliver(u, testAccount("a@a.test"), "Subject: x\r\n\r\nx\r\n", "b@b.test", "c@c.test")
			if tc.refused {
				if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Code/100 != 4 || p.count("AUTH") != 0 {
					t.Errorf("%v, %q", err, p.commands())
				}
				return
			}
			if err != nil || len(p.got()) != 1 || p.dialed() != 1 {
				t.Errorf("%v, %d at the provider", err, len(p.got()))
			}
			if tc.chunked != (p.count("BDAT") == 1) || tc.chunked == (p.count("DATA") == 1) {
				t.Errorf("%q", p.commands())
			}
		})
	}
}

// TestAnnouncedLater has a provider announce something else to the EHLO that ends a
// count of replies behind a refused message, as one can that announces by who is
// logged in: the messages that follow on the connection go by it.
func TestAnnouncedLater(t *testing.T) {
	for name, tc := range map[string]struct{ before, after []string }{
		"less": {[]string{"PIPELINING", "CHUNKING", "DSN", "SIZE 1000000", "AUTH PLAIN"}, []string{"SIZE 10"}},
		"more": {[]string{"PIPELINING", "AUTH PLAIN"}, []string{"PIPELINING", "CHUNKING", "DSN", "SIZE"}},
		"none": {[]string{"PIPELINING", "CHUNKING", "AUTH PLAIN"}, nil}, // which may be another reply
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var later, refuse atomic.Bool
			p := newProvider(t, func(p *provider) {
				p.hook = func(s *serverConn, line string) string {
					now := tc.before
					if later.Load() && s.n == 1 {
						now = tc.after
					}
					switch verb, _, _ := strings.Cut(line, " "); {
					case verb == "EHLO":
						return announcing(now...)
					case verb == "BDAT" && !slices.Contains(now, "CHUNKING"):
						return "500 5.5.1 unknown"
					case verb == "MAIL" && !slices.Contains(now, "PIPELINING") && s.br.Buffered() > 0:
						return "503 5.5.0 one by one"
					case line == "<end>" && refuse.CompareAndSwap(true, false):
						later.Store(true)
						return "554 5.7.1 refused"
					}
					return ""
				}
			})
			u := start(t, testSettings(t, p))
			a := testAccount("a@a.test")
			if err := deliver(u, a, "first\r\n"); err != nil {
				t.Fatal(err)
			}
			refuse.Store(true)
			if r, ok := errors.AsType[*relay.Reply](deliver(u, a, "refused\r\n")); !ok || name != "none" && r.Code != 554 || r.Code < 400 {
				t.Errorf("the refused message: %v", r)
			}
			said := len(p.commands())
			if err := deliver(u, a, "second\r\n", "b@b.test", "c@c.test"); err != nil || p.holds("second\r\n") != 1 {
				t.Errorf("%v, held %d times", err, p.holds("second\r\n"))
			}
			if name == "none" {
				return
			}
			if p.dialed() != 1 {
				t.Errorf("%d connections", p.dialed())
			}
			if chunked := slices.ContainsFunc(p.commands()[said:], func(l string) bool { return strings.HasPrefix(l, "BDAT") }); chunked != slices.Contains(tc.after, "CHUNKING") {
				t.Errorf("%q", p.commands()[said:])
			}
		})
	}
}

// TestNothingAnnounced has a provider, a relay without logins, announce nothing that
// is known here: a refused message is refused in its words, and the connection goes on.
func TestNothingAnnounced(t *testing.T) {
	for _, reply := range []string{"250 provider.test", "250-provider.test\r\n250 HELP", "250-provider.test Hello\r\n250-XFOO\r\n250-\r\n250 ", "250 163.example ok"} {
		var refuse atomic.Bool
		p := newProvider(t, func(p *provider) {
			p.hook = func(_ *serverConn, line string) string {
				switch {
				case strings.HasPrefix(line, "EHLO"):
					return reply
				case line == "<end>" && refuse.CompareAndSwap(true, false):
					return "554 5.7.1 refused"
				}
				return ""
			}
		})
		s := testSettings(t, p, func(tr *SMTPTransport) { tr.Auth.Mechanism = smtpclient.AuthNone })
		s.name += reply
		u := start(t, s)
		for i := range 3 {
			refuse.Store(i == 1)
			err := deliver(u, testAccount("a@a.test"), "x\r\n")
			if r, _ := errors.AsType[*relay.Reply](err); i != 1 && err != nil || i == 1 && (r == nil || r.Code != 554) {
				t.Errorf("%q: message %d: %v", reply, i, err)
			}
		}
		if p.dialed() != 1 || len(p.got()) != 2 || s.Learned.Stutters.Load() {
			t.Errorf("%q: %d connections, %d messages, stutters %v", reply, p.dialed(), len(p.got()), s.Learned.Stutters.Load())
		}
	}
}

// TestSizeAnnounced has SIZE in shapes that RFC 1870 knows, and in others: the
// provider hears the size and judges by itself.
func TestSizeAnnounced(t *testing.T) {
	for _, size := range []string{"SIZE", "SIZE 0", "size 10", "SIZE 1", "SIZE 99999999999999999999999999", "SIZE -1", "SIZE x", "SIZE 10\r\n250-SIZE 0", "SIZE\t10"} {
		var refuse atomic.Bool
		p := newProvider(t, func(p *provider) {
			p.hook = func(_ *serverConn, line string) string {
				switch {
				case strings.HasPrefix(line, "EHLO"):
					return announcing(size, "AUTH PLAIN")
				case strings.HasPrefix(line, "MAIL") && refuse.Load():
					return "552 5.3.4 too large"
				}
				return ""
			}
		})
		s := testSettings(t, p)
		s.name += size
		u := start(t, s)
		send := func() error {
			tx, err := u.begin(t.Context(), testAccount("a@a.test"), "a@a.test", &smtp.MailOptions{Size: 100})
			if err != nil {
				return err
			}
			defer tx.Abort()
			if err := tx.Rcpt(t.Context(), "b@b.test", nil); err != nil {
				return err
			}
			_, err = tx.Data(t.Context(), strings.NewReader("x\r\n"))
			return err
		}
		if err := send(); err != nil || p.count("MAIL FROM:<a@a.test> SIZE=100") != 1 {
			t.Errorf("%q: %v, %q", size, err, p.commands())
		}
		refuse.Store(true)
		if r, ok := errors.AsType[*relay.Reply](send()); !ok || r.Code != 552 {
			t.Errorf("%q: %v", size, r)
		}
	}
}

// TestNoEHLO: a provider that knows no EHLO takes no login. Its words are the answer,
// and it may be another tomorrow.
func TestNoEHLO(t *testing.T) {
	for _, reply := range []string{"500 5.5.1 what", "502 5.5.1 not implemented", "504 5.5.1 HELO", "550 5.7.1 no", "421 4.3.2 later<close>", "250", "250 "} {
		p := newProvider(t, func(p *provider) {
			p.hook = func(_ *serverConn, line string) string {
				switch {
				case strings.HasPrefix(line, "EHLO"):
					return reply
				case strings.HasPrefix(line, "HELO"):
					return "250 provider.test"
				}
				return ""
			}
		})
		s := testSettings(t, p)
		s.name += reply
		u := start(t, s)
		r, ok := errors.AsType[*relay.Reply](deliver(u, testAccount("a@a.test"), "x\r\n"))
		if !ok || r.Code/100 != 4 || p.count("AUTH") != 0 || p.count("MAIL") != 0 {
			t.Errorf("%q: %v, %q", reply, r, p.commands())
		}
		settled(t, u, "a@a.test")
	}
}
