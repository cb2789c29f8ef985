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
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/front"
)

// TestWaitingLoginsAreGuests fills a server with logins that are made to wait: for
// the answer to a wrong password, and for their turn behind others of their address.
// The oldest of them leave, and a client with the right password is let in.
func TestWaitingLoginsAreGuests(t *testing.T) {
	const conns, guests = 8, 3
	for name, tc := range map[string]struct {
		from func(i int) string
		max  int
	}{
		"for the answer":  {func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, 1 << 30},
		"for their turn":  {func(int) string { return "192.0.2.1" }, 1},
		"for either":      {func(int) string { return "192.0.2.1" }, 3},
		"from everywhere": {func(i int) string { return fmt.Sprintf("10.%d.0.1", i) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(p *policy) {
				p.maxConns, p.maxGuests = conns, guests
				p.plaintextAuth = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
				p.guard = front.GuardPolicy{Max: tc.max, Window: time.Hour, Delay: time.Hour}
			})
			for i := range conns {
				c := pipeClient(t, s.point, s.gen, tc.from(i+1))
				c.play("M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain("nobody@example.com", fmt.Sprint(i)))
			}
			for deadline := time.Now().Add(5 * time.Second); s.gen.front.Load().Conns > guests; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) { // before the first of them has its answer
					t.Fatalf("%d connections have a place", s.gen.front.Load().Conns)
				}
			}
			c := pipeClient(t, s.point, s.gen, "198.51.100.1")
			c.play("M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain(testUser, testPassword) + "\nM: 235")
		})
	}
}
