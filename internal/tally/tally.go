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

// Package tally counts goroutines.
package tally

import "sync"

// Count counts goroutines like a sync.WaitGroup, but new ones may begin while
// someone waits.
type Count struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n becomes 0; nil if none waits
}

// Begin counts one more.
func (t *Count) Begin() {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
}

// End counts one less.
func (t *Count) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.zero != nil {
		close(t.zero)
		t.zero = nil
	}
}

// Wait returns when there is none.
func (t *Count) Wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.zero == nil {
		t.zero = make(chan struct{})
	}
	zero := t.zero
	t.mu.Unlock()
	<-zero
}
