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

// Package generation keeps what several configurations have put in force, one
// on top of the other.
//
// Caddy starts a new configuration before it stops the old one, and stops the
// new one if its start fails. What outlives a configuration (an upstream, a
// token manager, an accounts file, a listening server) therefore has up to two
// of them at a time, rarely more, which leave in any order. The last that came
// is in force; when it leaves first, the one before it is in force again.
package generation

import (
	"sync"
	"sync/atomic"
)

// Stack is the generations of one thing. Its zero value is empty and ready.
//
// The hooks of Attach and Detach run under the stack's lock, so that two
// configurations never put themselves in force at the same time. A hook must
// not call Attach or Detach of the same stack. Current needs no lock.
type Stack[T comparable] struct {
	current atomic.Pointer[T]

	mu   sync.Mutex
	gens []T
}

// Current returns the generation in force; ok is false if there is none.
func (s *Stack[T]) Current() (g T, ok bool) {
	if p := s.current.Load(); p != nil {
		return *p, true
	}
	return g, false
}

// Attach puts g in force. The hook runs before others can see g, and learns
// whether g is the only generation, which is when the thing begins.
func (s *Stack[T]) Attach(g T, enforce func(first bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if enforce != nil {
		enforce(len(s.gens) == 0)
	}
	s.gens = append(s.gens, g)
	s.current.Store(&g)
}

// Detach takes g back. The hook is called with the generation that is in force
// then, or with last when there is none left, which is when the thing ends. It
// is not called when nothing changes: another generation stays in force, or g
// has left already. Detach reports whether g was there.
func (s *Stack[T]) Detach(g T, enforce func(now T, last bool)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(s.gens) - 1
	for i >= 0 && s.gens[i] != g {
		i--
	}
	if i < 0 {
		return false
	}
	top := i == len(s.gens)-1
	s.gens = append(s.gens[:i:i], s.gens[i+1:]...)
	if !top {
		return true
	}
	var now T
	if n := len(s.gens); n > 0 {
		now = s.gens[n-1]
		s.current.Store(&now)
	} else {
		s.current.Store(nil)
	}
	if enforce != nil {
		enforce(now, len(s.gens) == 0)
	}
	return true
}
