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

// Package changes tells those who keep something for a set of things that some of
// them have changed, so that they look again: not which, and not each time.
package changes

import (
	"sync"
	"time"
)

// pause is how long after one look the next one comes.
const pause = 100 * time.Millisecond

// Hub is what changes are told to. The zero value is ready.
type Hub struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{}
}

// Tell says that something has changed. It waits for nobody.
func (h *Hub) Tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.all {
		select {
		case ch <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// Follow calls look now and when something has changed, until the function that it
// returns is called, which waits for a call that is under way.
func (h *Hub) Follow(look func()) (stop func()) {
	changed := make(chan struct{}, 1)
	h.mu.Lock()
	if h.all == nil {
		h.all = make(map[chan struct{}]struct{})
	}
	h.all[changed] = struct{}{}
	h.mu.Unlock()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			look()
			select {
			case <-time.After(pause): // an import changes thousands
			case <-end:
				return
			}
			select {
			case <-changed:
			case <-end:
				return
			}
		}
	}()
	return func() {
		h.mu.Lock()
		delete(h.all, changed)
		h.mu.Unlock()
		close(end)
		<-ended
	}
}
