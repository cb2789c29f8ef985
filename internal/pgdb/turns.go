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

package pgdb

import (
	"container/list"
	"context"
	"sync"
)

// turns hand out a pool's connections, of which it has as many. The pool's own queue
// has no order but that of arrival: what must not wait would do so behind whatever
// came before.
type turns struct {
	mu    sync.Mutex
	free  int
	first list.List // of chan struct{}: who must not wait
	then  list.List // of the same: all others
}

func newTurns(n int) *turns { return &turns{free: n} }

// take waits for a turn.
func (t *turns) take(ctx context.Context, first bool) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	queue := &t.then
	if first {
		queue = &t.first
	}
	mine := make(chan struct{})
	at := queue.PushBack(mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	select {
	case <-mine:
		t.next() // it came too late
	default:
		queue.Remove(at)
	}
	t.mu.Unlock()
	return ctx.Err()
}

// give gives a turn back.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next()
}

// next lets the next one have a turn. t.mu is held.
func (t *turns) next() {
	for _, queue := range []*list.List{&t.first, &t.then} {
		if at := queue.Front(); at != nil {
			close(queue.Remove(at).(chan struct{}))
			return
		}
	}
	t.free++
}
