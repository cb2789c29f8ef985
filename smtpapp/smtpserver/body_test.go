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

package smtpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/content"
)

// smuggling is the corpus of what one server may take for the end of a
// message and another not. Each is followed, within the message, by commands.
var smuggling = []struct {
	name, end  string
	normalized string // what `normalize` makes of it; "" if refused all the same
}{
	{"LF.LF", "\n.\n", "\r\n.\r\n"},
	{"LF.CRLF", "\n.\r\n", "\r\n.\r\n"},
	{"CRLF.LF", "\r\n.\n", "\r\n\r\n"}, // the dot is stuffing (RFC 5321 section 4.5.2)
	{"CR.CR", "\r.\r", "\r\n.\r\n"},
	{"CR.CRLF", "\r.\r\n", "\r\n.\r\n"},
	{"CRLF.CR", "\r\n.\r", "\r\n\r\n"},
	{"CR.LF", "\r.\n", "\r\n.\r\n"},
	{"LF.CR", "\n.\r", "\r\n.\r\n"},
	{"CRCRLF.CRLF", "\r\r\n..\r\n", "\r\n.\r\n"},
	{"LFCR.CRLF", "\n\r.\r\n", "\r\n\r\n.\r\n"},
	{"CRLF.CRCRLF", "\r\n.\r\r\n", "\r\n\r\n"},
	{"NUL", "\r\n\x00.\r\n", ""},
	{"NUL after the dot", "\r\n.\x00\r\n", ""},
	{"CRNULLF", "\r\x00\n.\r\x00\n", ""},
	{"LF", "\n", "\r\n"},
	{"CR", "\r", "\r\n"},
}

const smuggled = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nevil\r\n"

// referenceNormalize is a slow and simple `normalize`; "" if refused.
func referenceNormalize(s string) string {
	if strings.ContainsRune(s, 0) {
		return ""
	}
	if strings.Contains(s, strings.Repeat("\r", content.MaxRun+1)) {
		return ""
	}
	s = regexp.MustCompile("\r+\n").ReplaceAllString(s, "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// referenceDot finds the end of a message and undoes the stuffing, slowly.
func referenceDot(raw string) (body string, rest string, ok bool) {
	s := "\r\n" + raw
	end := strings.Index(s, "\r\n.\r\n")
	if end < 0 {
		return "", "", false
	}
	body = s[:end+2]
	rest = s[end+5:]
	return strings.TrimPrefix(strings.ReplaceAll(body, "\r\n.", "\r\n"), "\r\n"), rest, true
}

func referenceClean(s string) bool {
	if strings.ContainsRune(s, 0) {
		return false
	}
	s = strings.ReplaceAll(s, "\r\n", "")
	return !strings.ContainsAny(s, "\r\n")
}

// bodyConn is a connection that is in the middle of a message.
type bodyConn struct{ *Conn }

// bodyOf makes a connection that reads from r.
func bodyOf(r io.Reader, cfg *Config) bodyConn {
	return bodyConn{New(&readConn{r: r}, nopSession{}, cfg, nil)}
}

func (c bodyConn) start(dot bool) {
	if dot {
		c.startBody(nil)
		return
	}
	c.startBody(c.nextChunk)
}

// nopSession takes everything.
type nopSession struct{}

func (nopSession) Config() *Config                      { return testConfig() }
func (nopSession) Network() Network                     { return Network{} }
func (nopSession) Hello(string)                         {}
func (nopSession) StartedTLS()                          {}
func (nopSession) MayLogin() bool                       { return true }
func (nopSession) Login(string, string) error           { return nil }
func (nopSession) Mail(string, *smtp.MailOptions) error { return nil }
func (nopSession) Rcpt([]relay.Recipient, []error)      {}
func (nopSession) Data(io.Reader) (*relay.Reply, error) { return relay.ReplyOK, nil }
func (nopSession) Finish(*Result)                       {}
func (nopSession) Refused(Refusal)                      {}
func (nopSession) Stalled() bool                        { return false }
func (nopSession) Whole(*relay.Recipient, io.Reader) (error, *relay.Reply, error) {
	return relay.ReplyInternal, nil, nil
}

func testConfig() *Config {
	cfg := &Config{
		BareNewline: BareReject,
		Hostname:    "mail.test", MaxSize: 1 << 20, MaxRecipients: 100, MaxAuthTries: 3,
		CommandTimeout: time.Minute, BodyIdle: time.Minute, BodyTimeout: time.Minute,
	}
	cfg.Prepare()
	return cfg
}

// readConn is a connection that can only be read.
type readConn struct {
	net.Conn
	r io.Reader
}

func (c *readConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *readConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *readConn) SetReadDeadline(time.Time) error  { return nil }
func (c *readConn) SetWriteDeadline(time.Time) error { return nil }

// TestDotRandom runs the comparison on messages made of little else than
// what matters.
func TestDotRandom(t *testing.T) {
	alphabet := []string{"\r", "\n", ".", "\r\n", "\r\n.", "a", "\r\n..", ".\r\n", "\x00"}
	weights := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		for range weights.IntN(12) {
			k := weights.IntN(len(alphabet))
			if k == len(alphabet)-1 && weights.IntN(4) > 0 {
				k = 3
			}
			b.WriteString(alphabet[k])
		}
		raw := b.String() + "\r\n.\r\nrest"
		want, rest, _ := referenceDot(raw)
		l := bodyOf(&cutReader{b: []byte(raw), cut: 1 + weights.IntN(8)}, testConfig())
		l.start(true)
		got, err := readPieces(&l.body, 1+weights.IntN(8))
		if ok := referenceClean(want); ok != (err == nil) || ok && string(got) != want {
			t.Fatalf("%q: got %q, %v; want %q, %v", raw, got, err, want, ok)
		}
		if err := l.body.drain(); err != nil {
			t.Fatal(err)
		}
		after, _ := io.ReadAll(io.MultiReader(bytes.NewReader(l.w.buffered()), l.w.nc.(*readConn).r))
		if string(after) != rest {
			t.Fatalf("%q: what follows is %q, want %q", raw, after, rest)
		}
		l.w.release()
	}
}

// TestLargeRandom does so with messages that are read to their place: long stretches of
// lines, and what is none anywhere among them.
func TestLargeRandom(t *testing.T) {
	odd := []string{"\r", "\n", ".", "..", ".\r\n", "\r\r\n", "\n.\r\n", ".\n", "\r\n.\n"}
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var b strings.Builder
		for size, rare := r.IntN(300<<10), 1+r.IntN(5000); b.Len() < size; {
			if r.IntN(rare) == 0 {
				b.WriteString(odd[r.IntN(len(odd))])
				continue
			}
			b.WriteString("0123456789abcdefghijklmnopqrstuvwxyz."[r.IntN(37):])
			b.WriteString("\r\n")
		}
		raw := b.String() + "\r\n.\r\nrest"
		want, rest, _ := referenceDot(raw)
		if n := referenceNormalize(want); n != "" {
			want = n
		}
		cfg := testConfig()
		cfg.BareNewline = BareNormalize
		l := bodyOf(&cutReader{b: []byte(raw), cut: 1 + r.IntN(200<<10)}, cfg)
		l.start(true)
		got, err := readPieces(&l.body, 1+r.IntN(256<<10))
		if err != nil || string(got) != want {
			t.Fatalf("%d octets of %d, %v", len(got), len(want), err)
		}
		after, _ := io.ReadAll(io.MultiReader(bytes.NewReader(l.w.buffered()), l.w.nc.(*readConn).r))
		if string(after) != rest {
			t.Fatalf("what follows is %q, want %q", after, rest)
		}
		l.w.release()
	}
}

// TestBodyReadErrors checks what an upstream sees of a client that fails.
func TestBodyReadErrors(t *testing.T) {
	boom := errors.New("boom")
	l := bodyOf(iotest.ErrReader(boom), testConfig())
	defer l.w.release()
	l.start(true)
	if _, err := l.body.Read(make([]byte, 10)); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	l2 := bodyOf(strings.NewReader("abc\r\n"), testConfig())
	defer l2.w.release()
	l2.start(true)
	if _, err := io.ReadAll(&l2.body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want unexpected EOF", err)
	}
}

func TestParseBdat(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0 false", "10 LAST": "10 true", "10 last": "10 true", "10  LAST ": "10 true",
		"": "bad", "LAST": "bad", "10 LAST x": "bad", "-1": "bad", "+1": "bad", "0x10": "bad",
		"123456789012345678901": "bad", "99999999999999999999": strconv.FormatInt(1<<63-1, 10) + " false",
	} {
		size, last, ok := parseBdat(in)
		got := "bad"
		if ok {
			got = fmt.Sprint(size, last)
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// BenchmarkDot measures the reader of DATA alone.
func BenchmarkDot(b *testing.B) {
	message := []byte(strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 16384) + ".\r\n")
	cfg := testConfig()
	cfg.MaxSize = 8 << 20
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(message)))
	for range b.N {
		l := bodyOf(&cutReader{b: message, cut: bigBuffer}, cfg)
		l.start(true)
		for {
			if _, err := l.body.Read(buf); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		l.w.release()
	}
}
