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

// muteEngine makes changes, and while it is mute nobody hears of it.
type muteEngine struct {
	*memEngine
	mute  atomic.Bool
	after atomic.Pointer[func()] // behind the next change
}

func (e *muteEngine) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	err := e.memEngine.change(ctx, id, keys, f)
	if after := e.after.Swap(nil); after != nil {
		(*after)()
	}
	if e.mute.Load() {
		return errCut
	}
	return err
}

// TestTakenUnheard has a node take over what a dead one may still send, and not get to
// know it, or not be able to count it: when it gives everything back, that is still
// occupied until it is over.
func TestTakenUnheard(t *testing.T) {
	for _, rate := range []accounts.Rate{{Count: 1, Per: 20 * time.Second}, {Count: 1, Per: time.Hour}} {
		for name, gone := range map[string]func(eng *muteEngine, local *limits.Local, acct limits.Account){
			"stopped": func(eng *muteEngine, local *limits.Local, acct limits.Account) {
				eng.mute.Store(false)
				local.Shut()
				local.Wait()
				acct.Close()
			},
			"dropped": func(eng *muteEngine, _ *limits.Local, acct limits.Account) {
				acct.Close()
				eng.mute.Store(false)
			},
			// It closes the account itself.
			"dropped amid the write": func(eng *muteEngine, _ *limits.Local, _ limits.Account) { eng.mute.Store(false) },
		} {
			t.Run(rate.Per.String()+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mem := newMemEngine()
					away, mute := &awayEngine{memEngine: mem}, &muteEngine{memEngine: mem}
					dead, one, two := newNode(away, "dead", simLease, simGrace, zap.NewNop()), newNode(mute, "one", simLease, simGrace, zap.NewNop()), newNode(mem, "two", simLease, simGrace, zap.NewNop())
					local := func(n *node) (*limits.Local, limits.Account) {
						n.start()
						l := limits.NewLocal("up", limits.Config{Limits: accounts.Limits{MaxConns: 2, Rate: rate}, Lender: n.guest("up")})
						return l, l.Account("m", "m", nil)
					}
					reserve := func(a limits.Account, wait time.Duration) error {
						_, err := a.Reserve(t.Context(), limits.Request{MaxWait: wait, MaxWaiting: 10})
						return err
					}
					_, sending := local(dead)
					defer dead.stop()
					defer sending.Close()
					if err := reserve(sending, time.Minute); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second) // what it has is written
					away.away.Store(true)
					lost := time.Now()
					time.Sleep(simLease + time.Second)

					l, acct := local(one)
					defer one.stop()
					time.Sleep(time.Second)
					mute.mute.Store(true)
					if name == "dropped amid the write" {
						closes := func() {
							mute.mute.Store(false)
							time.Sleep(time.Second) // beyond the patience of who waits
							acct.Close()
						}
						mute.after.Store(&closes)
					}
					if err := reserve(acct, 20*time.Millisecond); err == nil {
						t.Fatal("a slot that is in use is lent")
					}
					gone(mute, l, acct)
					time.Sleep(3 * time.Second)

					_, other := local(two)
					defer two.stop()
					defer other.Close()
					for reserve(other, time.Minute) != nil {
						time.Sleep(time.Second)
					}
					// The last heartbeat may be a sixth of the lease before.
					if took, least := time.Since(lost), simLease*5/6+simGrace+rate.Per; took < least {
						t.Errorf("a slot is free after %s, not before %s", took, least)
					}
				})
			})
		}
	}
}
