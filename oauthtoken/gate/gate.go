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

package gate

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Gate bounds the refreshes of one provider: how many at a time, and how
// many are started per second. A caller that waits for a token goes before work
// that is done ahead of time, which is the background.
type Gate struct {
	mu       sync.Mutex
	max      int
	perSec   float64
	active   int
	bgActive int
	credit   float64
	last     time.Time
	fg, bg   list.List
	timer    *time.Timer
	// bgAfter keeps background work away while the server is busy (429).
	bgAfter time.Time
}

type waiter struct {
	ready chan struct{}
	bg    bool
	elem  *list.Element
}

// New returns a gate that lets nothing through before Configure.
func New() *Gate { return &Gate{last: time.Now()} }

// Configure applies new bounds; what runs already is left alone.
func (g *Gate) Configure(maxParallel int, perSec float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.perSec = perSec; g.max == 0 {
		g.credit = g.burst()
	}
	g.max = maxParallel
	g.dispatch()
}

// burst is how many refreshes may start at once after a pause.
func (g *Gate) burst() float64 { return max(1, g.perSec/10) }

// bgMax leaves room for the foreground.
func (g *Gate) bgMax() int { return max(1, g.max-(g.max+3)/4) }

// Acquire waits for a slot. Every successful call needs a Release.
func (g *Gate) Acquire(ctx context.Context, bg bool) error {
	w := &waiter{ready: make(chan struct{}), bg: bg}
	g.mu.Lock()
	if bg {
		w.elem = g.bg.PushBack(w)
	} else {
		w.elem = g.fg.PushBack(w)
	}
	g.dispatch()
	g.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.ready:
		g.done(bg)
	default:
		if bg {
			g.bg.Remove(w.elem)
		} else {
			g.fg.Remove(w.elem)
		}
	}
	return ctx.Err()
}

// Release gives a slot back.
func (g *Gate) Release(bg bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done(bg)
}

func (g *Gate) done(bg bool) {
	g.active--
	if bg {
		g.bgActive--
	}
	g.dispatch()
}

// PauseBackground keeps background work away for d.
func (g *Gate) PauseBackground(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := time.Now().Add(d); t.After(g.bgAfter) {
		g.bgAfter = t
	}
}

// dispatch hands out what is free. It is called with the lock held.
func (g *Gate) dispatch() {
	now := time.Now()
	g.credit = min(g.burst(), g.credit+max(0, now.Sub(g.last).Seconds())*g.perSec)
	g.last = now
	for g.active < g.max {
		l := &g.fg
		if l.Len() == 0 {
			l = &g.bg
			if l.Len() == 0 || g.bgActive >= g.bgMax() {
				return
			}
			if wait := g.bgAfter.Sub(now); wait > 0 {
				g.wake(wait)
				return
			}
		}
		if g.credit < 1 {
			g.wake(time.Duration((1-g.credit)/g.perSec*float64(time.Second)) + time.Microsecond)
			return
		}
		w := l.Remove(l.Front()).(*waiter)
		g.credit--
		g.active++
		if w.bg {
			g.bgActive++
		}
		close(w.ready)
	}
}

// wake calls dispatch again after d. An earlier timer that fires meanwhile
// does no harm.
func (g *Gate) wake(d time.Duration) {
	if g.timer != nil {
		g.timer.Stop()
	}
	g.timer = time.AfterFunc(d, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dispatch()
	})
}

// Stop lets no timer run on.
func (g *Gate) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
}
