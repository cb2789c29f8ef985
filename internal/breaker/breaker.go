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

// Package breaker keeps work away from a peer that is down. After a number of
// failures in a row it opens for a while; then one attempt at a time tries
// whether it may close, and each attempt that fails doubles the while.
package breaker

import (
	"sync"
	"time"
)

// State is what a breaker does with the next attempt.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"    // attempts may begin
	Open     State = "open"      // none may
	HalfOpen State = "half_open" // one at a time may
)

// Outcome is what an attempt says about the peer.
type Outcome int

// The outcomes of an attempt.
const (
	// Up: the peer answered.
	Up Outcome = iota
	// Down: the peer did not answer.
	Down
	// Neither: the attempt says something about the caller only.
	Neither
)

// Settings say when a breaker opens, and for how long.
type Settings struct {
	// After is the number of failures in a row that open it.
	After int
	// Min and Max bound the time for which it stays open.
	Min, Max time.Duration
}

// Breaker is a circuit breaker. Its callers say what time it is, in nanoseconds
// of any clock that does not go backwards.
type Breaker struct {
	settings Settings

	mu       sync.Mutex
	failures int
	pause    time.Duration // 0: closed
	till     int64
	probing  bool
	last     Outcome
}

// New makes a breaker that is closed.
func New(s Settings) *Breaker { return &Breaker{settings: s, last: Neither} }

// Last is what the last attempt said about the peer: Neither if none has said anything.
func (b *Breaker) Last() Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// Allow reports whether an attempt may begin, and if not, in how long it is
// worth asking again; 0 says that this depends on the attempt that is under
// way. What was allowed is given to Done with the same probe.
func (b *Breaker) Allow(now int64) (wait time.Duration, ok, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return 0, true, false
	case now < b.till:
		return time.Duration(b.till - now), false, false
	case b.probing:
		return 0, false, false
	}
	b.probing = true
	return 0, true, true
}

// Done takes the outcome of an attempt, and reports whether it opened the
// breaker. Attempts that were under way when it opened don't keep it open for
// longer.
func (b *Breaker) Done(now int64, o Outcome, probe bool) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	if o != Neither {
		b.last = o
	}
	switch o {
	case Up:
		b.failures, b.pause, b.till = 0, 0, 0
	case Down:
		b.failures++
		if b.failures < b.settings.After || b.pause != 0 && !probe {
			break
		}
		opened = b.pause == 0
		b.pause = min(max(b.settings.Min, 2*b.pause), b.settings.Max)
		b.till = now + int64(b.pause)
	}
	return opened
}

// State returns what the breaker would do now.
func (b *Breaker) State(now int64) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return Closed
	case now < b.till:
		return Open
	default:
		return HalfOpen
	}
}
