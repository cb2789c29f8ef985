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

package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestKilledDuringRotations: the provider gives a new refresh token at each
// use and ends a mailbox's consent when a used one comes back; the gateway is
// killed again and again in the midst of it, and no mailbox is ever lost.
func TestKilledDuringRotations(t *testing.T) {
	const (
		mailboxes = 25
		rounds    = 5
		rotations = 200 // in all rounds together, at least
	)
	opts := []option{
		withUpstream("max_messages_per_conn", 1), // each message needs a token
		withSandbox(func(sb *sandbox.App) {
			sb.RotateRefreshTokens, sb.RotationGrace, sb.KeepBodies = true, true, false
			sb.TokenLifetime = caddy.Duration(time.Second)
		}),
	}
	user := func(i int) string { return fmt.Sprintf("box%d@example.com", i) }
	for i := range mailboxes {
		opts = append(opts, withAccount(account(user(i), user(i))))
	}
	w := newProcessWorld(t, opts...)
	posts := func() uint64 { return w.sandbox.Stats().TokenPosts["refresh_token"] }
	for round := range rounds {
		p := w.run()
		goal := posts() + rotations/rounds
		var (
			wg   sync.WaitGroup
			stop atomic.Bool
		)
		for i := range mailboxes {
			wg.Go(func() {
				for n := 0; !stop.Load(); n++ {
					if err := trySend(w.addr, user(i), n); err != nil && !stop.Load() {
						t.Errorf("round %d, %s: %v", round, user(i), err)
						return
					}
				}
			})
		}
		for posts() < goal && !t.Failed() {
			time.Sleep(time.Millisecond) // the counter gives no other sign
		}
		stop.Store(true)
		p.signal(syscall.SIGKILL)
		_ = p.wait()
		wg.Wait()
	}
	if n := posts(); n < rotations {
		t.Errorf("%d rotations, want %d", n, rotations)
	}
	// Every mailbox still works, and nobody had to consent again.
	w.run()
	for i := range mailboxes {
		if err := trySend(w.addr, user(i), 0); err != nil {
			t.Errorf("%s after all: %v", user(i), err)
		}
	}
}
