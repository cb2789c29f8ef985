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
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// fake makes u's connections out of nothing. dial may sleep and fail.
func fake(u *upstream, dial func() *smtpclient.Error) *atomic.Int64 {
	var dials atomic.Int64
	u.connect = func(_ context.Context, s *settings, ac *account, id dialer.Credentials) (*conn, *smtpclient.Error) {
		dials.Add(1)
		if dial != nil {
			if err := dial(); err != nil {
				return nil, err
			}
		}
		now := clock()
		near, far := net.Pipe()
		_ = far.Close()
		c := &conn{
			Conn: smtpclient.New(near, &s.Config), pool: ac.pool, s: s, identity: s.identity, creds: id,
			opened: now, idleSince: now, retireAt: now + int64(s.maxAge),
		}
		return c, nil
	}
	return &dials
}

func limited(t *testing.T, mod ...func(*settings)) (*upstream, *settings) {
	t.Helper()
	s := testSettings(t, nil, func(tr *SMTPTransport) { tr.Dial = "127.0.0.1:1" })
	for _, m := range mod {
		m(s)
	}
	u := newUpstream(s.name)
	fake(u, nil)
	u.attach(s)
	return u, s
}

func endUpstream(u *upstream) {
	u.detach(u.current.Load())
	u.closing.Wait()
	u.limits.Wait()
}

// TestRateWindow sends as fast as the gateway lets it, with answers that take
// any time, and counts as a provider might: at any moment between MAIL and the
// final reply. No stretch of a minute ever has more than the limit.
func TestRateWindow(t *testing.T) {
	for _, rate := range []accounts.Rate{{Count: 30, Per: time.Minute}, {Count: 3, Per: time.Second}, {Count: 2000, Per: time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			u, _ := limited(t, func(s *settings) {
				s.rate, s.maxConnsPerAccount, s.maxWait, s.maxWaiting = rate, 40, 10*time.Minute, 10000
			})
			defer endUpstream(u)
			a := testAccount("a")
			var mu sync.Mutex
			var counted []time.Time
			var wg sync.WaitGroup
			total := int(3 * rate.Count)
			for i := range total {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(1, uint64(i)))
					time.Sleep(time.Duration(rnd.Int64N(int64(rate.Per))))
					ac, c, _, err := u.acquire(t.Context(), a, false)
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Duration(rnd.Int64N(int64(200 * time.Millisecond))))
					now := time.Now()
					time.Sleep(time.Duration(rnd.Int64N(int64(200 * time.Millisecond))))
					mu.Lock()
					counted = append(counted, now)
					mu.Unlock()
					ac.release(c, usage{sent: true, rcpts: 1}, true)
				})
			}
			begin := time.Now()
			wg.Wait()
			slices.SortFunc(counted, time.Time.Compare)
			for i := range counted {
				if j := i + int(rate.Count); j < len(counted) && counted[j].Sub(counted[i]) < rate.Per {
					t.Fatalf("%v: %d messages in %v", rate, rate.Count+1, counted[j].Sub(counted[i]))
				}
			}
			// Three full windows take three periods, not more than what the
			// answers and the coarse stamps add.
			if took := time.Since(begin); took > 4*rate.Per+4*time.Second {
				t.Errorf("%v: %d messages took %v", rate, total, took)
			}
		})
	}
}

func TestHopelessWaitIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) { s.rate, s.maxWait = accounts.Rate{Count: 2, Per: time.Minute}, 20*time.Second })
		defer endUpstream(u)
		a := testAccount("a")
		for range 2 {
			ac, c, _, err := u.acquire(t.Context(), a, false)
			if err != nil {
				t.Fatal(err)
			}
			ac.release(c, usage{sent: true, rcpts: 1}, true)
		}
		begin := time.Now()
		_, _, _, err := u.acquire(t.Context(), a, false)
		if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Lines[0] != "4.7.1 Message rate used up, next slot in 60 s" {
			t.Fatal(err)
		}
		if time.Since(begin) != 0 {
			t.Error("waited in vain")
		}
		time.Sleep(45 * time.Second)
		begin = time.Now()
		ac, c, _, err := u.acquire(t.Context(), a, false)
		if err != nil || time.Since(begin) != 15*time.Second {
			t.Fatal(err, time.Since(begin))
		}
		// A message whose MAIL never left has not counted.
		ac.release(c, usage{}, true)
		ac, c, _, err = u.acquire(t.Context(), a, false)
		if err != nil {
			t.Fatal(err)
		}
		ac.release(c, usage{sent: true}, true)
	})
}

func TestOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) {
			s.rate, s.maxConnsPerAccount, s.maxWait = accounts.Rate{Count: 5, Per: time.Second}, 2, time.Hour
		})
		defer endUpstream(u)
		a := testAccount("a")
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ac, c, _, err := u.acquire(t.Context(), a, false)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				ac.release(c, usage{sent: true}, true)
			})
			synctest.Wait()
		}
		wg.Wait()
		// Two are served at a time, so neighbours may change places.
		for at, i := range order {
			if at-i > 1 || i-at > 1 {
				t.Fatal(order)
			}
		}
	})
}

func TestConnectionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) { s.maxConnsPerAccount, s.maxConns, s.maxWait = 3, 7, time.Hour })
		defer endUpstream(u)
		var all atomic.Int64
		var each [5]atomic.Int64
		var wg sync.WaitGroup
		fake(u, func() *smtpclient.Error { time.Sleep(50 * time.Millisecond); return nil })
		for n := range each {
			a := testAccount(string(rune('a' + n)))
			if n == 0 {
				a.Limits = &accounts.Limits{MaxConns: 1}
			}
			for range 40 {
				wg.Go(func() {
					ac, c, _, err := u.acquire(t.Context(), a, false)
					if err != nil {
						t.Error(err)
						return
					}
					limit := int64(3)
					if n == 0 {
						limit = 1
					}
					if each[n].Add(1) > limit || all.Add(1) > 7 || u.conns.Load() > 7 {
						t.Error("too many connections")
					}
					time.Sleep(10 * time.Millisecond)
					each[n].Add(-1)
					all.Add(-1)
					ac.release(c, usage{sent: true}, true)
				})
			}
		}
		wg.Wait()
	})
}

func TestWaitersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) { s.maxConnsPerAccount, s.maxWait, s.maxWaiting = 1, 20*time.Second, 3 })
		defer endUpstream(u)
		a := testAccount("a")
		ac, c, _, err := u.acquire(t.Context(), a, false)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var timedOut, cancelled, full atomic.Int64
		for i := range 4 {
			wg.Go(func() {
				use := t.Context()
				if i == 1 {
					use = ctx
				}
				_, _, _, err := u.acquire(use, a, false)
				switch {
				case err == nil:
					t.Error("a connection from nowhere")
				case i == 3 && time.Since(begin) == 0:
					full.Add(1)
				case i == 1 && time.Since(begin) == time.Second:
					cancelled.Add(1)
				case time.Since(begin) == 20*time.Second:
					timedOut.Add(1)
				}
			})
			synctest.Wait()
		}
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		if timedOut.Load() != 2 || cancelled.Load() != 1 || full.Load() != 1 {
			t.Error(timedOut.Load(), cancelled.Load(), full.Load())
		}
		ac.release(c, usage{sent: true}, true)
		settled(t, u, "a")
	})
}

// TestReturningConnectionServesFirst checks that a message that waits for a dial
// takes a connection that comes back earlier.
func TestReturningConnectionServesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t)
		defer endUpstream(u)
		a := testAccount("a")
		ac, c, _, err := u.acquire(t.Context(), a, false)
		if err != nil {
			t.Fatal(err)
		}
		fake(u, func() *smtpclient.Error { time.Sleep(5 * time.Second); return nil })
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			ac.release(c, usage{sent: true}, true)
		}()
		_, got, _, err := u.acquire(t.Context(), a, false)
		if err != nil || got != c || time.Since(begin) != time.Second {
			t.Fatal(err, time.Since(begin))
		}
		ac.release(got, usage{sent: true}, true)
		time.Sleep(10 * time.Second)
		if n := u.count(); n.Idle != 2 {
			t.Errorf("%+v", n)
		}
		time.Sleep(2 * time.Minute)
		if n := u.count(); n != (relay.ConnCounts{}) || u.peek("a") != nil {
			t.Errorf("%+v after the idle timeout", n)
		}
	})
}

func TestRecipientsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) { s.recipients = accounts.Rate{Count: 5, Per: day} })
		defer endUpstream(u)
		tx, err := u.begin(t.Context(), testAccount("a"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 7 {
			reply := tx.checkRcpt(t.Context(), &relay.Recipient{To: "x@b.test"})
			if (reply == nil) != (i < 5) {
				t.Fatal(i, reply)
			}
		}
		// Three were accepted by the provider; the others' slots come back.
		tx.mailed, tx.accepted = true, 3
		tx.finish(true)
		tx, err = u.begin(t.Context(), testAccount("a"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if reply := tx.checkRcpt(t.Context(), &relay.Recipient{To: "x@b.test"}); (reply == nil) != (i < 2) {
				t.Fatal(i, reply)
			}
		}
		tx.mailed, tx.accepted = true, 2
		tx.finish(true)
		if _, err = u.begin(t.Context(), testAccount("a"), "", nil); err == nil {
			t.Fatal("no recipient is left")
		}
		time.Sleep(day + day/96)
		tx, err = u.begin(t.Context(), testAccount("a"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		tx.Abort()
	})
}

// TestLimitsSurviveReload checks that counts and connections outlive a
// configuration, that new numbers hold at once, and that a generation that is
// taken back leaves the one before in force.
func TestLimitsSurviveReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s1 := limited(t, func(s *settings) { s.rate, s.maxWait = accounts.Rate{Count: 10, Per: time.Minute}, time.Second })
		a := testAccount("a")
		use := func() error {
			ac, c, _, err := u.acquire(t.Context(), a, false)
			if err == nil {
				ac.release(c, usage{sent: true}, true)
			}
			return err
		}
		for range 4 {
			if err := use(); err != nil {
				t.Fatal(err)
			}
		}
		s2 := *s1
		s2.rate.Count = 5
		u.attach(&s2)
		if err := errors.Join(use()); err != nil {
			t.Fatal(err)
		}
		if use() == nil {
			t.Error("the new limit does not hold")
		}
		if n := u.count(); n.Idle != 1 {
			t.Errorf("%+v: the connection did not survive", n)
		}
		u.detach(&s2)
		if err := use(); err != nil {
			t.Errorf("the old limit does not hold again: %v", err)
		}
		s3 := *s1
		s3.identity = "another"
		u.attach(&s3)
		u.detach(s1)
		u.closing.Wait()
		u.limits.Wait()
		if n := u.count(); n.Idle != 0 {
			t.Errorf("%+v: a connection of another identity is kept", n)
		}
		if err := use(); err != nil {
			t.Error(err)
		}
		u.detach(&s3)
		u.closing.Wait()
		u.limits.Wait()
		if err := use(); !errors.Is(err, relay.ReplyShuttingDown) {
			t.Error(err)
		}
	})
}

func TestConcurrencyAdapts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) { s.maxConnsPerAccount, s.maxWait = 6, time.Minute })
		defer endUpstream(u)
		var open, most atomic.Int64
		// The provider counts what it has let in: of dials that come together
		// the first are.
		var in atomic.Int64
		allowed := int64(3)
		dials := fake(u, func() *smtpclient.Error {
			if in.Add(1) > allowed {
				in.Add(-1)
				return &smtpclient.Error{Class: smtpclient.FailBusy, Reply: relay.ReplyUpstreamBusy(&relay.Reply{Code: 432})}
			}
			return nil
		})
		a := testAccount("a")
		run := func() {
			var wg sync.WaitGroup
			for range 60 {
				wg.Go(func() {
					ac, c, _, err := u.acquire(t.Context(), a, false)
					if err != nil {
						t.Error(err)
						return
					}
					most.Store(max(most.Load(), open.Add(1)))
					time.Sleep(100 * time.Millisecond)
					open.Add(-1)
					ac.release(c, usage{sent: true}, true)
				})
			}
			wg.Wait()
		}
		run()
		if n := dials.Load(); n > 12 {
			t.Errorf("%d dials against a provider that allows 3", n)
		}
		allowed = 6
		time.Sleep(time.Hour) // all have been idle for too long
		in.Store(0)
		most.Store(0)
		run()
		if most.Load() != 6 {
			t.Errorf("concurrency did not recover: %d", most.Load())
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newUpstream("u").dialer.Breaker
		for i := range dialer.BreakerAfter {
			if _, ok, _ := b.Allow(clock()); !ok {
				t.Fatal(i)
			}
			b.Done(clock(), breaker.Down, false)
		}
		if _, ok, _ := b.Allow(clock()); ok || b.State(clock()) != breaker.Open {
			t.Fatal("not open")
		}
		time.Sleep(dialer.BreakerPause)
		_, ok, probe := b.Allow(clock())
		if !ok || !probe {
			t.Fatal("no probe")
		}
		if _, ok, _ := b.Allow(clock()); ok {
			t.Fatal("two probes")
		}
		b.Done(clock(), breaker.Down, true)
		time.Sleep(dialer.BreakerPause)
		if _, ok, _ := b.Allow(clock()); ok {
			t.Fatal("the pause does not grow")
		}
		time.Sleep(dialer.BreakerPause)
		if _, ok, probe = b.Allow(clock()); !ok || !probe {
			t.Fatal("no second probe")
		}
		b.Done(clock(), breaker.Up, true)
		if _, ok, probe = b.Allow(clock()); !ok || probe || b.State(clock()) != breaker.Closed {
			t.Fatal("not closed")
		}
		// An account's own trouble opens nothing.
		for range 100 {
			b.Done(clock(), breaker.Neither, false)
		}
		if b.State(clock()) != breaker.Closed {
			t.Fatal("opened by one account")
		}
	})
}
