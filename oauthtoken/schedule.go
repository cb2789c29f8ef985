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
	"container/heap"
	"sync"
	"time"
)

// schedule wakes the manager when an account is due, the earliest first. Its
// cost is per due account, not per account.
type schedule struct {
	mu   sync.Mutex
	heap dueHeap
	wake chan struct{}
}

func newSchedule() *schedule { return &schedule{wake: make(chan struct{}, 1)} }

// set makes e due at t; the zero time takes it off.
func (s *schedule) set(e *entry, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := e.index >= 0 && e.index < len(s.heap) && s.heap[e.index] == e
	switch {
	case t.IsZero():
		if in {
			heap.Remove(&s.heap, e.index)
		}
		return
	case in:
		e.due = t.UnixNano()
		heap.Fix(&s.heap, e.index)
	default:
		e.due = t.UnixNano()
		heap.Push(&s.heap, e)
	}
	if s.heap[0] == e {
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
	if len(s.heap) == 0 {
		return nil, idle
	}
	if wait := time.Duration(s.heap[0].due - now.UnixNano()); wait > 0 {
		// Not longer than a minute: the wall clock may be set.
		return nil, min(wait, time.Minute)
	}
	return heap.Pop(&s.heap).(*entry), 0
}

// dueHeap is a heap.Interface.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	e.index = -1
	*h = old[:n]
	return e
}
