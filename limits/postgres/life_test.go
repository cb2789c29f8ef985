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
