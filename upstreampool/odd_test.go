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
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// TestOddReplies has the provider say what is odd, and what is wrong, in the place of
// each of its replies. What RFC 5321 allows, and what means the same, passes; of all
// else the client hears a 4xx, and it is sent again. Nothing is confirmed that the
// provider does not have, and nothing is said to be in doubt before its end.
func TestOddReplies(t *testing.T) {
	usual := map[string]string{
		"<connect>": "220 provider.test ESMTP", "EHLO": "", "STARTTLS": "220 go", "AUTH": "235 2.7.0 ok", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok",
		"DATA": "354 go", "<end>": "250 2.0.0 queued", "RSET": "250 2.0.0 reset",
	}
	type odd struct {
		say  func(usual string) string
		good bool
	}
	text := func(f func(code, text string) string) func(string) string {
		return func(u string) string { return f(u[:3], u[4:]) }
	}
	odds := map[string]odd{
		"bare LF":        {text(func(code, t string) string { return code + " " + t + "\n" }), true},
		"code alone":     {text(func(code, _ string) string { return code + "\r\n" }), true},
		"code and blank": {text(func(code, _ string) string { return code + " \r\n" }), true},
		"empty lines":    {text(func(code, _ string) string { return code + "-\r\n" + code + "-\r\n" + code + "\r\n" }), true},
		"8 bit":          {text(func(code, t string) string { return code + " " + t + " \xff\xfe\xe4" }), true},
		"UTF-8":          {text(func(code, t string) string { return code + " " + t + " größer \u202e" }), true},
		"NUL":            {text(func(code, t string) string { return code + " " + t + " \x00\x1b[2J" }), true},
		"long":           {text(func(code, t string) string { return code + " " + t + strings.Repeat("x", 3000) }), true},
		"octet by octet": {text(func(code, t string) string { return code + " " + t }), true},
		"too long":       {text(func(code, t string) string { return code + " " + t + strings.Repeat("x", 5000) }), false},
		"differing":      {text(func(code, t string) string { return code + "-" + t + "\r\n550 5.7.1 no" }), false},
		"1xx":            {text(func(_, t string) string { return "150 " + t }), false},
		"6xx":            {text(func(_, t string) string { return "650 " + t }), false},
		"no code":        {text(func(_, t string) string { return t }), false},
		"empty":          {text(func(string, string) string { return "\r\n" }), false},
		"HTTP":           {text(func(string, string) string { return "HTTP/1.1 400 Bad Request" }), false},
		"half, and end":  {text(func(code, _ string) string { return code[:2] + "<cut>" }), false},
		"end":            {text(func(string, string) string { return "<close>" }), false},
		"reset":          {text(func(string, string) string { return "<reset>" }), false},
		"other good":     {text(func(string, string) string { return "299 2.0.0 what" }), false},
	}
	var all sync.WaitGroup
	defer all.Wait()
	turns := make(chan struct{}, 16)
	for _, encrypted := range []bool{false, true} {
		for _, without := range []string{"", "PIPELINING", "CHUNKING"} {
			if encrypted && without != "" {
				continue
			}
			for place, u := range usual {
				if place == "EHLO" || place == "STARTTLS" && !encrypted || place == "DATA" && without != "CHUNKING" {
					continue
				}
				for name, o := range odds {
					slow := name == "octet by octet"
					if slow && place == "STARTTLS" {
						continue // the handshake would be slow too
					}
					all.Go(func() {
						turns <- struct{}{}
						defer func() { <-turns }()
						what := fmt.Sprintf("tls=%v/without=%s/%s/%s", encrypted, without, place, name)
						testOdd(t, what, encrypted, without, place, func() string { return o.say(u) }, o.good, slow)
					})
				}
			}
		}
	}
}

// slowConn writes octet by octet while it is told to.
type slowConn struct {
	net.Conn
	slowly *atomic.Bool
}

func (c *slowConn) Write(b []byte) (int, error) {
	if !c.slowly.Load() {
		return c.Conn.Write(b)
	}
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(time.Millisecond) // so that it is a segment of its own
	}
	return len(b), nil
}

func testOdd(t *testing.T, name string, encrypted bool, without, place string, say func() string, good, slow bool) {
	var on, said, slowly atomic.Bool
	p, s := newTLSProvider(t, encrypted, func(p *provider) {
		p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(s string) bool { return s == without })
		p.wrap = func(nc net.Conn) net.Conn { return &slowConn{nc, &slowly} }
		p.hook = func(s *serverConn, line string) string {
			slowly.Store(false)
			if !on.Load() || !strings.HasPrefix(line, place) {
				return ""
			}
			said.Store(true)
			if place == "MAIL" {
				s.from = line
			}
			slowly.Store(slow)
			r := say()
			if cut, ok := strings.CutSuffix(r, "<cut>"); ok {
				_, _ = io.WriteString(s.nc, cut)
				r = "<close>"
			}
			return r
		}
	})
	s.name = ofRun(t, name)
	u := start(t, s)
	on.Store(true)
	err := deliver(u, testAccount("a@a.test"), "Subject: x\r\n\r\nhello\r\n")
	on.Store(false)
	reply, _ := errors.AsType[*relay.Reply](err)
	held := len(p.got())
	switch {
	case !said.Load() && place != "RSET":
		t.Errorf("%s: not asked for", name)
	case good && (err != nil || held != 1):
		t.Errorf("%s: %v, %d messages", name, err, held)
	case err == nil && held != 1:
		t.Errorf("%s: confirmed, and %d messages are there", name, held)
	case err != nil && (reply == nil || reply.Code/100 != 4):
		t.Errorf("%s: %v", name, err)
	case errors.Is(err, relay.ReplyDeliveryUnknown) && place != "<end>" && place != "RSET":
		t.Errorf("%s: said to be in doubt", name)
	case err != nil && held > 0 && !errors.Is(err, relay.ReplyDeliveryUnknown):
		t.Errorf("%s: %v, and it is there", name, err)
	}
	if err == nil || held > 0 {
		return
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = deliver(u, testAccount("a@a.test"), "again\r\n"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Errorf("%s: not even afterwards: %v", name, err)
			return
		}
	}
	if n := p.holds("again\r\n"); n != 1 {
		t.Errorf("%s: %d messages afterwards", name, n)
	}
}
