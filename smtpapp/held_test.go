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
	"bufio"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// TestLoginGoneUnderATransaction takes away what a client may do while it keeps a
// transaction open, with commands that do nothing for it. What is in hand goes out, but
// a MAIL that was allowed is no provision for later.
func TestLoginGoneUnderATransaction(t *testing.T) {
	set := func(change func(*accounts.Record)) func(*testSource) {
		return func(s *testSource) {
			r := testRecord(testUser)
			change(&r)
			s.index.Set(mustCompile(t, r))
		}
	}
	paused := set(func(r *accounts.Record) { r.Paused = true })
	removed := func(s *testSource) { s.index.Delete(testUser) }
	senders := set(func(r *accounts.Record) { r.Senders = []string{"other@example.com"} })
	const mail, rcpt = "C: MAIL FROM:<a@example.com>\nM: 250\n", "C: RCPT TO:<b@example.org>\nM: "
	for name, tc := range map[string]struct {
		before string
		change func(*testSource)
		waits  time.Duration
		after  string
		sends  int
	}{
		"paused at once":           {mail, paused, 0, rcpt + "421 4.7.0 Login is no longer valid\nEOF", 0},
		"senders at once":          {mail, senders, 0, rcpt + "550 5.7.1", 0},
		"paused, in hand":          {mail + rcpt + "250", paused, 0, "C: DATA\nM: 354\nC: .\nM: 250", 1},
		"paused behind MAIL":       {mail, paused, time.Minute, rcpt + "421 4.7.0 Login is no longer valid\nEOF", 0},
		"removed behind MAIL":      {mail, removed, time.Minute, rcpt + "421 4.7.0\nEOF", 0},
		"senders behind MAIL":      {mail, senders, time.Minute, rcpt + "550 5.7.1", 0},
		"nothing behind MAIL":      {mail, func(*testSource) {}, time.Minute, rcpt + "250\nC: DATA\nM: 354\nC: .\nM: 250", 1},
		"paused behind RCPT":       {mail + rcpt + "250", paused, time.Minute, "C: DATA\nM: 354\nC: .\nM: 421 4.7.0\nEOF", 0},
		"paused behind RCPT, BDAT": {mail + rcpt + "250", paused, time.Minute, "C: BDAT 0 LAST\nM: 421 4.7.0\nEOF", 0},
		"removed behind RCPT":      {mail + rcpt + "250", removed, time.Minute, rcpt + "421 4.7.0\nEOF", 0},
		"senders behind RCPT":      {mail + rcpt + "250", senders, time.Minute, "C: DATA\nM: 354\nC: .\nM: 550 5.7.1", 0},
		"paused in the body":       {mail + rcpt + "250\nC: DATA\nM: 354\nC: x", paused, 50 * time.Second, "C: .\nM: 250", 1},
		"paused between chunks":    {mail + rcpt + "250\nC: BDAT 0\nM: 250", paused, 50 * time.Second, "C: BDAT 0 LAST\nM: 250", 1},
		"in one flight":            {mail, paused, time.Minute, "C: RCPT TO:<b@example.org>\nC: BDAT 0 LAST\nM: 421 4.7.0\nEOF", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, up := new(testSource), new(fakeUpstream)
				source.index.Set(mustCompile(t, testRecord(testUser)))
				p := testPolicy()
				p.OneFlight, p.BodyTimeout, p.CommandTimeout = true, time.Hour, time.Hour
				p.plaintextAuth = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
				g, pt := newTestGeneration(t, up, source, p), newPoint()
				pt.attach(g)
				near, far := net.Pipe()
				pt.admit(g, &addrConn{Conn: near, remote: &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 40000}})
				c := &client{t: t, nc: far, r: bufio.NewReader(far)}
				defer func() {
					_ = far.Close()
					<-pt.whenEmpty()
				}()
				c.login()
				c.play(tc.before)
				synctest.Wait()
				tc.change(source)
				time.Sleep(tc.waits)
				c.play(tc.after)
				synctest.Wait()
				if n := len(up.taken()); n != tc.sends {
					t.Errorf("%d messages, want %d", n, tc.sends)
				}
			})
		})
	}
}
