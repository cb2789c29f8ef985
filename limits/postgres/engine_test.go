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
	"encoding/json"
	"errors"
	"math/rand"
	"sync"
	"time"
)

// memEngine is an engine in memory that keeps to what pgEngine says: changes of
// a document come one after the other, a node that is marked as ended stays so.
type memEngine struct {
	skew time.Duration // of its clock

	mu      sync.Mutex
	until   map[string]int64
	ended   map[string]int64
	docs    map[key][]byte
	recalls map[string]map[key]bool
	asked   map[string]bool
	ears    map[int]func(id string)
	ear     int
	lines   []func() // each ends a listener's connection
	calls   int
	crashes int
	joined  int
}

func newMemEngine() *memEngine {
	return &memEngine{
		until: make(map[string]int64), ended: make(map[string]int64), docs: make(map[key][]byte),
		recalls: make(map[string]map[key]bool), asked: make(map[string]bool), ears: make(map[int]func(string)),
	}
}

func (e *memEngine) now() int64 { return time.Now().Add(e.skew).UnixNano() }

// jump has another engine take over, whose clock is off by that much.
func (e *memEngine) jump(by time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.skew += by
}

func (e *memEngine) join(_ context.Context, id, _ string, ttl time.Duration) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until[id] = e.now() + int64(ttl)
	e.joined++
	return e.now(), nil
}

func (e *memEngine) beat(_ context.Context, id string, ttl time.Duration, st standing) (pulse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	if e.until[id] <= e.now() {
		return pulse{}, nil
	}
	e.until[id] = e.now() + int64(ttl)
	asked, ok := e.asked[id]
	if !ok || asked == st.draining {
		delete(e.asked, id)
		return pulse{now: e.now(), alive: true}, nil
	}
	return pulse{now: e.now(), alive: true, asked: &asked}, nil
}

func (e *memEngine) ask(_ context.Context, id string, drain bool) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.until[id] <= e.now() {
		return false, nil
	}
	e.asked[id] = drain
	e.notify(urgent + id)
	return true, nil
}

func (e *memEngine) leave(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended[id] = e.now()
	delete(e.until, id)
	return nil
}

func (e *memEngine) change(_ context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	v := newView()
	v.now = e.now()
	for n, until := range e.until {
		if until <= v.now {
			e.ended[n] = until
			delete(e.until, n)
			continue
		}
		v.until[n] = until
	}
	for n, at := range e.ended {
		v.ended[n] = at
	}
	if _, ok := v.until[id]; !ok {
		return errEnded
	}
	docs := make(map[key]*doc)
	for _, k := range keys {
		docs[k] = new(doc)
		if raw := e.docs[k]; raw != nil {
			var err error
			if docs[k], err = decode(raw); err != nil {
				return err
			}
		}
	}
	fx := f(v, docs)
	for k, d := range docs {
		delete(e.recalls[id], k)
		raw, changed, err := d.encode()
		switch {
		case err != nil:
			return err
		case d.empty():
			delete(e.docs, k)
		case changed:
			e.docs[k] = raw
		}
	}
	for k, ids := range fx.recalls {
		for _, holder := range ids {
			if e.recalls[holder] == nil {
				e.recalls[holder] = make(map[key]bool)
			}
			e.recalls[holder][k] = true
		}
	}
	for _, notice := range fx.notices(60) {
		e.notify(notice)
	}
	return nil
}

// notify tells a node to look. The caller holds the lock.
func (e *memEngine) notify(id string) {
	for _, told := range e.ears {
		go told(id)
	}
}

func (e *memEngine) recalled(_ context.Context, id string) (keys []key, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k := range e.recalls[id] {
		keys = append(keys, k)
	}
	return keys, nil
}

func (e *memEngine) listen(ctx context.Context, began func(), told func(id string)) error {
	e.mu.Lock()
	e.ear++
	ear := e.ear
	e.ears[ear] = told
	ended := make(chan struct{})
	e.lines = append(e.lines, func() { close(ended) })
	e.mu.Unlock()
	began()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	e.mu.Lock()
	delete(e.ears, ear)
	e.mu.Unlock()
	return errCut
}

// crash ends all connections. What was committed is there.
func (e *memEngine) crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.crashes++
	for _, end := range e.lines {
		end()
	}
	e.lines = nil
}

// lives is the number of lives that nodes had.
func (e *memEngine) lives() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.joined
}

// life says which connections are whole.
func (e *memEngine) life() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.crashes
}

// wire is one node's way to the engine: it may be slow, lose an answer, be cut,
// or end with the node.
type wire struct {
	*memEngine
	p *simProcess
}

var errCut = errors.New("cut")

// cross is one direction of a call.
func (w wire) cross(ctx context.Context, lose float64) error {
	p := w.p
	p.s.sleep(time.Duration(p.s.number(20)) * time.Millisecond)
	p.freeze()
	for p.cut.Load() || p.s.cut.Load() || p.dead.Load() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.s.sleep(100 * time.Millisecond)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.s.chance(lose) {
		return errCut
	}
	return nil
}

// call goes there and back. Whatever comes back, the call may have been made.
func (w wire) call(ctx context.Context, f func() error) error {
	life := w.life()
	if err := w.cross(ctx, 0.01); err != nil {
		return err
	}
	if w.life() != life {
		return errCut
	}
	err := f()
	if err != nil {
		w.p.s.trail.add("", "node %d: %v", w.p.i, err)
	}
	if lost := w.cross(ctx, 0.03); lost != nil {
		return lost
	}
	if w.life() != life {
		return errCut
	}
	return err
}

func (w wire) join(ctx context.Context, id, name string, ttl time.Duration) (now int64, err error) {
	err = w.call(ctx, func() (err error) { now, err = w.memEngine.join(ctx, id, name, ttl); return err })
	return now + int64(w.p.skew), err
}

func (w wire) beat(ctx context.Context, id string, ttl time.Duration, st standing) (b pulse, err error) {
	err = w.call(ctx, func() (err error) { b, err = w.memEngine.beat(ctx, id, ttl, st); return err })
	b.now += int64(w.p.skew)
	return b, err
}

func (w wire) leave(ctx context.Context, id string) error {
	return w.call(ctx, func() error { return w.memEngine.leave(ctx, id) })
}

func (w wire) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	return w.call(ctx, func() error {
		return w.memEngine.change(ctx, id, keys, func(v view, docs map[key]*doc) effects {
			was := make(map[key][]byte)
			w.shift(v, docs, w.p.skew)
			v.now += int64(w.p.skew)
			for k, d := range docs {
				if was[k] = d.was; d.was != nil {
					d.was, _ = json.Marshal(d)
				}
			}
			fx := f(v, docs)
			w.shift(v, docs, -w.p.skew)
			for k, d := range docs {
				d.was = was[k]
			}
			for k, d := range docs {
				raw, _ := json.Marshal(d)
				w.p.s.trail.add(k.Mailbox, "node %d, life %s: writes %s, now %d", w.p.i, id, raw, w.now()/1e6)
			}
			return fx
		})
	})
}

// shift has a node see the times of the engine as one does whose own clock is
// off by that much the other way.
func (w wire) shift(v view, docs map[key]*doc, by time.Duration) {
	for _, times := range []map[string]int64{v.until, v.ended} {
		for id := range times {
			times[id] += int64(by)
		}
	}
	move := func(list []loose) {
		for i := range list {
			list[i][0] += by.Milliseconds()
		}
	}
	for _, d := range docs {
		for _, list := range d.Loose {
			move(list)
		}
		for id, want := range d.Wants {
			want.Until += by.Milliseconds()
			d.Wants[id] = want
		}
		for _, h := range d.Nodes {
			for _, p := range h.Parts {
				move(p.Stamps)
			}
		}
	}
}

func (w wire) recalled(ctx context.Context, id string) (keys []key, err error) {
	err = w.call(ctx, func() (err error) { keys, err = w.memEngine.recalled(ctx, id); return err })
	return keys, err
}

func (w wire) listen(ctx context.Context, began func(), told func(id string)) error {
	return w.memEngine.listen(ctx, began, func(id string) {
		if !w.p.cut.Load() && !w.p.s.cut.Load() && !w.p.frozen() && !w.p.s.chance(0.1) {
			told(id)
		}
	})
}

// dice are a simulation's random numbers.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) number(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Intn(n)
}

func (d *dice) chance(p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64() < p
}
