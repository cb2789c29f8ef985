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

package oauthtoken

import (
	"sync"
	"time"

	"github.com/caddymail/mailgateway/internal/order"
)

// schedule wakes the manager when an account is due, the earliest first. Its
// cost is per due account, not per account.
type schedule struct {
	mu   sync.Mutex
	heap order.Heap[*entry]
	wake chan struct{}
}

func newSchedule() *schedule {
	return &schedule{
		heap: order.New(func(a, b *entry) bool { return a.due < b.due }, func(e *entry) *order.Place { return &e.place }),
		wake: make(chan struct{}, 1),
	}
}

// set makes e due at t; the zero time takes it off.
func (s *schedule) set(e *entry, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heap.Remove(e)
	if t.IsZero() {
		return
	}
	e.due = t.UnixNano()
	s.heap.Add(e)
	if first, _ := s.heap.First(); first == e {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// next returns an account that is due, or how long to wait for one.
func (s *schedule) next(now time.Time) (*entry, time.Duration) {
	const idle = time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.heap.First()
	if !ok {
		return nil, idle
	}
	if wait := time.Duration(e.due - now.UnixNano()); wait > 0 {
		// Not longer than a minute: the wall clock may be set.
		return nil, min(wait, time.Minute)
	}
	s.heap.Remove(e)
	return e, 0
}
