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

package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
)

// farEngine is one whose every call takes a while. It counts them.
type farEngine struct {
	*memEngine
	rtt   time.Duration
	calls atomic.Int64
}

func (e *farEngine) cross() {
	e.calls.Add(1)
	time.Sleep(e.rtt / 2)
}

func (e *farEngine) beat(ctx context.Context, id string, ttl time.Duration, st standing) (pulse, error) {
	e.cross()
	defer time.Sleep(e.rtt / 2)
	return e.memEngine.beat(ctx, id, ttl, st)
}

func (e *farEngine) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	e.cross()
	defer time.Sleep(e.rtt / 2)
	return e.memEngine.change(ctx, id, keys, f)
}

func (e *farEngine) recalled(ctx context.Context, id string) ([]key, error) {
	e.cross()
	defer time.Sleep(e.rtt / 2)
	return e.memEngine.recalled(ctx, id)
}

// TestStorm has all mailboxes of one node wanted by another one at once: that
// costs each of them calls by the number of their batches, no message waits longer
// than those, and one whose node has what it needs does not wait at all.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many, rtt = 3 * batch, 200 * time.Millisecond
		mem := newMemEngine()
		var engines [2]*farEngine
		var locals [2]*limits.Local
		for i := range locals {
			engines[i] = &farEngine{memEngine: mem, rtt: rtt}
			n := newNode(engines[i], fmt.Sprint(i), time.Minute, simGrace, zap.NewNop())
			n.start()
			defer n.stop()
			locals[i] = limits.NewLocal("up", limits.Config{Limits: accounts.Limits{MaxConns: 3, Rate: accounts.Rate{Count: 60, Per: time.Minute}}, Lender: n.guest("up")})
		}
		// all sends a message of each mailbox at once.
		all := func(i int) (most time.Duration) {
			var mu sync.Mutex
			var done sync.WaitGroup
			for k := range many {
				name := fmt.Sprint("m", k)
				done.Go(func() {
					a := locals[i].Account(name, name, nil)
					defer a.Close()
					began := time.Now()
					slot, err := a.Reserve(t.Context(), limits.Request{MaxWait: time.Minute, MaxWaiting: 10})
					if err != nil {
						t.Error(err)
						return
					}
					waited := time.Since(began)
					a.Commit(slot, 1)
					mu.Lock()
					defer mu.Unlock()
					most = max(most, waited)
				})
			}
			done.Wait()
			return most
		}
		all(0)
		for i := range engines {
			engines[i].calls.Store(0)
		}
		storm := make(chan time.Duration)
		go func() { storm <- all(1) }()
		time.Sleep(rtt) // it has begun
		if most := all(0); most != 0 {
			t.Errorf("messages whose node has what they need wait %s", most)
		}
		most := <-storm
		// Each asks, each is given, each takes; what comes first goes on meanwhile.
		if n := most / rtt; n > 9 {
			t.Errorf("a message waits for %d round trips", n)
		}
		// And a look for recalls a second, a heartbeat each ten.
		for i := range engines {
			if n := engines[i].calls.Load(); n > 12 {
				t.Errorf("node %d calls the engine %d times for %d mailboxes", i, n, many)
			}
			t.Logf("node %d: %d calls", i, engines[i].calls.Load())
		}
		t.Logf("at most %s", most)
		if most := all(1); most != 0 {
			t.Errorf("behind the storm they wait %s", most)
		}
	})
}

// TestKindsOfLimits sends messages under each set of limits that an upstream may have: one
// that is written ahead beside one that is not stopped all.
func TestKindsOfLimits(t *testing.T) {
	short, long := accounts.Rate{Count: 30, Per: time.Minute}, accounts.Rate{Count: 1000, Per: 24 * time.Hour}
	for name, lim := range map[string]accounts.Limits{
		"none":                           {},
		"rate":                           {Rate: short},
		"rate and recipients a day":      {Rate: short, Recipients: long},
		"recipients a day":               {Recipients: long},
		"messages a day":                 {Messages: long},
		"all":                            {Rate: short, Messages: long, Recipients: long},
		"recipients a minute":            {Recipients: short},
		"messages a day, rcpts a minute": {Messages: long, Recipients: short},
	} {
		for _, own := range []bool{false, true} { // an account's, beside an upstream's rate
			t.Run(fmt.Sprint(name, ", own: ", own), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					eng := &farEngine{memEngine: newMemEngine(), rtt: 10 * time.Millisecond}
					n := newNode(eng, "node", time.Minute, simGrace, zap.NewNop())
					n.start()
					defer n.stop()
					set, narrow := lim, (*accounts.Limits)(nil)
					if own {
						set, narrow = accounts.Limits{Rate: accounts.Rate{Count: 60, Per: time.Minute}}, &lim
					}
					set.MaxConns = 3
					local := limits.NewLocal("up", limits.Config{Limits: set, Lender: n.guest("up")})
					a := local.Account("m", "m", narrow)
					defer a.Close()
					for i := range 20 {
						slot, err := a.Reserve(t.Context(), limits.Request{MaxWait: 10 * time.Second, MaxWaiting: 10})
						if err != nil || !a.Lends(&slot) {
							t.Fatalf("message %d: %v", i, err)
						}
						if err := a.Recipients(t.Context(), &slot, 1); err != nil {
							t.Fatalf("recipient of message %d: %v", i, err)
						}
						a.Commit(slot, 1)
					}
					if n := eng.calls.Load(); n > 30 {
						t.Errorf("%d calls for 20 messages", n)
					}
				})
			})
		}
	}
}

// TestAgenda holds that the mailbox that waits longest is first, and each is there once.
func TestAgenda(t *testing.T) {
	a := newAgenda()
	now := time.Now()
	k := func(i int) key { return key{"up", fmt.Sprint(i)} }
	for i := range 100 {
		a.put(k(i), now.Add(time.Duration((i*37)%100)*time.Second))
	}
	a.put(k(5), now.Add(-time.Second))
	a.put(k(0), now.Add(time.Hour))
	if keys, next := a.take(now, 10); len(keys) != 1 || keys[0] != k(5) || next != time.Second {
		t.Errorf("due: %v, the next one in %s", keys, next)
	}
	if _, ok := a.when(k(5)); ok {
		t.Error("what is taken is there still")
	}
	last := -1
	for _, most := range []int{10, 200} {
		keys, _ := a.take(now.Add(time.Minute*10), most)
		for _, at := range keys {
			var i int
			_, _ = fmt.Sscan(at.Mailbox, &i)
			if turn := (i * 37) % 100; turn <= last {
				t.Errorf("%d, of %d, comes behind %d", i, turn, last)
			} else {
				last = turn
			}
		}
	}
	if keys, next := a.take(now.Add(2*time.Hour), 10); len(keys) != 1 || next != time.Hour {
		t.Errorf("left: %v, %s", keys, next)
	}
}

// TestNotices has nodes told of mailboxes within what a notification may hold.
func TestNotices(t *testing.T) {
	odd := []key{{"up", `a b"c\d`}, {"up two", "é\n"}, {"", ""}}
	long := key{"up", string(make([]byte, 200))}
	fx := effects{recalls: map[key][]string{long: {"c"}}, given: map[key][]string{}}
	for _, k := range odd {
		fx.recalls[k] = []string{"a", "b"}
		fx.given[k] = []string{"b"}
	}
	heard := make(map[string]map[key]int)
	for _, n := range fx.notices(40) {
		if len(n) > 40 {
			t.Errorf("%d octets: %q", len(n), n)
		}
		id, keys := heed(n)
		if heard[id] == nil {
			heard[id] = make(map[key]int)
		}
		for _, k := range keys {
			heard[id][k]++
		}
	}
	for _, id := range []string{"a", "b"} {
		for _, k := range odd {
			if heard[id][k] != 1 {
				t.Errorf("%s hears of %q %d times", id, k, heard[id][k])
			}
		}
	}
	if keys, ok := heard["c"]; !ok || len(keys) != 0 {
		t.Errorf("a mailbox too long to be told: %v", keys)
	}
	for notice, want := range map[string]string{"a": "a", urgent + "a": urgent + "a", `a ["up"`: "a", `a ["up","m"] x`: "a"} {
		if id, keys := heed(notice); id != want || len(keys) != 0 {
			t.Errorf("%s: %s, %v", notice, id, keys)
		}
	}
}
