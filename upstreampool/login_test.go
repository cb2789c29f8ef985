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
	"encoding/base64"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func oauthSettings(t *testing.T, p *provider, k *tokens, mechanism string) *settings {
	t.Helper()
	s := testSettings(t, p, func(tr *SMTPTransport) {
		tr.Auth = &UpstreamAuth{Mechanism: mechanism, Provider: "acme"}
	})
	s.Tokens = k
	return s
}

func TestLoginLines(t *testing.T) {
	blob := func(token string) string {
		return b64("user=box@a.test\x01auth=Bearer " + token + "\x01\x01")
	}
	// With this token the blob has 372 octets, so the line has 511 with its CRLF.
	fits := strings.Repeat("x", 342)
	for name, tc := range map[string]struct {
		mechanism string
		extra     int
		want      []string
	}{
		"xoauth2 one step": {smtpclient.XOAUTH2, 0, []string{"AUTH XOAUTH2 " + blob("token1")}},
		"xoauth2 longest one step": {smtpclient.XOAUTH2, len(fits) - len("token1"), []string{
			"AUTH XOAUTH2 " + blob("token1"+strings.Repeat("x", len(fits)-6)),
		}},
		"xoauth2 two steps": {smtpclient.XOAUTH2, len(fits) - len("token1") + 3, []string{
			"AUTH XOAUTH2", blob("token1" + strings.Repeat("x", len(fits)-3)),
		}},
		"oauthbearer": {smtpclient.OAuthBearer, 0, []string{
			"AUTH OAUTHBEARER " + b64("n,a=box@a.test,\x01host=127.0.0.1\x01port=PORT\x01auth=Bearer token1\x01\x01"),
		}},
		"plain": {smtpclient.AuthPlain, 0, []string{"AUTH PLAIN " + b64("\x00box@a.test\x00made-up")}},
		"login": {smtpclient.AuthLogin, 0, []string{"AUTH LOGIN", b64("box@a.test"), b64("made-up")}},
		"none":  {smtpclient.AuthNone, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var count atomic.Int32
			p := newProvider(t, func(p *provider) {
				p.hook = func(_ *serverConn, line string) string {
					step := int(count.Load())
					if !strings.HasPrefix(line, "AUTH") && step == 0 || step == len(tc.want) {
						return ""
					}
					if int(count.Add(1)) < len(tc.want) {
						return "334 "
					}
					return "235 2.7.0 ok"
				}
			})
			k := &tokens{length: tc.extra}
			u := start(t, oauthSettings(t, p, k, tc.mechanism))
			a := testAccount("a@a.test")
			a.Mailbox = "box@a.test"
			if err := deliver(u, a, "x"); err != nil {
				t.Fatal(err)
			}
			got := p.commands()[2 : 2+len(tc.want)]
			_, port, _ := strings.Cut(p.ln.Addr().String(), ":")
			for i, w := range tc.want {
				if strings.HasPrefix(w, "AUTH OAUTHBEARER") {
					w = "AUTH OAUTHBEARER " + b64("n,a=box@a.test,\x01host=127.0.0.1\x01port="+port+"\x01auth=Bearer token1\x01\x01")
				}
				if got[i] != w {
					t.Errorf("got %q, want %q", got[i], w)
				}
				if strings.HasPrefix(got[i], "AUTH") && len(got[i])+2 > 512 {
					t.Errorf("a command of %d octets", len(got[i])+2)
				}
			}
		})
	}
}

// TestMechanismNotAnnounced holds that a login which the server does not offer is said
// as such, to the client and of the account, and is not tried.
func TestMechanismNotAnnounced(t *testing.T) {
	p := newProvider(t, func(p *provider) { p.caps = []string{"PIPELINING", "AUTH PLAIN LOGIN"} })
	u := start(t, oauthSettings(t, p, new(tokens), smtpclient.XOAUTH2))
	a := testAccount("a@a.test")
	const want = "454 4.7.0 The provider does not announce mechanism xoauth2"
	reply, ok := errors.AsType[*relay.Reply](deliver(u, a, "x"))
	if !ok || reply.Error() != want {
		t.Errorf("the client hears %v", reply)
	}
	ac := u.account(a, u.current.Load())
	defer ac.done()
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if got := ac.adapt.LastReply(clock()); got == nil || got.Error() != want {
		t.Errorf("the account has %v", got)
	}
	for _, c := range p.commands() {
		if strings.HasPrefix(c, "AUTH") {
			t.Errorf("said all the same: %s", c)
		}
	}
}

// TestTokenRefused checks that a 535 leads to one refresh and one retry, on a
// new connection, and that the 334 challenge before it is completed.
func TestTokenRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		mechanism string
		ack       string
	}{
		"xoauth2":     {smtpclient.XOAUTH2, ""},
		"oauthbearer": {smtpclient.OAuthBearer, "AQ=="},
	} {
		t.Run(name, func(t *testing.T) {
			const words = "535 5.7.8 Username and Password not accepted"
			var bad atomic.Value // the beginning of the tokens that are refused
			bad.Store("token1")
			var challenged atomic.Bool
			p := newProvider(t, func(p *provider) {
				p.hook = func(_ *serverConn, line string) string {
					if challenged.Swap(false) {
						return words
					}
					if m, ok := strings.CutPrefix(line, "AUTH "); ok {
						_, blob, _ := strings.Cut(m, " ")
						if raw, _ := base64.StdEncoding.DecodeString(blob); strings.Contains(string(raw), "Bearer "+bad.Load().(string)) {
							challenged.Store(true)
							return "334 " + b64(`{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}`)
						}
					}
					return ""
				}
			})
			k := new(tokens)
			u := start(t, oauthSettings(t, p, k, tc.mechanism))
			a := testAccount("a@a.test")
			if err := deliver(u, a, "x"); err != nil {
				t.Fatal(err)
			}
			if k.n != 2 || k.rejected != 1 || p.dialed() != 2 {
				t.Errorf("%d tokens, %d rejected, %d connections", k.n, k.rejected, p.dialed())
			}
			if got := p.commands()[3]; got != tc.ack {
				t.Errorf("the challenge was answered with %q", got)
			}

			p.dropAll()
			bad.Store("token")
			err := deliver(u, a, "y")
			r, ok := errors.AsType[*relay.Reply](err)
			if !ok || r.Code != 454 || !strings.Contains(r.Lines[0], words) {
				t.Fatal(err)
			}
			if k.n != 3 || k.rejected != 3 || p.dialed() != 4 {
				t.Errorf("%d tokens, %d rejected, %d connections", k.n, k.rejected, p.dialed())
			}
			// The provider is left alone for a while; the answer stays.
			if err := deliver(u, a, "z"); err == nil || err.Error() != r.Error() || p.dialed() != 4 {
				t.Errorf("%v, %d connections", err, p.dialed())
			}
			// Another account is another matter.
			bad.Store("none")
			if err := deliver(u, testAccount("b@a.test"), "z"); err != nil {
				t.Error(err)
			}
			settled(t, u, "a@a.test")
		})
	}
}

type consentError struct{}

func (consentError) Error() string        { return "invalid_grant" }
func (consentError) ReauthRequired() bool { return true }
func (consentError) Reply() string        { return "" }

func TestTokenErrors(t *testing.T) {
	p := newProvider(t)
	k := &tokens{err: consentError{}}
	u := start(t, oauthSettings(t, p, k, smtpclient.XOAUTH2))
	if err := deliver(u, testAccount("a@a.test"), "x"); !errors.Is(err, relay.ReplyReauthRequired) {
		t.Error(err)
	}
	k.err = errors.New("timeout")
	if err := deliver(u, testAccount("b@a.test"), "x"); !errors.Is(err, relay.ReplyTokenUnavailable) {
		t.Error(err)
	}
	if p.dialed() != 0 {
		t.Error("dialed without a token")
	}
	// A human has consented: the very next message goes.
	k.err = nil
	if err := deliver(u, testAccount("a@a.test"), "x"); err != nil {
		t.Errorf("after the consent: %v", err)
	}
}

func TestTLS(t *testing.T) {
	server, pool := testTLS(t)
	for name, tc := range map[string]struct {
		mode     string
		implicit bool
		offer    bool
		trust    bool
		inject   bool
		name     string
		ok       bool
	}{
		"starttls":              {mode: smtpclient.StartTLS, offer: true, trust: true, ok: true},
		"implicit":              {mode: smtpclient.ImplicitTLS, implicit: true, offer: true, trust: true, ok: true},
		"implicit, server name": {mode: smtpclient.ImplicitTLS, implicit: true, offer: true, trust: true, name: "provider.test", ok: true},
		"wrong name":            {mode: smtpclient.StartTLS, offer: true, trust: true, name: "other.test"},
		"untrusted":             {mode: smtpclient.StartTLS, offer: true},
		"not offered":           {mode: smtpclient.StartTLS, trust: true},
		"injected":              {mode: smtpclient.StartTLS, offer: true, trust: true, inject: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, func(p *provider) {
				p.implicit = tc.implicit
				if tc.offer {
					p.tls = server
				}
				if tc.inject {
					p.hook = func(_ *serverConn, line string) string {
						if line == "STARTTLS" {
							return "220 go\r\n250 injected\r\n"
						}
						return ""
					}
				}
			})
			s := testSettings(t, p, func(tr *SMTPTransport) {
				tr.TLS = &UpstreamTLS{Mode: tc.mode, ServerName: tc.name}
			})
			if tc.trust {
				s.TLS.RootCAs = pool
			}
			u := start(t, s)
			err := deliver(u, testAccount("a@a.test"), "x")
			if (err == nil) != tc.ok {
				t.Fatal(err)
			}
			if !tc.ok {
				if !errors.Is(err, relay.ReplyUpstreamDown) || p.count("AUTH") != 0 {
					t.Error(err)
				}
				return
			}
			if tc.mode == smtpclient.StartTLS && p.count("EHLO") != 2 {
				t.Error("no second EHLO")
			}
			if err := deliver(u, testAccount("a@a.test"), strings.Repeat("line\r\n", 100_000)); err != nil {
				t.Error(err)
			}
			// The next connection resumes the session.
			if err := deliver(u, testAccount("b@a.test"), "x"); err != nil {
				t.Error(err)
			}
			ac := u.peek("b@a.test")
			ac.mu.Lock()
			defer ac.mu.Unlock()
			if st, ok := ac.idleHead.TLS(); !ok || !st.DidResume {
				t.Error("not resumed")
			}
		})
	}
}

func TestIdleDeathIsInvisible(t *testing.T) {
	server, pool := testTLS(t)
	for _, mode := range []string{smtpclient.NoTLS, smtpclient.StartTLS} {
		for _, goodbye := range []bool{false, true} {
			p := newProvider(t, func(p *provider) {
				if mode != smtpclient.NoTLS {
					p.tls = server
				}
			})
			s := testSettings(t, p, func(tr *SMTPTransport) { tr.TLS.Mode = mode })
			if s.TLS != nil {
				s.TLS.RootCAs = pool
			}
			s.name += mode
			u := start(t, s)
			a := testAccount("a@a.test")
			for range 5 {
				if err := deliver(u, a, "x"); err != nil {
					t.Fatal(err)
				}
				if goodbye {
					p.mu.Lock()
					for nc := range p.live {
						_, _ = nc.Write([]byte("421 4.4.2 idle\r\n"))
					}
					p.mu.Unlock()
				}
				p.dropAll()
			}
			if n := len(p.got()); n != 5 {
				t.Errorf("%d messages", n)
			}
			settled(t, u, "a@a.test")
		}
	}
}

func TestSourceIPFailsClosed(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p))
	a := testAccount("a@a.test")
	a.SourceIP = "192.0.2.1"
	if err := deliver(u, a, "x"); !errors.Is(err, relay.ReplyUpstreamDown) {
		t.Error(err)
	}
	if p.dialed() != 0 {
		t.Error("connected from another address")
	}
	if st := u.dialer.Breaker.State(clock()); st != breaker.Closed {
		t.Error(st)
	}
	b := testAccount("b@a.test")
	b.SourceIP = "127.0.0.2"
	tx, err := u.begin(context.Background(), b, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	if got := tx.c.LocalAddr().String(); !strings.HasPrefix(got, "127.0.0.2:") {
		t.Error(got)
	}
}
