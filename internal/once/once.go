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

// Package once does what is asked for twice once: a form that is sent by a double click, a
// browser that comes back again before it has its answer. A browser leaves the first
// request for the second, so that only what the second hears is seen: it hears the first's
// answer.
package once

import (
	"context"
	"sync"
	"time"
)

// Group has the answers of what was done lately, by what tells them apart. It is the
// process's, or lasts as long as whoever asks: a reload comes between two clicks too.
type Group[A any] struct {
	most int
	kept time.Duration

	mu   sync.Mutex
	done map[string]*answer[A]
}

// answer is set before ready is closed.
type answer[A any] struct {
	ready chan struct{}
	at    time.Time
	A     A
	kept  bool
}

// New returns a group that remembers up to so many answers, and forgets those that are
// older when there are more. Beyond that each is done as often as it is asked for.
func New[A any](most int, kept time.Duration) *Group[A] {
	return &Group[A]{most: most, kept: kept, done: make(map[string]*answer[A])}
}

// Do calls f for the first with the key, and gives the others its answer. What f does not
// want kept, and what panics, is done again by the next. mine reports whether this call's f
// made the answer; the error is that of ctx, which ends the waiting and not f.
func (g *Group[A]) Do(ctx context.Context, key string, f func() (a A, keep bool)) (a A, mine bool, err error) {
	for {
		w, first := g.begin(key)
		if first {
			return g.run(key, w, f), true, nil
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return a, false, ctx.Err()
		}
		g.mu.Lock()
		a, kept := w.A, w.kept
		g.mu.Unlock()
		if kept {
			return a, false, nil
		}
	}
}

func (g *Group[A]) begin(key string) (w *answer[A], first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.done[key]; w != nil {
		return w, false
	}
	now := time.Now()
	if len(g.done) >= g.most {
		for k, old := range g.done {
			if now.Sub(old.at) > g.kept {
				delete(g.done, k)
			}
		}
	}
	w = &answer[A]{ready: make(chan struct{}), at: now}
	if len(g.done) < g.most {
		g.done[key] = w
	}
	return w, true
}

func (g *Group[A]) run(key string, w *answer[A], f func() (A, bool)) (a A) {
	keep := false
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if w.A, w.kept = a, keep; !keep && g.done[key] == w {
			delete(g.done, key)
		}
		close(w.ready)
	}()
	a, keep = f()
	return a
}

// Each lets the answers be changed that are kept.
func (g *Group[A]) Each(change func(*A)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.done {
		if w.kept {
			change(&w.A)
		}
	}
}
