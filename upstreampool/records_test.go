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
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// latePart keeps the end of a record back until the next write, or until it is
// told.
type latePart struct {
	net.Conn
	mu   sync.Mutex
	kept []byte
}

func (c *latePart) flush() error {
	b := c.kept
	c.kept = nil
	_, err := c.Conn.Write(b)
	return err
}

func (c *latePart) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// part writes a record, with what is beyond cut after a pause, or in front of the
// next record.
func (c *latePart) part(record []byte, cut int, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pause == 0 {
		_, _ = c.Conn.Write(record)
		return
	}
	_, _ = c.Conn.Write(record[:cut])
	c.kept = record[cut:]
	if pause > 0 {
		time.AfterFunc(pause, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			_ = c.flush()
		})
	}
}

// TestRecordsBehindReplies has the provider's TLS speak for itself behind its
// replies to one command, whole or in pieces that come late: it is no reply, on one
// connection or on all.
func TestRecordsBehindReplies(t *testing.T) {
	const untilNext = -1 // with what the provider says next
	const body = "Subject: x\r\n\r\nhello\r\n"
	large := strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 800)
	ways := map[string]func(u *upstream) error{
		"one":      func(u *upstream) error { return deliver(u, testAccount("a@a.test"), body) },
		"many":     func(u *upstream) error { return deliverBetween(u, body, 3, func() {}) },
		"large":    func(u *upstream) error { return deliver(u, testAccount("a@a.test"), large) },
		"deferred": func(u *upstream) error { return single(u, testAccount("a@a.test"), body) },
	}
	var all sync.WaitGroup
	defer all.Wait()
	turns := make(chan struct{}, 64) // most of the time they wait
	for _, without := range []string{"", "PIPELINING", "CHUNKING"} {
		for _, place := range []string{"AUTH", "MAIL", "RCPT", "DATA", "<body>", "<end>", "RSET"} {
			if without != "CHUNKING" && place == "DATA" || without == "CHUNKING" && place == "<body>" {
				continue
			}
			for way, send := range ways {
				if (place == "<body>") != (way == "large") {
					continue
				}
				for _, tc := range []struct {
					cut   int
					pause time.Duration
					each  bool
				}{{0, 0, true}, {3, 20 * time.Millisecond, true}, {6, untilNext, false}, {6, untilNext, true}, {30, 1100 * time.Millisecond, true}} {
					all.Go(func() {
						turns <- struct{}{}
						defer func() { <-turns }()
						name := fmt.Sprintf("without=%s/%s/%s/%d,%v/each=%v", without, place, way, tc.cut, tc.pause, tc.each)
						testRecordsBehind(t, name, without, place, tc.cut, tc.pause, tc.each, send)
					})
				}
			}
		}
	}
}

func testRecordsBehind(t *testing.T, name, without, place string, cut int, pause time.Duration, each bool, send func(*upstream) error) {
	var on atomic.Bool
	var spoke atomic.Int64
	p, s := newTLSProvider(t, true, func(p *provider) {
		p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(s string) bool { return s == without })
		p.wrap = func(nc net.Conn) net.Conn { return &latePart{Conn: nc} }
		p.after = func(s *serverConn, line string) {
			verb, _, _ := strings.Cut(line, " ")
			tc, encrypted := s.nc.(*tls.Conn)
			if verb != place || !on.Load() || !encrypted || !each && spoke.Load() > 0 {
				return
			}
			spoke.Add(1)
			tc.NetConn().(*latePart).part(testpki.Ticket(tc), cut, pause)
		}
	})
	s.name = ofRun(t, name)
	u := start(t, s)
	on.Store(place == "AUTH") // within the login
	for i := range 2 {
		if err := send(u); err != nil {
			t.Errorf("%s: message %d: %v", name, i+1, err)
		}
		on.Store(true)
	}
	p.stop() // and what it had to say behind its last reply
	if spoke.Load() == 0 {
		t.Errorf("%s: TLS said nothing", name)
	}
	if n := len(p.got()); n != 2 {
		t.Errorf("%s: %d messages at the provider, want 2", name, n)
	}
	if s.Learned.Stutters.Load() || s.Learned.NoTail.Load() {
		t.Errorf("%s: learned of the provider what is not so", name)
	}
}
