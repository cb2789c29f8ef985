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

package front

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// guardTest is a guard with a directory of one right password.
type guardTest struct {
	t *testing.T
	*Guard
	p GuardPolicy
}

func newGuardTest(t *testing.T) *guardTest {
	return &guardTest{t, NewGuard(), GuardPolicy{
		Max: 5, Window: 10 * time.Minute, Ban: 15 * time.Minute, Delay: 250 * time.Millisecond,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}}
}

// login tries a login: good, wrong or banned. Only the password "right" is.
func (g *guardTest) login(server, from, name, password string) (heard string, delay time.Duration) {
	g.t.Helper()
	a, err := g.Begin(g.t.Context(), Login{Server: server, Remote: netip.MustParseAddr(from), Policy: &g.p, Name: name, Password: password}, nil)
	switch {
	case errors.Is(err, ErrBanned):
		return "banned", 0
	case err != nil:
		g.t.Fatal(err)
	}
	defer a.End()
	if password == "right" {
		a.Succeeded()
		return "good", 0
	}
	return "wrong", a.Failed().Delay
}

func (g *guardTest) want(want, server, from, name, password string) {
	g.t.Helper()
	if got, _ := g.login(server, from, name, password); got != want {
		g.t.Fatalf("%s at %s from %s with %q: %s, want %s", name, server, from, password, got, want)
	}
}

func (g *guardTest) banned(server, from string) bool {
	return g.Banned(server, netip.MustParseAddr(from), &g.p)
}

func TestGuardStalePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for range 100 {
			if got, delay := g.login("s", "192.0.2.1", "app", "old"); got != "wrong" || delay != g.p.Delay {
				t.Fatalf("%s, %v", got, delay)
			}
		}
		g.want("good", "s", "192.0.2.1", "other", "right")
	})
}

func TestGuardGuesses(t *testing.T) {
	for _, guess := range []func(i int) (name, password string){
		func(i int) (string, string) { return "app", fmt.Sprint(i) },               // many passwords
		func(i int) (string, string) { return fmt.Sprintf("app%d", i), "Summer1" }, // many accounts
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuardTest(t)
			for i := range 5 {
				name, password := guess(i)
				g.want("wrong", "s", "192.0.2.1", name, password)
			}
			g.want("banned", "s", "192.0.2.1", "app", "right")
			if !g.banned("s", "192.0.2.1") || g.banned("s", "192.0.2.2") || g.banned("other", "192.0.2.1") {
				t.Error("a ban is of its server and address")
			}
			g.want("good", "other", "192.0.2.1", "app", "right")
			list := g.Bans()
			if len(list) != 1 || list[0].Failures != 5 || list[0].Network.String() != "192.0.2.1/32" || list[0].Until.Sub(list[0].Since) != g.p.Ban {
				t.Errorf("bans %+v", list)
			}
			time.Sleep(g.p.Ban)
			g.want("good", "s", "192.0.2.1", "app", "right")
			if len(g.Bans()) != 0 {
				t.Errorf("bans %+v", g.Bans())
			}
		})
	}
}

// TestGuardWindow forgets wrong logins that are too far apart.
func TestGuardWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for i := range 40 {
			g.want("wrong", "s", "192.0.2.1", "app", fmt.Sprint(i))
			time.Sleep(3 * time.Minute)
		}
	})
}

// TestGuardClasses guesses from many addresses of one site.
func TestGuardClasses(t *testing.T) {
	for _, tc := range []struct {
		addr  func(i int) string
		tries int
		other string // outside
	}{
		{func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 10, "2001:db8:1::1"},     // a /60 and more
		{func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, 10, "192.0.2.200"},             // a /26
		{func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }, 50, "2001:db9::1"},         // a /32
		{func(i int) string { return fmt.Sprintf("10.0.%d.%d", i%8, 7*i%250) }, 50, "10.0.8.1"},     // a /21
		{func(i int) string { return fmt.Sprintf("10.0.%d.%d", i%8, 64*(i/8%4)) }, 50, "10.0.16.1"}, // the same, spread
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuardTest(t)
			for i := range tc.tries {
				g.want("wrong", "s", tc.addr(i), "app", fmt.Sprint(i))
			}
			if from := tc.addr(tc.tries + 1); !g.banned("s", from) {
				t.Errorf("%s is not banned: %+v", from, g.Bans())
			}
			g.want("good", "s", tc.other, "app", "right")
		})
	}
}

// TestGuardKnownClient lets go on what has logged in well from an address that
// is banned, and bans nothing as long as only a few are wrong.
func TestGuardKnownClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		g.want("good", "s", "192.0.2.1", "a", "right")
		g.want("good", "s", "192.0.2.1", "b", "right")
		for i := range 22 {
			g.want("wrong", "s", "192.0.2.1", fmt.Sprint("other", i), "old")
			g.want("good", "s", "192.0.2.1", "a", "right")
		}
		g.want("banned", "s", "192.0.2.1", "c", "right")
		g.want("good", "s", "192.0.2.1", "b", "right")
		if g.banned("s", "192.0.2.1") {
			t.Error("its connections are refused")
		}
		// The new password of an account that is known is tried, not guessed.
		for i := range 5 {
			g.want("wrong", "s", "192.0.2.1", "b", fmt.Sprint(i))
		}
		g.want("banned", "s", "192.0.2.1", "b", "guess")
		g.want("good", "s", "192.0.2.1", "b", "right")
		g.want("good", "s", "192.0.2.1", "a", "right")
		// None of it is its neighbours' fault.
		g.want("good", "s", "192.0.2.2", "c", "right")
	})
}

// TestGuardManyLogins is an MTA with many accounts, of which a tenth are old.
func TestGuardManyLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for range 3 {
			for i := range 2000 {
				want, password := "good", "right"
				if i%10 == 3 {
					want, password = "wrong", "old"
				}
				g.want(want, "s", "192.0.2.1", fmt.Sprint("u", i), password)
			}
		}
		if bans := g.Bans(); len(bans) != 0 {
			t.Errorf("bans %+v", bans)
		}
	})
}

func TestGuardExempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for i := range 50 {
			if got, delay := g.login("s", "127.0.0.1", "app", fmt.Sprint(i)); got != "wrong" || delay != min(g.p.Delay<<min(i, 10), maxDelay) {
				t.Fatalf("guess %d: %s after %v", i, got, delay)
			}
			a, err := g.Begin(t.Context(), Login{Server: "s", Policy: &g.p, Name: "unix", Password: fmt.Sprint(i)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			a.Failed()
			a.End()
		}
		// Another account's refusals are as quick as ever.
		if _, delay := g.login("s", "127.0.0.1", "other", "old"); delay != g.p.Delay {
			t.Errorf("the delay of another account: %v", delay)
		}
		g.want("good", "s", "127.0.0.1", "app", "right")
	})
}

// TestGuardTurns has many logins at once: only so many are under way as could
// be wrong without passing the limit.
func TestGuardTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		var mu sync.Mutex
		var logins sync.WaitGroup
		heard := make(map[string]int)
		for i := range 500 {
			logins.Go(func() {
				a, err := g.Begin(t.Context(), Login{
					Server: "s", Remote: netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 2)}), Policy: &g.p, Name: fmt.Sprint("app", i%50), Password: fmt.Sprint(i),
				}, nil)
				word := "wrong"
				switch {
				case errors.Is(err, ErrBanned):
					word = "banned"
				case err != nil:
					word = err.Error()
				default:
					time.Sleep(time.Second) // the hash
					a.Failed()
					a.End()
				}
				mu.Lock()
				heard[word]++
				mu.Unlock()
			})
		}
		logins.Wait()
		if heard["wrong"] > 10 || heard["wrong"]+heard["banned"] != 500 || heard["wrong"] < 5 {
			t.Errorf("heard %v", heard)
		}
		if g.waiting != 0 {
			t.Errorf("%d still wait", g.waiting)
		}
		for _, el := range g.entries {
			if e := el.Value.(*guardEntry); e.pending != 0 {
				t.Errorf("%+v: %d pending", e.key, e.pending)
			}
		}
	})
}

// TestGuardTurnsOfTheGood serves an MTA that starts with all its connections at
// once.
func TestGuardTurnsOfTheGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 1000 {
			wg.Go(func() {
				a, err := g.Begin(t.Context(), Login{
					Server: "s", Remote: netip.MustParseAddr("192.0.2.1"), Policy: &g.p, Name: fmt.Sprint("app", i), Password: "right",
				}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(100 * time.Millisecond)
				a.Succeeded()
				a.End()
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestGuardWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for i, want := range []time.Duration{250, 500, 1000, 2000, 4000, 8000, 8000} {
			start := time.Now()
			_, delay := g.login("s", "127.0.0.1", "app", fmt.Sprint(i))
			g.Wait(t.Context(), delay, nil)
			if got := time.Since(start); got != want*time.Millisecond {
				t.Errorf("waited %v, want %v ms", got, int64(want))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		drained := make(chan struct{})
		close(drained)
		start := time.Now()
		g.Wait(ctx, time.Hour, nil)
		g.Wait(t.Context(), time.Hour, drained)
		g.Wait(t.Context(), 0, nil)
		if took := time.Since(start); took != 0 || g.waiting != 0 {
			t.Errorf("waited %v, %d still do", took, g.waiting)
		}
	})
}

// TestGuardWithheld answers a right login that is refused as slowly as a wrong one.
func TestGuardWithheld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for i := range 20 {
			a, err := g.Begin(t.Context(), Login{Server: "s", Remote: netip.MustParseAddr("192.0.2.1"), Policy: &g.p, Name: fmt.Sprint("paused", i), Password: "right"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if delay := a.Withheld(); delay != g.p.Delay {
				t.Errorf("delay %v", delay)
			}
			a.End()
		}
		g.want("good", "s", "192.0.2.1", "app", "right")
	})
}

// TestGuardUnsure holds that logins of which nothing is known are answered as slowly as wrong
// ones, that devices that have no part in that are not banned, and that a guesser is.
func TestGuardUnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		try := func(from, name, password string) (Outcome, error) {
			a, err := g.Begin(t.Context(), Login{Server: "s", Remote: netip.MustParseAddr(from), Policy: &g.p, Name: name, Password: password}, nil)
			if err != nil {
				return Outcome{}, err
			}
			defer a.End()
			return a.Unsure(), nil
		}
		for i := range 19 {
			name := fmt.Sprint("device", i)
			for range 3 { // they try again
				if o, err := try("192.0.2.1", name, "its own"); err != nil || o.Delay != g.p.Delay || len(o.Bans) > 0 {
					t.Fatalf("device %d: %+v, %v", i, o, err)
				}
			}
		}
		// What is known again counts by itself.
		g.want("wrong", "s", "192.0.2.1", "app", "Summer1")
		g.want("good", "s", "192.0.2.1", "app", "right")
		for i := range 4 {
			if o, err := try("192.0.2.9", "app", fmt.Sprint(i)); err != nil || o.Delay != g.p.Delay<<(i+1) {
				t.Errorf("guess %d: %+v, %v", i, o, err)
			}
		}
		for i := range 16 {
			o, err := try("192.0.2.9", fmt.Sprint("app", i), "Summer1")
			if err != nil || (len(o.Bans) == 1) != (i == 15) {
				t.Errorf("account %d: %+v, %v", i, o, err)
			}
		}
		if list := g.Bans(); len(list) != 1 || list[0].Failures != 20 || list[0].Network.String() != "192.0.2.9/32" {
			t.Errorf("bans %+v", list)
		}
		if _, err := try("192.0.2.9", "app", "right"); !errors.Is(err, ErrBanned) {
			t.Errorf("after that: %v", err)
		}
		if g.Lift("s", netip.MustParsePrefix("192.0.2.9/32")) != 1 || g.banned("s", "192.0.2.9") {
			t.Error("it cannot be lifted")
		}
		if o, err := try("192.0.2.9", "app", "again"); err != nil || len(o.Bans) > 0 {
			t.Errorf("after it was lifted: %+v, %v", o, err)
		}
	})
}

func TestGuardLift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		ban := func(server, from string) {
			for i := range 5 {
				g.want("wrong", server, from, "app", fmt.Sprint(i))
			}
		}
		ban("a", "192.0.2.1")
		ban("b", "192.0.2.1")
		ban("a", "198.51.100.1")
		if n := g.Lift("a", netip.MustParsePrefix("192.0.2.1/32")); n != 1 || len(g.Bans()) != 2 {
			t.Errorf("%d lifted, %+v left", n, g.Bans())
		}
		ban("a", "192.0.2.1") // what led to it is forgotten, too
		if n := g.Lift("", netip.MustParsePrefix("192.0.2.0/24")); n != 2 || len(g.Bans()) != 1 {
			t.Errorf("%d lifted, %+v left", n, g.Bans())
		}
		if n := g.Lift("", netip.MustParsePrefix("192.0.2.0/24")); n != 0 {
			t.Errorf("%d lifted twice", n)
		}
	})
}

// TestGuardKeepsBans floods the guard with logins of other names: by a client that has
// an account of its own and is banned for its guesses, by one that is never banned, and
// from everywhere. What they make it remember displaces no ban and no good client.
func TestGuardKeepsBans(t *testing.T) {
	for name, flood := range map[string]func(g *guardTest, i int){
		"insider": func(g *guardTest, i int) { g.login("s", "198.51.100.1", fmt.Sprint("n", i), "w") },
		"exempt":  func(g *guardTest, i int) { g.login("s", "127.0.0.1", fmt.Sprint("n", i), "w") },
		"everywhere": func(g *guardTest, i int) {
			g.login("s", netip.AddrFrom4([4]byte{10, byte(i >> 5), byte(i << 3), 1}).String(), fmt.Sprint("n", i), "w")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuardTest(t)
				g.tracked = 1000
				for i := range 5 {
					g.want("wrong", "s", "192.0.2.77", "app", fmt.Sprint(i))
				}
				g.want("good", "s", "192.0.2.1", "app", "right")
				g.want("good", "s", "198.51.100.1", "mine", "right")
				for i := range 3 * g.tracked {
					flood(g, i)
				}
				if !g.banned("s", "192.0.2.77") || len(g.Bans()) < 1 {
					t.Error("the ban is gone")
				}
				if e := g.peek(guardKey{server: "s", network: netip.MustParsePrefix("192.0.2.1/32")}); !e.good(time.Now()) {
					t.Error("the good client is forgotten")
				}
				if n := len(g.entries); n > g.tracked || n != g.passing.Len()+g.lasting.Len() {
					t.Errorf("%d entries, %d and %d in the lists", n, g.passing.Len(), g.lasting.Len())
				}
			})
		})
	}
}

// TestGuardRefusedIsNothing has a login that is refused unseen leave nothing behind.
func TestGuardRefusedIsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for i := range 5 {
			g.want("wrong", "s", "192.0.2.77", "app", fmt.Sprint(i))
		}
		n := len(g.entries)
		g.want("banned", "s", "192.0.2.77", "other", "x")
		if len(g.entries) != n {
			t.Errorf("%d entries behind a refused login, %d before", len(g.entries), n)
		}
	})
}

// TestGuardBounded keeps to its bounds.
func TestGuardBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardTest(t)
		for i := range maxTracked/2 + 100 {
			g.want("wrong", "s", netip.AddrFrom4([4]byte{byte(i >> 14), byte(i >> 7), byte(i << 1), 1}).String(), fmt.Sprint(i), "old")
		}
		if n := g.passing.Len() + g.lasting.Len(); n != maxTracked || len(g.entries) != maxTracked || g.pairs > maxPairs {
			t.Errorf("%d entries, %d keys, %d pairs", n, len(g.entries), g.pairs)
		}
		pairs := 0
		for _, el := range g.entries {
			e := el.Value.(*guardEntry)
			pairs += len(e.wrong) + len(e.right)
		}
		if pairs != g.pairs {
			t.Errorf("%d pairs, %d counted", pairs, g.pairs)
		}
	})
}
