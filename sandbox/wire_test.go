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

package sandbox

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// wire is a client that speaks raw lines.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, s *Sandbox) *wire {
	t.Helper()
	c, err := net.Dial("tcp", s.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t, c, bufio.NewReader(c)}
}

func (w *wire) send(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		w.t.Fatal(err)
	}
}

// reply reads one reply and returns all its lines, joined by \n.
func (w *wire) reply() string {
	w.t.Helper()
	var lines []string
	for {
		l, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("reading a reply: %v, after %q", err, lines)
		}
		l = strings.TrimSuffix(l, "\r\n")
		lines = append(lines, l)
		if len(l) < 4 || l[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

func (w *wire) want(prefixes ...string) {
	w.t.Helper()
	for _, p := range prefixes {
		if got := w.reply(); !strings.HasPrefix(got, p) {
			w.t.Fatalf("got %q, want %q", got, p)
		}
	}
}

// gone wants the connection to end without another byte.
func (w *wire) gone() {
	w.t.Helper()
	b, err := w.r.ReadByte()
	if err == nil {
		w.t.Fatalf("got %q, want the end", b)
	}
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		w.t.Fatal("got nothing, want the end")
	}
}

func blob(user, token string) string {
	return base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
}

// login is a connection that is ready for MAIL.
func login(t testing.TB, s *Sandbox, mailbox string) *wire {
	t.Helper()
	w := dial(t, s)
	w.want("220 ")
	w.send("EHLO [127.0.0.1]\r\n")
	w.want("250")
	w.send("AUTH XOAUTH2 " + blob(mailbox, s.IssueToken(mailbox)) + "\r\n")
	w.want("235 ")
	return w
}

func plain(cfg App) *App {
	cfg.PlaintextAuth = true
	return &cfg
}

// script runs "C: " and "S: " lines; an S line is a prefix of a whole reply.
func (w *wire) script(s string) {
	w.t.Helper()
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "C: "):
			w.send(strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(line[3:]) + "\r\n")
		case line == "C:":
			w.send("\r\n")
		case strings.HasPrefix(line, "S: "):
			w.want(line[3:])
		}
	}
}

func TestScripts(t *testing.T) {
	for name, script := range map[string]string{
		"order": `
			C: MAIL FROM:<a@example.com>
			S: 250
			C: MAIL FROM:<a@example.com>
			S: 503 5.5.1
			C: DATA
			S: 554 5.5.1 No valid recipients
			C: RSET
			S: 250 2.0.0
			C: RCPT TO:<b@example.net>
			S: 503 5.5.1
			C: DATA
			S: 503 5.5.1
			C: BOGUS
			S: 500 5.5.1
			C: AUTH XOAUTH2
			S: 503 5.5.1
			C: EHLO
			S: 501 5.5.4
			C: NOOP
			S: 250
			C: VRFY x
			S: 252
			C: HELP
			S: 214
			C: QUIT
			S: 221`,
		"paths": `
			C: MAIL FROM: <a@example.com>
			S: 501 5.1.7
			C: MAIL FROM:a@example.com
			S: 501 5.1.7
			C: MAIL FROM:<@relay:a@example.com>
			S: 501 5.1.7
			C: MAIL FROM:<a b@example.com>
			S: 501 5.1.7
			C: MAIL FROM:<a@example.com>SIZE=1
			S: 501 5.1.7
			C: MAIL FROM:<reject-a@example.com>
			S: 550 5.7.60
			C: mail from:<>
			S: 250 2.1.0
			C: RCPT TO:<>
			S: 501 5.1.3
			C: RCPT TO:<nobody>
			S: 501 5.1.3
			C: RCPT TO:<Postmaster>
			S: 250 2.1.5
			C: RCPT TO:<"a b\"> c"@example.net>
			S: 250 2.1.5
			C: RCPT TO:<reject-x@example.net>
			S: 550 5.1.1
			C: RCPT TO:<tempfail-x@example.net>
			S: 451 4.2.0`,
		"parameters": `
			C: MAIL FROM:<a@example.com> SIZE=99999999999
			S: 552 5.3.4
			C: MAIL FROM:<a@example.com> SIZE=+1
			S: 501 5.5.4
			C: MAIL FROM:<a@example.com> SIZE=1 SIZE=1
			S: 501 5.5.4
			C: MAIL FROM:<a@example.com> FOO=1
			S: 555 5.5.4
			C: MAIL FROM:<a@example.com> BODY=BINARYMIME
			S: 501 5.5.4
			C: MAIL FROM:<a@example.com> NOTIFY=NEVER
			S: 555 5.5.4
			C: MAIL FROM:<jürgen@example.com>
			S: 553 5.6.7
			C: MAIL FROM:<jürgen@example.com> SMTPUTF8 BODY=8BITMIME SIZE=10 RET=HDRS ENVID=x AUTH=<>
			S: 250
			C: RCPT TO:<b@example.net> NOTIFY=NEVER,DELAY
			S: 501 5.5.4
			C: RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@example.net
			S: 250`,
		"too big at the end": `
			C: MAIL FROM:<a@example.com>
			S: 250
			C: RCPT TO:<maxsize-x@example.net>
			S: 250
			C: DATA
			S: 354
			C: x
			C: .
			S: 552 5.3.4
			C: MAIL FROM:<a@example.com>
			S: 250`,
		"bdat": `
			C: MAIL FROM:<a@example.com>
			S: 250
			C: BDAT 5 LAST\r\nabc
			S: 554 5.5.1
			C: MAIL FROM:<a@example.com>
			S: 250
			C: RCPT TO:<b@example.net>
			S: 250
			C: BDAT 3
			C: a
			S: 250 2.0.0 3 octets
			C: RCPT TO:<c@example.net>
			S: 503 5.5.1
			C: RSET
			S: 250
			C: BDAT 0 LAST
			S: 503 5.5.1
			C: BDAT x
			S: 501 5.5.4`,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, plain(App{}))
			login(t, s, "a@example.com").script(script)
			if n := s.MessageCount(); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// Before TLS and AUTH nothing is possible that needs them.
func TestBeforeAuth(t *testing.T) {
	s := start(t, &App{})
	w := dial(t, s)
	w.script(`
		S: 220
		C: MAIL FROM:<a@example.com>
		S: 503
		C: EHLO x`)
	if ehlo := w.reply(); strings.Contains(ehlo, "AUTH") || !strings.Contains(ehlo, "STARTTLS") {
		t.Errorf("EHLO in plaintext: %s", ehlo)
	}
	w.script(`
		C: AUTH PLAIN AGEAYg==
		S: 530
		C: MAIL FROM:<a@example.com>
		S: 530
		C: RCPT TO:<a@example.com>
		S: 530
		C: DATA
		S: 530
		C: BDAT 3 LAST\r\nx
		S: 530
		C: STARTTLS x
		S: 501`)
}

func TestAnnouncements(t *testing.T) {
	for _, tc := range []struct {
		cfg  App
		want string
	}{
		{App{Profile: "google"}, "SIZE 35882577|PIPELINING|ENHANCEDSTATUSCODES|STARTTLS|AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH|8BITMIME|CHUNKING|SMTPUTF8"},
		{App{Profile: "microsoft"}, "SIZE 157286400|PIPELINING|DSN|ENHANCEDSTATUSCODES|STARTTLS|AUTH LOGIN XOAUTH2|8BITMIME|CHUNKING|SMTPUTF8"},
		{App{NoChunking: true, NoPipelining: true, No8BITMIME: true, NoSMTPUTF8: true, MaxSize: 7}, "SIZE 7|DSN|ENHANCEDSTATUSCODES|STARTTLS|AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"},
	} {
		s := start(t, plain(tc.cfg))
		w := dial(t, s)
		w.want("220")
		w.send("EHLO x\r\n")
		var got []string
		for i, l := range strings.Split(w.reply(), "\n") {
			if i > 0 {
				got = append(got, l[4:])
			}
		}
		if g := strings.Join(got, "|"); g != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.cfg.Profile, g, tc.want)
		}
	}
}

func TestAuth(t *testing.T) {
	s := start(t, plain(App{Password: "pw", TokenSize: 8192}))
	hello := func(t *testing.T) *wire {
		w := dial(t, s)
		w.script("S: 220\nC: EHLO x\nS: 250")
		return w
	}
	b64 := base64.StdEncoding.EncodeToString
	bearer := func(user, token string) string {
		return b64([]byte("n,a=" + user + ",\x01host=h\x01port=587\x01auth=Bearer " + token + "\x01\x01"))
	}
	token := s.IssueToken("a@example.com")
	if len(token) != 8192 {
		t.Fatalf("token of %d bytes", len(token))
	}
	for name, script := range map[string]string{
		"two steps": "C: AUTH XOAUTH2\nS: 334 \nC: " + blob("a@example.com", token) + "\nS: 235",
		"one step with a long token": "C: AUTH XOAUTH2 " + blob("a@example.com", token) + "\nS: 500 5.5.6\n" +
			"C: AUTH XOAUTH2 " + strings.Repeat("A", 500) + "\nS: 500 5.5.6",
		"oauthbearer":         "C: AUTH OAUTHBEARER\nS: 334\nC: " + bearer("a@example.com", token) + "\nS: 235",
		"oauthbearer refused": "C: AUTH OAUTHBEARER " + bearer("a@example.com", "x") + "\nS: 334 ey\nC: AQ==\nS: 535 5.7.8",
		"oauthbearer, wrong end of the refusal": "C: AUTH OAUTHBEARER " + bearer("a@example.com", "x") +
			"\nS: 334 ey\nC:\nS: 501",
		"xoauth2 refused":      "C: AUTH XOAUTH2 " + blob("a@example.com", "x") + "\nS: 334 ey\nC:\nS: 535 5.7.8",
		"another's token":      "C: AUTH XOAUTH2\nS: 334\nC: " + blob("b@example.com", token) + "\nS: 334 ey\nC:\nS: 535",
		"cancelled":            "C: AUTH XOAUTH2\nS: 334 \nC: *\nS: 501",
		"not base64":           "C: AUTH XOAUTH2 !\nS: 501 5.5.2",
		"malformed":            "C: AUTH XOAUTH2 " + b64([]byte("user=a\x01auth=Bearer x\x01")) + "\nS: 501 5.5.2",
		"plain":                "C: AUTH PLAIN " + b64([]byte("\x00a@example.com\x00pw")) + "\nS: 235",
		"plain, empty initial": "C: AUTH PLAIN =\nS: 501",
		"plain, wrong":         "C: AUTH PLAIN " + b64([]byte("\x00a@example.com\x00no")) + "\nS: 535",
		"login":                "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: " + b64([]byte("a")) + "\nS: 334 UGFzc3dvcmQ6\nC: " + b64([]byte("pw")) + "\nS: 235",
		"login, initial":       "C: AUTH LOGIN " + b64([]byte("a")) + "\nS: 334 UGFzc3dvcmQ6\nC: " + b64([]byte("pw")) + "\nS: 235",
		"unknown":              "C: AUTH CRAM-MD5\nS: 504",
		"too long a response":  "C: AUTH XOAUTH2\nS: 334\nC: " + strings.Repeat("A", 20000) + "\nS: 500",
		"too long a command":   "C: NOOP " + strings.Repeat("A", 3000) + "\nS: 500\nC: NOOP\nS: 250",
		"application's token":  "C: AUTH XOAUTH2\nS: 334\nC: " + blob("any@example.com", s.oauth.Issue("", "app", "")) + "\nS: 235",
	} {
		t.Run(name, func(t *testing.T) {
			hello(t).script(script)
		})
	}
	s.ExpireTokens("a@example.com")
	hello(t).script("C: AUTH XOAUTH2\nS: 334\nC: " + blob("a@example.com", token) + "\nS: 334 ey\nC:\nS: 535")
	w := hello(t)
	w.send("NOOP\n")
	w.want("500 5.5.2")
}

// Every reply to a flight of pipelined commands leaves in one write.
func TestPipelinedRepliesLeaveTogether(t *testing.T) {
	s, err := newSandbox(plain(App{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ours, theirs := net.Pipe()
	c := newConn(s, theirs, false)
	s.wg.Go(c.serve)
	defer ours.Close()
	buf := make([]byte, 64<<10)
	read := func() string {
		n, err := ours.Read(buf) // one read is one write of the peer
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	read()
	_, _ = io.WriteString(ours, "EHLO x\r\n")
	if n := strings.Count(read(), "\r\n"); n < 5 {
		t.Fatalf("EHLO's reply came in parts: %d lines", n)
	}
	_, _ = io.WriteString(ours, "AUTH XOAUTH2 "+blob("a@example.com", s.IssueToken("a@example.com"))+"\r\n")
	read()
	_, _ = io.WriteString(ours, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<reject-@example.net>\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n")
	if got := read(); strings.Count(got, "\r\n") != 5 {
		t.Fatalf("got %q, want five replies", got)
	}
}

// What arrives is what was sent, whatever it is and however it is cut.
func TestBodies(t *testing.T) {
	s := start(t, plain(App{KeepBodies: true, MaxSize: 1 << 20}))
	w := login(t, s, "a@example.com")
	rnd := rand.New(rand.NewPCG(1, 2))
	bodies := []string{
		"", "\r\n", ".\r\n", "..\r\n", "a\r\n.\r\n.b\r\n", "\n.\n\r\n", "\r.\r\r\n", "a\n.\r\n", "\x00\xff\r\n",
		strings.Repeat("x", 100000) + "\r\n", "x\r\r\n",
	}
	for range 60 {
		var b strings.Builder
		for range rnd.IntN(3000) {
			b.WriteString([]string{"\r\n", ".", "a", "\r", "\n", "..", "\r\n."}[rnd.IntN(7)])
		}
		bodies = append(bodies, b.String()+"\r\n")
	}
	for i, body := range bodies {
		for _, framing := range []string{"DATA", "BDAT"} {
			w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n")
			w.want("250", "250")
			var out []byte
			if framing == "DATA" {
				w.send("DATA\r\n")
				w.want("354")
				out = append(stuff(body), ".\r\n"...)
			} else {
				cut := rnd.IntN(len(body) + 1)
				out = fmt.Appendf(nil, "BDAT %d\r\n%sBDAT %d LAST\r\n%s", cut, body[:cut], len(body)-cut, body[cut:])
			}
			for len(out) > 0 {
				n := min(1+rnd.IntN(5000), len(out))
				w.send(string(out[:n]))
				out = out[n:]
			}
			if framing == "BDAT" {
				w.want("250")
			}
			w.want("250 2.0.0")
			all := s.Messages()
			m := all[len(all)-1]
			sum := sha256.Sum256([]byte(body))
			kept, _ := s.Body(m.ID)
			if m.SHA256 != hex.EncodeToString(sum[:]) || string(kept) != body || m.Framing != framing {
				t.Fatalf("body %d by %s differs: %.40q, got %.40q", i, framing, body, kept)
			}
			bare := strings.ReplaceAll(body, "\r\n", "")
			if m.BareCR != strings.Contains(bare, "\r") || m.BareLF != strings.Contains(bare, "\n") {
				t.Fatalf("body %d %.40q: bare CR %v, bare LF %v", i, body, m.BareCR, m.BareLF)
			}
		}
	}
	if n := s.MessageCount(); n != uint64(2*len(bodies)) {
		t.Errorf("%d messages of %d", n, 2*len(bodies))
	}
	if st := s.Mailbox("a@example.com"); st.Messages != uint64(2*len(bodies)) || st.MaxPerMinute > 2*len(bodies) || st.ConnsPeak != 1 {
		t.Errorf("%+v", st)
	}
}

// stuff adds the dots of RFC 5321 section 4.5.2.
func stuff(body string) []byte {
	b := []byte(strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n.."))[2:]
	return b
}

func TestTooBig(t *testing.T) {
	s := start(t, plain(App{MaxSize: 100}))
	w := login(t, s, "a@example.com")
	w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
	w.want("250", "250", "354")
	w.send(strings.Repeat("x", 100) + "\r\n.\r\n")
	w.want("552 5.3.4")
	w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n")
	w.want("250", "250")
	w.send("BDAT 101 LAST\r\n" + strings.Repeat("x", 101))
	w.want("552 5.3.4")
	if s.MessageCount() != 0 {
		t.Error("a message was kept")
	}
}

func BenchmarkSink(b *testing.B) {
	s := start(b, plain(App{}))
	b.RunParallel(func(pb *testing.PB) {
		w := login(b, s, "a@example.com")
		body := bytes.Repeat([]byte("0123456789012345678901234567890123456789\r\n"), 100)
		one := append([]byte("MAIL FROM:<a@example.com> SIZE=4200\r\nRCPT TO:<b@example.net>\r\nBDAT 4200 LAST\r\n"), body...)
		b.ReportAllocs()
		for pb.Next() {
			w.Write(one)
			for range 3 {
				w.r.ReadSlice('\n')
			}
		}
	})
}
