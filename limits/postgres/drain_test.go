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
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
)

// TestDrain has a node give back what it holds while nothing of it is in use:
// another one has it at once, less what was sent. What is under way keeps its
// share, and a message that comes still is sent.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eng := newMemEngine()
		lim := accounts.Limits{
			MaxConns: 3, Rate: accounts.Rate{Count: 30, Per: 9 * time.Minute}, Messages: accounts.Rate{Count: 100, Per: 24 * time.Hour},
		}
		var nodes [2]*node
		var locals [2]*limits.Local
		var accts [2]limits.Account
		for i := range nodes {
			nodes[i] = newNode(eng, "node", simLease, simGrace, zap.NewNop())
			nodes[i].start()
			locals[i] = limits.NewLocal("up", limits.Config{Limits: lim, Lender: nodes[i].guest("up")})
			accts[i] = locals[i].Account("m", "m", nil)
		}
		reserve := func(i int) limits.Slot {
			t.Helper()
			s, err := accts[i].Reserve(context.Background(), limits.Request{MaxWait: 5 * time.Second, MaxWaiting: 10})
			if err != nil {
				t.Fatalf("node %d: %v", i, err)
			}
			return s
		}
		send := func(i, n int) {
			t.Helper()
			for range n {
				accts[i].Commit(reserve(i), 1)
			}
		}
		holds := func(i int) bool {
			eng.mu.Lock()
			defer eng.mu.Unlock()
			d := new(doc)
			if raw := eng.docs[key{"up", "m"}]; raw != nil {
				if err := json.Unmarshal(raw, d); err != nil {
					t.Fatal(err)
				}
			}
			return d.Nodes[nodes[i].id] != nil
		}
		send(0, 5)
		conns := accts[0].Holder()
		for !conns.Take(func() {}) {
			time.Sleep(100 * time.Millisecond)
		}
		under := reserve(0)
		nodes[0].drain(true)
		time.Sleep(10 * time.Second)
		if !holds(0) {
			t.Error("the share of a message that is under way is gone")
		}
		if !accts[0].Lends(&under) {
			t.Error("a message under way may not go")
		}
		accts[0].Commit(under, 1)
		conns.Free()
		conns.Close()
		time.Sleep(4 * time.Second)
		if holds(0) {
			t.Error("a node that is drained holds what it does not use")
		}
		send(1, 24)
		if _, err := accts[1].Reserve(t.Context(), limits.Request{MaxWait: time.Second, MaxWaiting: 10}); err == nil {
			t.Error("what the drained node sent is forgotten")
		}
		time.Sleep(10 * time.Minute)
		send(0, 1)
		time.Sleep(4 * time.Second)
		if holds(0) {
			t.Error("a message that came during the drain left a share behind")
		}
		nodes[0].drain(false)
		send(0, 1)
		time.Sleep(4 * time.Second)
		if !holds(0) {
			t.Error("it gives back though it is drained no longer")
		}
		for i := range nodes {
			accts[i].Close()
			locals[i].Shut()
			locals[i].Wait()
			nodes[i].stop()
		}
	})
}
