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
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dripConn lets only so many octets go every ten seconds, once it is told to.
type dripConn struct {
	net.Conn
	mu   sync.Mutex
	rate int
}

func (c *dripConn) drip(rate int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate = rate
}

func (c *dripConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	rate := c.rate
	c.mu.Unlock()
	if rate == 0 {
		return c.Conn.Write(p)
	}
	for part := range slices.Chunk(p, rate) {
		time.Sleep(10 * time.Second)
		if _, err := c.Conn.Write(part); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestDrips has clients whose octets come slowly: in the clear, and in TLS records of
// which nothing is known before their end. Both are bounded alike, but that silence is
// what TLS makes of a record that does not end.
func TestDrips(t *testing.T) {
	const begun = login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	lines := strings.Repeat(strings.Repeat("y", 78)+"\r\n", 200) // one record
	always, never := func() bool { return true }, func() bool { return false }
	for name, tc := range map[string]struct {
		fast, slow string
		rate       int
		wanted     func() bool
		plain, tls time.Duration
		cause      Cause
	}{
		"before the hello":      {"", "EHLO " + strings.Repeat("x", 250), 1, always, 30 * time.Second, 30 * time.Second, CauseLoginTimeout},
		"in a login":            {"EHLO x\r\n", "AUTH PLAIN " + strings.Repeat("A", 9000), 100, always, 30 * time.Second, 30 * time.Second, CauseLoginTimeout},
		"in a command":          {login, "NOOP " + strings.Repeat("x", 250), 1, always, 5 * time.Minute, 5 * time.Minute, CauseTimeout},
		"in RCPT, wanted":       {begun, "RCPT TO:<" + strings.Repeat("x", 250), 1, always, 30 * time.Second, 30 * time.Second, CauseStalled},
		"in DATA, wanted":       {begun + "DATA\r\n", lines, 1, always, 30 * time.Second, 30 * time.Second, CauseStalled},
		"in DATA":               {begun + "DATA\r\n", lines, 1, never, 10 * time.Minute, 3 * time.Minute, CauseMessageTimeout},
		"in BDAT, wanted":       {begun + "BDAT 99999\r\n", lines, 1, always, 30 * time.Second, 30 * time.Second, CauseStalled},
		"in BDAT":               {begun + "BDAT 99999\r\n", lines, 1, never, 10 * time.Minute, 3 * time.Minute, CauseMessageTimeout},
		"fast enough":           {begun + "DATA\r\n", strings.Repeat(lines, 40), 6000, always, 10 * time.Minute, 10 * time.Minute, CauseMessageTimeout},
		"nearly fast enough":    {begun + "DATA\r\n", strings.Repeat(lines, 40), 2500, always, 30 * time.Second, 30 * time.Second, CauseStalled},
		"fast enough in chunks": {begun + "BDAT 999999\r\n", strings.Repeat(lines, 40), 6000, always, 10 * time.Minute, 10 * time.Minute, CauseMessageTimeout},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", name, secure), func(t *testing.T) {
				want := tc.plain
				if secure {
					want = tc.tls
				}
				synctest.Test(t, func(t *testing.T) { testDrip(t, secure, tc.fast, tc.slow, tc.rate, tc.wanted, want, tc.cause) })
			})
		}
	}
}

func testDrip(t *testing.T, secure bool, fast, slow string, rate int, wanted func() bool, want time.Duration, cause Cause) {
	t.Helper()
	near, far := net.Pipe()
	s := &recorder{cfg: tolerantConfig(), stalled: wanted}
	s.cfg.Patience, s.cfg.CommandTimeout, s.cfg.LoginTimeout = 30*time.Second, 5*time.Minute, 30*time.Second
	s.cfg.BodyIdle, s.cfg.BodyTimeout = 3*time.Minute, 10*time.Minute
	if secure {
		s.cfg.ImplicitTLS = &tls.Config{Certificates: []tls.Certificate{testCertificate()}}
		s.cfg.Prepare()
	}
	slowly := &dripConn{Conn: far}
	var client net.Conn = slowly
	if secure {
		client = tls.Client(slowly, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	}
	var talking sync.WaitGroup
	start := make(chan time.Time, 1)
	talking.Go(func() {
		defer far.Close()
		last := ""
		defer func() {
			if !strings.HasPrefix(last, "421 4.4.2 ") {
				t.Errorf("the last word is %q", last)
			}
		}()
		var writing sync.WaitGroup
		defer writing.Wait()
		defer far.Close()
		r := bufio.NewReader(client)
		for answers := 1 + strings.Count(fast, "\r\n") - strings.Count(fast, "BDAT"); ; answers-- {
			if answers == 0 {
				start <- time.Now()
				slowly.drip(rate)
				writing.Go(func() { _, _ = io.WriteString(client, slow) })
			}
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if last = line; strings.HasPrefix(line, "220") && fast != "" {
				writing.Go(func() { _, _ = io.WriteString(client, fast) })
			}
			if line[3] == '-' {
				answers++
			}
		}
	})
	end := New(near, s, s.cfg, nil).Serve()
	took := time.Since(<-start)
	talking.Wait()
	if got := s.causes(); end != EndTimeout || took != want || !slices.Equal(got, []Cause{cause}) || len(s.bodies) > 0 {
		t.Errorf("%s after %v, %v, want %v after %v", end, took, got, cause, want)
	}
}

// TestDripsInHandshake has clients that come to no end with a handshake.
func TestDripsInHandshake(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			s := &recorder{cfg: tolerantConfig()}
			s.cfg.LoginTimeout = 30 * time.Second
			pair := []tls.Certificate{testCertificate()}
			if s.cfg.StartTLS = (&tls.Config{Certificates: pair}); implicit {
				s.cfg.ImplicitTLS = s.cfg.StartTLS
			}
			s.cfg.Prepare()
			start := time.Now()
			var talking sync.WaitGroup
			talking.Go(func() {
				defer far.Close()
				if !implicit {
					r := bufio.NewReader(far)
					for _, line := range []string{"", "EHLO x\r\n", "STARTTLS\r\n"} {
						if line != "" {
							_, _ = io.WriteString(far, line)
						}
						for more := true; more; {
							reply, err := r.ReadString('\n')
							more = err == nil && reply[3] == '-'
						}
					}
				}
				_ = tls.Client(&dripConn{Conn: far, rate: 1}, &tls.Config{InsecureSkipVerify: true}).Handshake()
			})
			end := New(near, s, s.cfg, nil).Serve()
			took := time.Since(start)
			talking.Wait()
			if end != EndTLS || took != 30*time.Second || !slices.Equal(s.causes(), []Cause{CauseTLSFailed}) {
				t.Errorf("implicit %v: %s after %v, %v", implicit, end, took, s.refusals)
			}
		})
	}
}
