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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
)

// lookingEngine counts how often a node looks for recalls.
type lookingEngine struct {
	*memEngine
	looks atomic.Int64
}

func (e *lookingEngine) recalled(ctx context.Context, id string) ([]key, error) {
	e.looks.Add(1)
	return e.memEngine.recalled(ctx, id)
}

// TestToldInLaterLives tells a node to look whose lease had ended: it hears that
// at once, as in its first life.
func TestToldInLaterLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eng := &lookingEngine{memEngine: newMemEngine()}
		n := newNode(eng, "node", simLease, simGrace, zap.NewNop())
		n.start()
		defer n.stop()
		// Apart from the worker's own looks, which are on the second.
		time.Sleep(500 * time.Millisecond)
		for life := range 3 {
			n.mu.Lock()
			id := n.id
			n.mu.Unlock()
			looks := eng.looks.Load()
			eng.mu.Lock()
			eng.notify(id)
			eng.mu.Unlock()
			synctest.Wait() // no time passes
			if eng.looks.Load() == looks {
				t.Errorf("life %d: it does not look when it is told to", life)
			}
			eng.mu.Lock()
			eng.until[id] = 0
			eng.mu.Unlock()
			time.Sleep(simLease)
			n.mu.Lock()
			if n.id == id {
				t.Errorf("life %d has not ended", life)
			}
			n.mu.Unlock()
		}
	})
}

// awayEngine can be away, or refuse to write.
type awayEngine struct {
	*memEngine
	away, full atomic.Bool
}

func (e *awayEngine) beat(ctx context.Context, id string, ttl time.Duration, st standing) (pulse, error) {
	if e.away.Load() {
		return pulse{}, errCut
	}
	return e.memEngine.beat(ctx, id, ttl, st)
}

func (e *awayEngine) join(ctx context.Context, id, name string, ttl time.Duration) (int64, error) {
	if e.away.Load() {
		return 0, errCut
	}
	return e.memEngine.join(ctx, id, name, ttl)
}

func (e *awayEngine) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	if e.away.Load() || e.full.Load() {
		return errCut
	}
	return e.memEngine.change(ctx, id, keys, f)
}

// TestUnderWayBeyondGrace has a message take longer than lease and grace while
// the engine is away, or while it takes no writes from the next life: its connection
// is closed before another node gets its place. One that is back in time and knows
// of it lets the message go on.
func TestUnderWayBeyondGrace(t *testing.T) {
	for name, tt := range map[string]struct {
		awayFor time.Duration
		full    bool
		ends    bool
	}{
		"away":            {awayFor: time.Hour, ends: true},
		"back":            {awayFor: simLease + simGrace/2},
		"back and not":    {awayFor: simLease + simGrace/2, full: true, ends: true},
		"back beforehand": {awayFor: simLease / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := newMemEngine()
				eng := &awayEngine{memEngine: mem}
				lim := accounts.Limits{MaxConns: 1}
				one, two := newNode(eng, "one", simLease, simGrace, zap.NewNop()), newNode(mem, "two", simLease, simGrace, zap.NewNop())
				var held [2]limits.Holder
				for i, n := range []*node{one, two} {
					n.start()
					defer n.stop()
					local := limits.NewLocal("up", limits.Config{Limits: lim, Lender: n.guest("up")})
					acct := local.Account("m", "m", nil)
					defer acct.Close()
					held[i] = acct.Holder()
					defer held[i].Close()
				}
				var ended atomic.Bool
				closed := func() { // as a pool does
					if !ended.Swap(true) {
						held[0].Free()
					}
				}
				held[0].OnEnd(closed)
				take := func(i int, most time.Duration) bool {
					for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
						if held[i].Take(func() {}) {
							return true
						}
					}
					return false
				}
				if !take(0, time.Minute) {
					t.Fatal("no connection")
				}
				eng.full.Store(tt.full)
				eng.away.Store(true)
				back := time.AfterFunc(tt.awayFor, func() { eng.away.Store(false) })
				defer back.Stop()
				got := take(1, 10*time.Minute)
				if ended.Load() != tt.ends {
					t.Errorf("the connection was closed: %v", ended.Load())
				}
				if got && !ended.Load() {
					t.Error("two nodes have the mailbox's one connection")
				}
				if !got && tt.ends {
					t.Error("neither has the connection")
				}
				closed()
			})
		})
	}
}

// TestTakenFromTheDead has a node that was cut off end its message late, in its grace,
// where another one sends for the mailbox already: what it may still send occupies the
// other's slots, for a whole period from then.
func TestTakenFromTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemEngine()
		eng := &awayEngine{memEngine: mem}
		rate := accounts.Rate{Count: 1, Per: 20 * time.Second}
		one, two := newNode(eng, "one", simLease, simGrace, zap.NewNop()), newNode(mem, "two", simLease, simGrace, zap.NewNop())
		var accts [2]limits.Account
		for i, n := range []*node{one, two} {
			n.start()
			defer n.stop()
			accts[i] = limits.NewLocal("up", limits.Config{Limits: accounts.Limits{MaxConns: 2, Rate: rate}, Lender: n.guest("up")}).Account("m", "m", nil)
			defer accts[i].Close()
		}
		slot, err := accts[0].Reserve(t.Context(), limits.Request{MaxWait: time.Minute, MaxWaiting: 10})
		if err != nil || !accts[0].Lends(&slot) {
			t.Fatal("no slot", err)
		}
		eng.away.Store(true)
		var sent []time.Time
		time.AfterFunc(simLease+simGrace-2*time.Second, func() {
			sent = append(sent, time.Now())
			accts[0].Commit(slot, 1)
		})
		for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
			slot, err := accts[1].Reserve(t.Context(), limits.Request{MaxWait: 5 * time.Minute, MaxWaiting: 10})
			if err != nil {
				time.Sleep(time.Second)
				continue
			}
			sent = append(sent, time.Now())
			accts[1].Commit(slot, 1)
		}
		if n := worst(sent, rate.Per); n > 1 {
			t.Errorf("%d messages within %s: %v", n, rate.Per, sent)
		}
		if len(sent) < 8 {
			t.Errorf("only %d messages in five minutes", len(sent))
		}
	})
}
