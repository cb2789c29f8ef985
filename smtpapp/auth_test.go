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
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// authScripts run after EHLO.
var authScripts = map[string]string{
	"plain with initial response": `
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 235 2.7.0 Authentication succeeded`,
	"plain without": `
		C: AUTH PLAIN
		S: 334 
		C: ` + plain(testUser, testPassword) + `
		S: 235 2.7.0 Authentication succeeded`,
	"plain in lower case": `
		C: auth plain ` + plain(strings.ToUpper(testUser), testPassword) + `
		S: 235 2.7.0 Authentication succeeded`,
	"plain as oneself": `
		C: AUTH PLAIN ` + b64(testUser+"\x00"+testUser+"\x00"+testPassword) + `
		S: 235 2.7.0 Authentication succeeded`,
	"plain as another": `
		C: AUTH PLAIN ` + b64("other@example.com\x00"+testUser+"\x00"+testPassword) + `
		S: 535 5.7.8 Authentication credentials invalid`,
	"login": `
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: ` + b64(testUser) + `
		S: 334 UGFzc3dvcmQ6
		C: ` + b64(testPassword) + `
		S: 235 2.7.0 Authentication succeeded`,
	"login with initial response": `
		C: AUTH LOGIN ` + b64(testUser) + `
		S: 334 UGFzc3dvcmQ6
		C: ` + b64(testPassword) + `
		S: 235 2.7.0 Authentication succeeded`,
	"wrong password": `
		C: AUTH PLAIN ` + plain(testUser, "wrong") + `
		S: 535 5.7.8 Authentication credentials invalid`,
	"unknown account": `
		C: AUTH PLAIN ` + plain("nobody@example.com", "wrong") + `
		S: 535 5.7.8 Authentication credentials invalid`,
	"empty password": `
		C: AUTH PLAIN ` + plain(testUser, "") + `
		S: 535 5.7.8 Authentication credentials invalid`,
	"login wrong password": `
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: ` + b64(testUser) + `
		S: 334 UGFzc3dvcmQ6
		C:
		S: 535 5.7.8 Authentication credentials invalid`,
	"cancelled": `
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: *
		S: 501 5.7.0 Authentication cancelled
		C: AUTH PLAIN
		S: 334 
		C: *
		S: 501 5.7.0 Authentication cancelled`,
	"not base64": `
		C: AUTH PLAIN !!!!
		S: 501 5.5.2 Cannot decode authentication response
		C: AUTH PLAIN
		S: 334 
		C: AGEAYg
		S: 501 5.5.2 Cannot decode authentication response`,
	"base64 with rubbish in the last bits": `
		C: AUTH PLAIN AGEAYR==
		S: 501 5.5.2 Cannot decode authentication response`,
	"plain without parts": `
		C: AUTH PLAIN ` + b64("no separators") + `
		S: 501 5.5.2 Cannot decode authentication response
		C: AUTH PLAIN =
		S: 501 5.5.2 Cannot decode authentication response`,
	"unknown mechanisms": `
		C: AUTH XOAUTH2 abcd
		S: 504 5.5.4 Unrecognized authentication mechanism
		C: AUTH CRAM-MD5
		S: 504 5.5.4 Unrecognized authentication mechanism
		C: AUTH
		S: 501 5.5.4 Syntax error in parameters or arguments`,
	"again": `
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 235 2.7.0 Authentication succeeded
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 503 5.5.1 Already authenticated
		C: RSET
		M: 250
		C: AUTH PLAIN
		S: 503 5.5.1 Already authenticated`,
	"12288 octets": `
		C: AUTH PLAIN
		S: 334 
		C: ` + strings.Repeat("A", 12288) + `
		S: 535 5.7.8 Authentication credentials invalid
		C: NOOP
		M: 250`,
	"12288 octets as initial response": `
		C: AUTH PLAIN ` + strings.Repeat("A", 12288) + `
		S: 535 5.7.8 Authentication credentials invalid`,
	"longer": `
		C: AUTH PLAIN
		S: 334 
		C: ` + strings.Repeat("A", 12292) + `
		S: 500 5.5.6 Authentication exchange line is too long
		C: NOOP
		M: 250`,
	"far longer": `
		C: AUTH PLAIN
		S: 334 
		C: ` + strings.Repeat("A", 200_000) + `
		S: 500 5.5.6 Authentication exchange line is too long
		C: NOOP
		M: 250`,
	"too often": `
		C: AUTH PLAIN ` + plain(testUser, "1") + `
		S: 535 5.7.8 Authentication credentials invalid
		C: AUTH PLAIN ` + plain(testUser, "2") + `
		S: 535 5.7.8 Authentication credentials invalid
		C: AUTH PLAIN ` + plain(testUser, "3") + `
		S: 535 5.7.8 Authentication credentials invalid
		S: 421 4.7.0 Too many errors, closing connection
		EOF`,
}

func TestAuth(t *testing.T) {
	for name, script := range authScripts {
		if strings.HasPrefix(name, "12288") {
			// "AAAA..." decodes to NULs, of which PLAIN makes an empty name.
			script = strings.ReplaceAll(script, "535 5.7.8 Authentication credentials invalid", "501 5.5.2 Cannot decode authentication response")
		}
		for _, hello := range []string{"EHLO c", "HELO c"} {
			t.Run(name+"/"+hello, func(t *testing.T) {
				c := dial(t, startServer(t, nil).addr)
				c.expect("220")
				c.send(hello + "\r\n")
				c.expect("250")
				c.play(script)
			})
		}
	}
}

// TestAuthNeedsTLS checks that no password crosses the wire in the clear, but
// from the networks that may.
func TestAuthNeedsTLS(t *testing.T) {
	s := startServer(t, nil)
	from := func(ip string, allowed ...string) *client {
		p := testPolicy()
		var err error
		if p.plaintextAuth, err = front.ParsePrefixes(allowed); err != nil {
			t.Fatal(err)
		}
		g := newTestGeneration(t, s.up, s.source, p)
		pt := newPoint()
		pt.attach(g)
		return pipeClient(t, pt, g, ip)
	}
	c := from("192.0.2.7")
	c.play(`
		M: 220
		C: EHLO c
		M: 250 DSN
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 538 5.7.11 Encryption required for requested authentication mechanism
		C: AUTH LOGIN
		S: 538 5.7.11 Encryption required for requested authentication mechanism
		C: MAIL FROM:<a@example.com>
		S: 530 5.7.0 Authentication required`)
	c = from("192.0.2.7", "192.0.2.0/24")
	c.play(`
		M: 220
		C: EHLO c
		M: 250 AUTH PLAIN LOGIN
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		M: 235`)
	c = from("2001:db8::1", "192.0.2.0/24")
	c.play(`
		M: 220
		C: EHLO c
		M: 250 DSN`)
	if len(s.up.warmed) != 1 {
		t.Errorf("warmed %v", s.up.warmed)
	}
}

// TestSubmitter holds that a peer names the account message by message, that it is
// any that exists, and that nothing is remembered of it.
func TestSubmitter(t *testing.T) {
	s := startServer(t, func(p *policy) {
		p.trust = []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), submitter: true}}
	})
	s.source.index.Set(mustCompile(t, testRecord("bob@example.com")))
	c := dial(t, s.addr)
	c.play(`
		M: 220
		C: EHLO c
		M: 250
		C: MAIL FROM:<alerts@example.com>
		S: 530 5.7.0 Authentication required
		C: MAIL FROM:<alerts@example.com> AUTH=<>
		S: 530 5.7.0 Authentication required
		C: MAIL FROM:<alerts@example.com> AUTH=nobody@example.com
		S: 530 5.7.0 Authentication required`)
	for _, name := range []string{"bob@example.com", testUser} {
		c.play(`
			C: MAIL FROM:<` + name + `> AUTH=` + name + `
			M: 250
			C: RCPT TO:<a@example.org>
			M: 250
			C: DATA
			M: 354
			C: x
			C: .
			M: 250`)
	}
	if got := s.up.taken(); len(got) != 2 || got[0].account != "bob@example.com" || got[1].account != testUser {
		t.Errorf("sent as %+v", got)
	}
}

// TestNoOpenRelay tries all that might send without a login.
func TestNoOpenRelay(t *testing.T) {
	for name, change := range map[string]func(*policy){
		"default":        nil,
		"plaintext_auth": func(p *policy) { p.plaintextAuth, _ = front.ParsePrefixes([]string{"0.0.0.0/0", "::/0"}) },
		"cert login":     func(p *policy) { p.certLogin = true },
		"trust elsewhere": func(p *policy) {
			p.trust = []trustedNet{{prefix: netip.MustParsePrefix("192.0.2.0/24"), account: testUser}}
		},
		"trust of nobody": func(p *policy) {
			p.trust = []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), account: "nobody@example.com"}}
		},
		"deferred": func(p *policy) { p.deferred = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServerWith(t, singleUpstream{new(fakeUpstream)}, change)
			dial(t, s.addr).play(`
				M: 220
				C: EHLO c
				M: 250
				C: MAIL FROM:<alerts@example.com>
				S: 530 5.7.0 Authentication required
				C: MAIL FROM:<>
				S: 530 5.7.0 Authentication required
				C: MAIL FROM:<a@example.com> AUTH=alerts@example.com
				S: 530 5.7.0 Authentication required
				C: RCPT TO:<b@example.org>
				S: 503 5.5.1 Bad sequence of commands
				C: DATA
				S: 503 5.5.1 Bad sequence of commands
				C: BDAT 4 LAST
				Q: "abcd"
				S: 503 5.5.1 Bad sequence of commands
				C: AUTH PLAIN ` + plain(testUser, "wrong") + `
				M: 535
				C: MAIL FROM:<alerts@example.com>
				S: 530 5.7.0 Authentication required`)
			if s.up.begins != 0 || len(s.up.taken()) != 0 {
				t.Error("something reached the upstream")
			}
		})
	}
}

func TestTrust(t *testing.T) {
	s := startServer(t, func(p *policy) {
		p.trust = []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), account: "printer@example.com"}}
	})
	s.source.index.Set(mustCompile(t, testRecord("printer@example.com")))
	c := dial(t, s.addr)
	c.play(`
		M: 220
		C: HELO printer
		M: 250
		C: MAIL FROM:<scan@example.com>
		M: 250
		C: RCPT TO:<b@example.org>
		M: 250
		C: DATA
		M: 354
		C: scan
		C: .
		M: 250
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		M: 235
		C: MAIL FROM:<a@example.com>
		M: 250
		C: RCPT TO:<b@example.org>
		M: 250
		C: DATA
		M: 354
		C: .
		M: 250`)
	got := s.up.taken()
	if len(got) != 2 || got[0].account != "printer@example.com" || got[1].account != testUser {
		t.Errorf("got %+v", got)
	}
}

// TestAccountChanges checks that a change of an account holds from the next
// MAIL on, within the session.
func TestAccountChanges(t *testing.T) {
	s := startServer(t, nil)
	c := dial(t, s.addr)
	c.login()
	mail := func(from, want string) {
		t.Helper()
		c.send("MAIL FROM:<" + from + ">\r\nRSET\r\n")
		c.expect(want)
		c.expect("250")
	}
	mail("anyone@example.net", "250")
	r := testRecord(testUser)
	r.Senders = []string{"alerts@example.com", "*@alerts.example.com"}
	s.source.index.Set(mustCompile(t, r))
	mail("anyone@example.net", "550 5.7.1")
	mail("ALERTS@example.com", "250")
	mail("alerts@EXAMPLE.com", "250")
	mail("x@alerts.example.com", "250")
	mail("", "250")
	r.Paused = true
	s.source.index.Set(mustCompile(t, r))
	c.send("MAIL FROM:<alerts@example.com>\r\n")
	c.expect("421 4.7.0 Login is no longer valid")
	c.expectEOF()
}

// TestLoginGone takes away what opened a session, amid a transaction: the
// message in hand goes out, the next MAIL ends the session.
func TestLoginGone(t *testing.T) {
	set := func(change func(*accounts.Record)) func(*testServer) {
		return func(s *testServer) {
			r := testRecord(testUser)
			change(&r)
			s.source.index.Set(mustCompile(t, r))
		}
	}
	trust := []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), account: testUser}}
	reload := func(trust []trustedNet) func(*testServer) {
		return func(s *testServer) {
			p := testPolicy()
			p.trust = trust
			s.point.attach(newTestGeneration(t, s.up, s.source, p))
		}
	}
	other := testRecord("other@example.com").PasswordHashes
	other[0] = strings.Replace(other[0], other[0][7:9], "00", 1)
	for name, tc := range map[string]struct {
		trusted bool
		change  func(*testServer)
		want    string
	}{
		"nothing":           {false, set(func(r *accounts.Record) { r.Senders = []string{"a@example.com"} }), "250"},
		"password changed":  {false, set(func(r *accounts.Record) { r.PasswordHashes = other }), "421 4.7.0"},
		"a second password": {false, set(func(r *accounts.Record) { r.PasswordHashes = append(other[:1:1], r.PasswordHashes...) }), "250"},
		"paused":            {false, set(func(r *accounts.Record) { r.Paused = true }), "421 4.7.0"},
		"removed":           {false, func(s *testServer) { s.source.index.Delete(testUser) }, "421 4.7.0"},
		"removed and made anew": {false, func(s *testServer) {
			s.source.index.Delete(testUser)
			s.source.index.Set(mustCompile(t, testRecord(testUser)))
		}, "421 4.7.0"},
		"given to another":      {false, set(func(r *accounts.Record) { r.Mailbox = "bob@example.com" }), "421 4.7.0"},
		"reload":                {false, reload(nil), "250"},
		"trust stays":           {true, reload(trust), "250"},
		"trust of another":      {true, reload([]trustedNet{{prefix: trust[0].prefix, account: "bob@example.com"}}), "421 4.7.0"},
		"trust gone":            {true, reload(nil), "421 4.7.0"},
		"trusted, paused":       {true, set(func(r *accounts.Record) { r.Paused = true }), "421 4.7.0"},
		"trusted, new password": {true, set(func(r *accounts.Record) { r.PasswordHashes = other }), "250"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(p *policy) {
				if tc.trusted {
					p.trust = trust
				}
			})
			s.source.index.Set(mustCompile(t, testRecord("bob@example.com")))
			c := dial(t, s.addr)
			if tc.trusted {
				c.play("M: 220\nC: EHLO c\nM: 250")
			} else {
				c.login()
			}
			c.play("C: MAIL FROM:<a@example.com>\nM: 250\nC: RCPT TO:<b@example.org>\nM: 250")
			tc.change(s)
			c.play("C: BDAT 3 LAST\nQ: \"x\\r\\n\"\nM: 250")
			c.send("MAIL FROM:<a@example.com>\r\n")
			c.expect(tc.want)
			if tc.want[0] == '4' {
				c.expectEOF()
			}
			if got := s.up.taken(); len(got) != 1 || got[0].account != testUser {
				t.Errorf("delivered %+v", got)
			}
		})
	}
}

func TestPausedLogin(t *testing.T) {
	s := startServer(t, nil)
	r := testRecord(testUser)
	r.Paused = true
	s.source.index.Set(mustCompile(t, r))
	dial(t, s.addr).play(`
		M: 220
		C: EHLO c
		M: 250
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 535 5.7.8 Authentication credentials invalid`)
}
