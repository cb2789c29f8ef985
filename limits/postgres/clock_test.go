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

// unheardEngine answers no heartbeats.
type unheardEngine struct {
	*memEngine
	unheard atomic.Bool
}

func (e *unheardEngine) beat(ctx context.Context, id string, ttl time.Duration, st standing) (pulse, error) {
	if e.unheard.Load() {
		return pulse{}, errCut
	}
	return e.memEngine.beat(ctx, id, ttl, st)
}

// TestGivenBackBeforeFailover has a node send all that a window has and give it
// back, and an engine take over whose clock is another one: the next node waits for
// the window's end all the same.
func TestGivenBackBeforeFailover(t *testing.T) {
	rate := accounts.Rate{Count: 3, Per: time.Minute}
	for name, tt := range map[string]struct {
		before, after time.Duration // jumps, before what is given back and after it
		unheard       bool          // the other node has had no heartbeat since
	}{
		"same":            {},
		"ahead":           {after: time.Minute / 10},
		"ahead, unheard":  {before: time.Hour, unheard: true},
		"behind, unheard": {before: -time.Hour, unheard: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := newMemEngine()
				eng := &unheardEngine{memEngine: mem}
				one, two := newNode(mem, "one", time.Minute, simGrace, zap.NewNop()), newNode(eng, "two", time.Minute, simGrace, zap.NewNop())
				var accts [2]limits.Account
				for i, n := range []*node{one, two} {
					n.start()
					defer n.stop()
					accts[i] = limits.NewLocal("up", limits.Config{Limits: accounts.Limits{MaxConns: 2, Rate: rate}, Lender: n.guest("up")}).Account("m", "m", nil)
					defer accts[i].Close()
				}
				time.Sleep(time.Second)
				eng.unheard.Store(tt.unheard)
				mem.jump(tt.before)
				time.Sleep(one.lease / 5) // the first node has had one
				var sent []time.Time
				send := func(i int) {
					slot, err := accts[i].Reserve(t.Context(), limits.Request{MaxWait: 5 * time.Minute, MaxWaiting: 10})
					if err != nil || !accts[i].Lends(&slot) {
						t.Fatalf("node %d has no slot: %v", i, err)
					}
					sent = append(sent, time.Now())
					accts[i].Commit(slot, 1)
				}
				for range rate.Count {
					send(0)
				}
				one.drain(true)
				time.Sleep(3 * time.Second)
				mem.jump(tt.after)
				if tt.after != 0 {
					time.Sleep(two.lease / 5)
				}
				// By then it has taken what was given back, as far as it ever does.
				heard := time.AfterFunc(5*time.Second, func() { eng.unheard.Store(false) })
				defer heard.Stop()
				send(1)
				if n := worst(sent, rate.Per); n > int(rate.Count) {
					t.Errorf("%d messages within %s: %v", n, rate.Per, sent)
				}
				if last := sent[len(sent)-1].Sub(sent[0]); last > rate.Per+two.lease/5 {
					t.Errorf("the next one is sent after %s only", last)
				}
			})
		})
	}
}
