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
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// TestRefusalLines makes the mistakes of devices, and wants a line in the log
// for each.
func TestRefusalLines(t *testing.T) {
	certified := func(p *policy) {
		pair := newAuthority(t).issue(t, x509.Certificate{DNSNames: []string{"mail.test"}})
		p.StartTLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	for name, tc := range map[string]struct {
		change func(*policy)
		from   string // another address than loopback
		script string
		cause  string
		fields map[string]string // each in the field
	}{
		"no brackets": {nil, "", "LOGIN\nC: MAIL FROM:a@example.com\nM: 501", "syntax",
			map[string]string{"reply": "501 5.1.7", "detail": "MAIL", "account": testUser}},
		"parameter": {nil, "", "LOGIN\nC: MAIL FROM:<a@example.com> XFOO=1\nM: 555", "parameter", map[string]string{"reply": "555"}},
		"no login":  {nil, "", "M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>\nM: 530", "auth_required", map[string]string{"reply": "530 5.7.0"}},
		"no TLS, no login": {certified, "192.0.2.9", "M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>\nM: 530", "tls_required",
			map[string]string{"reply": "530 5.7.0", "client_ip": "192.0.2.9", "remedy": "TLS"}},
		"no TLS":          {certified, "192.0.2.9", "M: 220\nC: EHLO c\nM: 250\nC: AUTH LOGIN\nM: 538", "tls_required", map[string]string{"reply": "538 5.7.11"}},
		"unknown command": {nil, "", "M: 220\nC: XCLIENT ADDR=192.0.2.1\nM: 500", "unknown_command", map[string]string{"reply": "500 5.5.2"}},
		"wrong password": {nil, "", "M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain(testUser, "wrong") + "\nM: 535", "wrong_password",
			map[string]string{"reply": "535 5.7.8", "account": testUser, "result": "failed"}},
		"unknown account": {nil, "", "M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain("nobody@example.com", "wrong") + "\nM: 535", "unknown_account",
			map[string]string{"reply": "535 5.7.8", "account": "nobody@example.com", "result": "failed"}},
		"name without domain": {nil, "", "M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain("scanner", "wrong") + "\nM: 535", "unknown_account",
			map[string]string{"detail": "no domain"}},
		"on behalf of another": {nil, "", "M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + b64("boss@example.com\x00"+testUser+"\x00"+testPassword) + "\nM: 535",
			"auth_identity", map[string]string{"reply": "535 5.7.8"}},
		"mechanism": {nil, "", "M: 220\nC: EHLO c\nM: 250\nC: AUTH CRAM-MD5\nM: 504", "auth_mechanism", map[string]string{"detail": "CRAM-MD5"}},
		"SSL on the port of STARTTLS": {certified, "", "M: 220\nQ: \"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\"\nEOF", "tls_on_plain_port",
			map[string]string{"remedy": "STARTTLS"}},
		"in the clear behind STARTTLS": {certified, "", "M: 220\nC: EHLO c\nM: 250\nC: STARTTLS\nM: 220\nC: EHLO c\nEOF", "tls_failed",
			map[string]string{"detail": "in the clear behind STARTTLS"}},
		"a web page": {nil, "", "M: 220\nC: POST / HTTP/1.1\nM: 421\nEOF", "http", nil},
		"trust of an account that is not there": {func(p *policy) {
			p.trust, _ = []trustedNet{{account: "gone@example.com"}}, error(nil)
			nets, _ := front.ParsePrefixes([]string{"127.0.0.0/8"})
			p.trust[0].prefix = nets[0]
		}, "", "M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>\nM: 530", "trusted_account_unknown", map[string]string{"account": "gone@example.com"}},
		"bidirectional text": {nil, "", "LOGIN\nC: MAIL FROM:<a\u202eb@example.com>\nM: 5", "syntax", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, logs := observe(t, tc.change)
			var c *client
			if tc.from != "" {
				c = pipeClient(t, s.point, s.gen, tc.from)
			} else {
				c = dial(t, s.addr)
			}
			c.play(tc.script)
			_ = c.nc.Close()
			<-s.point.whenEmpty()
			lines := refusalLines(logs)
			if len(lines) != 1 {
				t.Fatalf("%d lines: %v", len(lines), lines)
			}
			f := lines[0].ContextMap()
			if f["cause"] != tc.cause || f["count"] != int64(1) || f["remedy"] == "" || lines[0].Level != zapcore.WarnLevel {
				t.Errorf("%v %v, want %s", lines[0].Level, f, tc.cause)
			}
			for k, want := range tc.fields {
				if got, _ := f[k].(string); !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %q in it", k, got, want)
				}
			}
			list := s.gen.refusals.List()
			if len(list) != 1 || list[0].Cause != tc.cause || list[0].Reply != text(f["reply"]) || list[0].Session == "" {
				t.Errorf("list %+v", list)
			}
		})
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func refusalLines(logs *observer.ObservedLogs) []observer.LoggedEntry {
	return logs.Filter(func(e observer.LoggedEntry) bool {
		_, ok := e.ContextMap()["cause"]
		return ok
	}).All()
}

// TestRefusalNamesTheAccount holds that a client which never named its account,
// since its address does, has the account in its line.
func TestRefusalNamesTheAccount(t *testing.T) {
	paused, narrow := testRecord("paused@example.com"), testRecord("narrow@example.com")
	paused.Paused, narrow.Senders = true, []string{"narrow@example.com"}
	for account, want := range map[string]struct{ code, cause string }{
		paused.Name: {"451 4.7.1", "account_paused"}, narrow.Name: {"550 5.7.1", "sender_not_allowed"},
	} {
		s, logs := observe(t, func(p *policy) {
			p.trust = []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), account: account}}
		})
		s.source.index.Set(mustCompile(t, paused))
		s.source.index.Set(mustCompile(t, narrow))
		c := dial(t, s.addr)
		c.play("M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>\nM: " + want.code)
		_ = c.nc.Close()
		<-s.point.whenEmpty()
		lines := refusalLines(logs)
		if len(lines) != 1 || lines[0].ContextMap()["cause"] != want.cause || lines[0].ContextMap()["account"] != account {
			t.Errorf("%s: %v", account, lines)
		}
	}
}

// TestRefusalLinesOfTLS fails handshakes on a port for SSL/TLS.
func TestRefusalLinesOfTLS(t *testing.T) {
	for name, tc := range map[string]struct {
		client func(net.Conn)
		cause  string
		field  string
		want   string
	}{
		"refuses the certificate": {func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{ServerName: "mail.test"}).Handshake()
		}, "tls_certificate_refused", "remedy", "root"},
		"closes without an alert": {func(nc net.Conn) {
			_ = tls.Client(&mute{Conn: nc}, &tls.Config{ServerName: "mail.test"}).Handshake()
		}, "tls_certificate_refused", "detail", "probably"},
		"TLS 1.0": {func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}).Handshake()
		}, "tls_version", "detail", "TLS 1.0"},
		"old suites": {func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}).Handshake()
		}, "tls_cipher", "detail", "TLS_RSA_WITH_AES_128_CBC_SHA"},
		"no curve": {func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.CurveP521}}).Handshake()
		}, "tls_cipher", "detail", "offered TLS 1.3"},
		"HTTP/2": {func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}).Handshake()
		}, "http", "detail", "HTTP within TLS"},
		"another protocol": {func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}}).Handshake()
		}, "tls_failed", "detail", "imap"},
		"half a hello": {func(nc net.Conn) { _, _ = nc.Write([]byte("\x16\x03\x01\x02\x00")) }, "tls_failed", "detail", "left before its handshake"},
		"plain text":   {func(nc net.Conn) { _, _ = nc.Write([]byte("EHLO printer\r\n")) }, "plaintext_on_tls_port", "remedy", "SSL/TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			s, logs := observe(t, func(p *policy) {
				pair := newAuthority(t).issue(t, x509.Certificate{DNSNames: []string{"mail.test"}})
				p.ImplicitTLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: alpn, CurvePreferences: []tls.CurveID{tls.X25519}}
			})
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
			tc.client(nc)
			_ = nc.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, nc) // until the server closes
			_ = nc.Close()
			lines := refusalLines(logs)
			if len(lines) != 1 {
				t.Fatalf("%d lines: %v", len(lines), lines)
			}
			f := lines[0].ContextMap()
			if f["cause"] != tc.cause || !strings.Contains(text(f[tc.field]), tc.want) {
				t.Errorf("%v, want %s, and %q in %s", f, tc.cause, tc.want, tc.field)
			}
		})
	}
}

// mute sends its hello and no alert.
type mute struct {
	net.Conn
	said bool
}

func (c *mute) Write(p []byte) (int, error) {
	if c.said {
		return len(p), nil
	}
	c.said = true
	return c.Conn.Write(p)
}

// TestRefusalsRepeated says the same mistake once, and counts it.
func TestRefusalsRepeated(t *testing.T) {
	s, logs := observe(t, nil)
	c := dial(t, s.addr)
	c.login()
	for range 5 {
		c.send("MAIL FROM:a@example.com\r\n")
		c.expect("501")
	}
	if lines := refusalLines(logs); len(lines) != 1 {
		t.Errorf("%d lines", len(lines))
	}
	if list := s.gen.refusals.List(); len(list) != 1 || list[0].Count != 5 {
		t.Errorf("%+v", list)
	}
}

// TestRefusalOfSession covers what only happens to accounts.
func TestRefusalOfSession(t *testing.T) {
	s, logs := observe(t, nil)
	r := testRecord(testUser)
	r.Senders = []string{"alerts@example.com"}
	s.source.index.Set(mustCompile(t, r))
	c := dial(t, s.addr)
	c.play(`
		LOGIN
		C: MAIL FROM:<other@example.com>
		S: 550 5.7.1 *`)
	r.Paused = true
	s.source.index.Set(mustCompile(t, r))
	c.play(`
		C: MAIL FROM:<alerts@example.com>
		S: 421 4.7.0 *
		EOF`)
	dial(t, s.addr).play(`
		M: 220
		C: EHLO c
		M: 250
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 535 5.7.8 *`)
	var got []string
	for _, l := range refusalLines(logs) {
		f := l.ContextMap()
		got = append(got, l.Message+": "+text(f["cause"])+" "+text(f["account"])+" "+text(f["result"])+text(f["detail"]))
	}
	want := []string{
		"sender not allowed: sender_not_allowed " + testUser + " other@example.com",
		"refused: login_gone " + testUser + " MAIL",
		"authentication failed: account_paused " + testUser + " paused",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRefusedAtTheDoor tells of clients that are not let in.
func TestRefusedAtTheDoor(t *testing.T) {
	s, logs := observe(t, func(p *policy) { p.maxPerIP = 1 })
	first := dial(t, s.addr)
	first.expect("220")
	dial(t, s.addr).play("S: 421 4.3.2 *\nEOF")
	lines := refusalLines(logs)
	if len(lines) != 1 || lines[0].ContextMap()["cause"] != "too_many_connections" || lines[0].ContextMap()["client_ip"] != "127.0.0.1" {
		t.Errorf("%v", lines)
	}
}

// TestExplanations wants a remedy for every cause that there is.
func TestExplanations(t *testing.T) {
	causes := regexp.MustCompile(`(?m)^\t[cC]ause\w+ +(?:smtpserver\.)?Cause += "(\w+)"`)
	n := 0
	for _, name := range []string{"smtpserver/session.go", "refusals.go"} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range causes.FindAllStringSubmatch(string(src), -1) {
			n++
			if x := explanations[smtpserver.Cause(m[1])]; x.remedy == "" || x.message == "" {
				t.Errorf("%s: nothing is said of it", m[1])
			}
		}
	}
	if n != len(explanations) {
		t.Errorf("%d causes, %d explanations", n, len(explanations))
	}
}

// TestRefusalIsSafe keeps what clients say from the shape of the log.
func TestRefusalIsSafe(t *testing.T) {
	g := newTestGeneration(t, new(fakeUpstream), new(testSource), testPolicy())
	g.directory = accounts.NewDirectory(nil, nil)
	g.refused(func() *generation { return nil }, refusal{
		Refusal: smtpserver.Refusal{Cause: causeSender, Detail: "a\u202e\r\n" + strings.Repeat("ü", maxDetail)},
		account: strings.Repeat("\x1b", maxLoggedName),
	})
	list := g.refusals.List()
	if len(list) != 1 || len(list[0].Detail) > maxDetail || len(list[0].Account) > maxLoggedName ||
		!strings.HasPrefix(list[0].Detail, `a\u202e\r\n`) || strings.Contains(list[0].Account, "\x1b") {
		t.Errorf("%+v", list)
	}
}
