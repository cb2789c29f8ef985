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

package faultproxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// provider answers each line with a reply, at once.
func provider(t *testing.T, secure *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "220 ready\r\n")
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					_, _ = io.WriteString(c, "250 "+line)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// talk sends EHLO and a message without octets, and returns what came until the
// connection ended or was silent.
func talk(t *testing.T, kind Kind, mean int, secure bool) (*Proxy, string) {
	t.Helper()
	cfg := Config{Seed: 1, Mean: mean, Kinds: []Kind{kind}}
	var trust *tls.Config
	if secure {
		pair := testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}, Trusted: true})
		trust = &tls.Config{RootCAs: testpki.Trust(pair), ServerName: "127.0.0.1"}    //nolint:gosec // Go's default version
		cfg.Near, cfg.Far = &tls.Config{Certificates: []tls.Certificate{pair}}, trust //nolint:gosec // Go's default version
	}
	cfg.Target = provider(t, cfg.Near)
	p, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c, err := net.Dial("tcp", p.Addr())
	if kind == Reset && errors.Is(err, syscall.ECONNRESET) {
		return p, "" // it has happened before the connection was ours
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if secure {
		c = tls.Client(c, trust)
	}
	var got strings.Builder
	buf := make([]byte, 1024)
	for _, s := range []string{"", "EHLO x\r\n", "BDAT 0 LAST\r\n"} {
		_, _ = io.WriteString(c, s)
		for wait := 5 * longest; ; wait = grace + 3*lateness {
			_ = c.SetReadDeadline(time.Now().Add(wait))
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
	}
	return p, got.String()
}

func TestKinds(t *testing.T) {
	const whole = "220 ready\r\n250 EHLO x\r\n250 BDAT 0 LAST\r\n"
	for i := range 2 * int(kinds) {
		kind, secure := Kind(i/2), i%2 == 1
		t.Run(fmt.Sprintf("%s, TLS %v", kind, secure), func(t *testing.T) {
			t.Parallel()
			p, got := talk(t, kind, 1, secure)
			if p.Hits(kind) == 0 {
				t.Fatalf("it has not happened: %q", got)
			}
			want := whole
			switch kind {
			case Reset, HalfClose, Stall: // the session may end at any octet
				if !strings.HasPrefix(whole, got) {
					t.Errorf("got %q, want a part of %q", got, whole)
				}
				return
			case Double:
				// What comes behind it lacks its last octet.
				want = "220 ready\r\n220 ready\r\n"
			case Stray, Part:
				want = whole + "250 2.0.0 Ok\r\n"
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		if p, got := talk(t, Reset, 1<<40, true); got != whole || p.Hits(Reset) != 0 {
			t.Errorf("got %q with %d faults", got, p.Hits(Reset))
		}
	})
}

// TestPause: a client that waits for a reply, or is amid something, is left alone.
func TestPause(t *testing.T) {
	tr := newTracker()
	for i, step := range []struct {
		from  byte // c is the client, s the provider
		text  string
		pause bool
	}{
		{'s', "220-two\r\n", false},
		{'s', "220 lines\r\n", true},
		{'c', "MAIL FROM:<>\r\nRCPT", false},
		{'s', "250 2.1.0 Ok\r\n", false},
		{'c', " TO:<a@b>\r\nDATA\r\n", false},
		{'s', "250 Ok\r\n35", false},
		{'s', "4 Go\r\n", false},
		{'c', "x\r\n..\r\n.\r", false},
		{'c', "\n", false},
		{'s', "250 Kept\r\n", true},
		{'c', "BDAT 4\r\nab", false},
		{'s', "250 early\r\n", false},
		{'c', "\r\n", true},
		{'c', "BDAT 0 LAST\r\n", false},
		{'s', "250 Kept\r\n", true},
		{'c', "DATA\r\n", false},
		{'s', "503 No\r\n", true},
		{'c', "DATA\r\n", false},
		{'s', "354 Go\r\n", false},
		{'c', ".\r\n", false},
		{'s', "250 Empty\r\n", true},
	} {
		if step.from == 'c' {
			tr.commands([]byte(step.text))
		} else {
			tr.replies([]byte(step.text))
		}
		if got := tr.pause(); got != step.pause {
			t.Fatalf("step %d, %q: pause %v, want %v", i, step.text, got, step.pause)
		}
	}
	if tr.messages != 3 {
		t.Errorf("%d messages ended, want 3", tr.messages)
	}
}
