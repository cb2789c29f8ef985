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

package connect

import (
	"fmt"
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	now := time.Now()
	b := newBounds(now)
	n := 0
	for b.take("2001:db8::1", now) {
		n++
	}
	if n != clientBurst {
		t.Errorf("%d requests of one client at once, want %d", n, int(clientBurst))
	}
	if b.take("2001:db8::2", now) {
		t.Error("another address of the same /64 is another client")
	}
	if !b.take("192.0.2.1", now) {
		t.Error("another client is refused")
	}
	if !b.take("2001:db8::1", now.Add(time.Second)) {
		t.Error("the client is still refused a second later")
	}
	// Whatever comes, memory is bounded.
	for i := range 3 * maxKept {
		b.take(fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), now)
	}
	if len(b.clients.each) > maxKept {
		t.Errorf("%d clients are remembered", len(b.clients.each))
	}
	later := now.Add(time.Hour)
	b.take("192.0.2.2", later)
	if len(b.clients.each) > 2 {
		t.Errorf("%d clients are remembered an hour later", len(b.clients.each))
	}
}

// TestOfficeBehindOneAddress has ten thousand owners, half of whom come within ten
// minutes of the mail, and none of whom is told to wait.
func TestOfficeBehindOneAddress(t *testing.T) {
	now := time.Now()
	b := newBounds(now)
	const owners, requests = 10_000, 4
	for _, part := range []time.Duration{10 * time.Minute, 50 * time.Minute} {
		const n = owners / 2 * requests
		for range n {
			if now = now.Add(part / n); !b.take("192.0.2.1", now) {
				t.Fatalf("an owner is told to wait, with %d in %s", n, part)
			}
		}
	}
	// A mail that all open at once.
	now = now.Add(time.Hour)
	for i := range 100 * requests {
		if !b.take("192.0.2.1", now) {
			t.Fatalf("the %d. request at once is told to wait", i+1)
		}
	}
}

// TestFloodKeepsNobodyOut has addresses that ask for ever more, with links and without, and
// owners who come meanwhile. What it costs to keep them out is many addresses, not many
// requests.
func TestFloodKeepsNobodyOut(t *testing.T) {
	now := time.Now()
	b := newBounds(now)
	const (
		seconds   = 20
		attackers = 100
		each      = 1000 // requests of an attacker, a second
		owners    = 20   // that come in a second, with four requests each
	)
	let, refused := 0, 0
	for second := range seconds {
		for tick := range 100 {
			now = now.Add(10 * time.Millisecond)
			for a := range attackers {
				for range each / 100 {
					if b.take(fmt.Sprintf("198.51.100.%d", a), now) {
						let++
					}
					// One of the links is known to them all.
					b.invite("leaked", now)
				}
			}
			if tick%(100/owners) != 0 {
				continue
			}
			owner := fmt.Sprintf("10.1.%d.%d", second, tick)
			for range 4 {
				if !b.take(owner, now) || !b.invite(owner, now) {
					refused++
				}
			}
		}
	}
	if refused > 0 {
		t.Errorf("%d of %d requests of owners are told to wait", refused, seconds*owners*4)
	}
	if most := attackers*clientBurst + seconds*heavyRate + heavyBurst; let > most {
		t.Errorf("%d of %d requests of a flood are looked at, want %d at most", let, seconds*attackers*each, most)
	}
	t.Logf("of %d requests of %d addresses %d were looked at", seconds*attackers*each, attackers, let)
}

// FuzzID holds that no token and no id leads outside of the invitations.
func FuzzID(f *testing.F) {
	for _, s := range []string{"", "../../x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "%2e%2e", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := idOf(s); err == nil && !validID(id) {
			t.Errorf("the id of %q is %q", s, id)
		}
		if validID(s) && len(s) != 64 {
			t.Errorf("%q is taken for an id", s)
		}
	})
}
