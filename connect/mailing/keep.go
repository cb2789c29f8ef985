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

package mailing

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/generation"
)

const (
	// keepFirst lets a configuration that has just begun get ready, keepEvery is how
	// soon an order is taken up whose process has ended.
	keepFirst, keepEvery = 2 * time.Second, 30 * time.Second
	// keepEnd is how long the end of the process waits for mails that have begun.
	keepEnd = 20 * time.Second
)

// Keeper has every order of a storage worked on that is neither done nor paused, as
// long as a configuration is in force: behind a restart, and when another node is gone.
type Keeper struct{ Runner }

// keepers are those of the configurations in force.
var keepers generation.Stack[*Keeper]

// looking ends the look at the orders, which is one for all keepers.
var looking struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// Begin puts a keeper in force. The process must be about to run its configuration.
func (k *Keeper) Begin() {
	keepers.Attach(k, func(first bool) {
		if !first {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		looking.cancel, looking.ended = cancel, ended
		go func() {
			defer close(ended)
			look(ctx)
		}()
	})
}

// End takes the keeper back; one that never began is none. Behind the last one no order
// is worked on any more: a mail that has begun is sent and written down first.
func (k *Keeper) End() {
	keepers.Detach(k, func(_ *Keeper, last bool) {
		if !last {
			return
		}
		looking.cancel()
		<-looking.ended
		if left := leave(keepEnd); left > 0 {
			k.Logger.Warn("mailings of invitations did not end in time", zap.Int("mailings", left))
		}
	})
}

func look(ctx context.Context) {
	for d := keepFirst; ; d = keepEvery {
		wait(ctx, d)
		if ctx.Err() != nil {
			return
		}
		k, ok := keepers.Current()
		if !ok {
			continue
		}
		list, err := k.List(ctx)
		if err != nil {
			k.Logger.Error("mailings of invitations cannot be looked at", zap.Error(err))
			continue
		}
		for _, st := range list {
			if !st.Done && !st.Paused {
				k.Start(st.ID)
			}
		}
	}
}

// leave stops work on all orders, and returns how many are still worked on.
func leave(patience time.Duration) int {
	runs.mu.Lock()
	waits := make([]chan struct{}, 0, len(runs.work))
	for _, w := range runs.work {
		w.stopped, w.again = true, false
		w.stop()
		waits = append(waits, w.ended)
	}
	runs.mu.Unlock()
	late := time.NewTimer(patience)
	defer late.Stop()
	for i, ended := range waits {
		select {
		case <-ended:
		case <-late.C:
			return len(waits) - i
		}
	}
	return 0
}
