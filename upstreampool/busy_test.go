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
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestBusyBesideDials: of dials that come together a provider lets some in and refuses
// the others at once. Messages that wait are served by those it lets in.
func TestBusyBesideDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := limited(t, func(s *settings) { s.maxConnsPerAccount, s.maxWait = 6, time.Minute })
		defer endUpstream(u)
		var in atomic.Int64
		var full atomic.Bool
		fake(u, func() *smtpclient.Error {
			if in.Add(1) > 2 || full.Load() {
				return &smtpclient.Error{Class: smtpclient.FailBusy, Reply: relay.ReplyUpstreamBusy(&relay.Reply{Code: 432})}
			}
			time.Sleep(time.Second)
			return nil
		})
		run := func(name string) (refused int64) {
			var n atomic.Int64
			var wg sync.WaitGroup
			for range 30 {
				wg.Go(func() {
					ac, c, _, err := u.acquire(t.Context(), testAccount(name), false)
					if err != nil {
						n.Add(1)
						return
					}
					time.Sleep(100 * time.Millisecond)
					ac.release(c, usage{sent: true}, true)
				})
			}
			wg.Wait()
			return n.Load()
		}
		if n := run("a"); n != 0 {
			t.Errorf("%d messages were refused while connections were on their way", n)
		}
		// Where none is let in nobody waits in vain.
		full.Store(true)
		began := time.Now()
		if n := run("b"); n != 30 || time.Since(began) > time.Second {
			t.Errorf("%d messages were refused after %v", n, time.Since(began))
		}
	})
}
