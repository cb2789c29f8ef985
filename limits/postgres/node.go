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
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/limits/fleet"
)

const (
	// batch is the number of mailboxes that one transaction decides about.
	batch = 500
	// A mailbox that lacks something asks again after retryMost, since it is told
	// when there is more; where nothing is heard after retryFirst, then after twice as
	// long each time.
	retryFirst, retryMost = 250 * time.Millisecond, time.Second
	// lookEvery is how often a node looks for recalls that it was not told of.
	lookEvery = time.Second
)

// node is this process among those that share a database.
type node struct {
	eng          engine
	name         string
	lease, grace time.Duration
	logger       *zap.Logger

	until    atomic.Int64 // of the lease, on the scale of limits.Now
	draining atomic.Bool
	hears    atomic.Bool // what other nodes tell
	front    atomic.Pointer[fleet.Front]

	// life makes transactions and a new life take turns: who has sent to it may
	// go on. It is held during I/O.
	life chan struct{}
	id   string // of this life; guarded by life and mu

	mu     sync.Mutex
	clock  clock
	guests map[string]*guest
	due    agenda // of the worker
	pause  map[key]time.Duration
	told   bool // to look for recalls
	warned time.Time
	// strays are mailboxes with something under way that an earlier life began,
	// and which this one has not written yet: until when it may be in use, on
	// the scale of limits.Now.
	strays map[key]int64

	kick  chan struct{}
	poke  chan struct{} // has the heart beat now
	end   context.CancelFunc
	loops sync.WaitGroup
}

func newNode(eng engine, name string, lease, grace time.Duration, logger *zap.Logger) *node {
	return &node{
		eng: eng, name: name, lease: lease, grace: grace, logger: logger, due: newAgenda(),
		guests: make(map[string]*guest), pause: make(map[key]time.Duration), strays: make(map[key]int64),
		kick: make(chan struct{}, 1), poke: make(chan struct{}, 1), life: make(chan struct{}, 1),
	}
}

// start begins the first life, in the background: as long as the engine cannot be
// reached nothing is lent. Once begun it goes on, whatever configuration asks again.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.end != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	n.loops.Go(func() { n.beats(ctx) })
	n.loops.Go(func() { n.work(ctx) })
	n.loops.Go(func() { n.listen(ctx) })
	n.loops.Go(func() { n.ends(ctx) })
}

// stop ends the node. What it had was given back before, or is free when its
// lease is over.
func (n *node) stop() {
	n.mu.Lock()
	end := n.end
	n.mu.Unlock()
	if end == nil {
		return // of a configuration that never came into force
	}
	end()
	n.loops.Wait()
	n.until.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), n.lease/3)
	defer cancel()
	n.life <- struct{}{}
	defer func() { <-n.life }()
	if n.id != "" {
		_ = n.eng.leave(ctx, n.id) // else its lease runs out
	}
}

// ask has the worker look at a mailbox after a while, unless it is asked already.
func (n *node) ask(k key, after time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := time.Now().Add(after)
	if was, ok := n.due.when(k); ok && (!was.After(at) || n.pause[k] > 0) {
		return
	}
	n.due.put(k, at)
	n.wake()
}

// look has the worker look at mailboxes now, whatever they wait for.
func (n *node) look(keys ...key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		n.soon(k)
	}
	n.wake()
}

// wake has the worker look what is due.
func (n *node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// tell has the worker ask for recalls, and those that lack something ask again.
func (n *node) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = true
	for k := range n.pause {
		n.soon(k)
	}
	n.wake()
}

// soon has a mailbox looked at now. n.mu is held.
func (n *node) soon(k key) {
	now := time.Now()
	if was, ok := n.due.when(k); !ok || was.After(now) {
		n.due.put(k, now)
	}
}

// work is the worker: one transaction at a time, of all mailboxes that are due.
func (n *node) work(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	drained := false
	for {
		looks := false
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-timer.C:
		case <-look.C:
			looks = true
			n.mu.Lock()
			n.told = true
			n.mu.Unlock()
		}
		was := drained
		if drained = n.draining.Load(); drained && (looks || !was) {
			n.giveBack()
		}
		n.recalls(ctx)
		for {
			keys, next := n.take()
			if len(keys) == 0 {
				timer.Reset(next)
				break
			}
			if err := n.change(ctx, keys, false); err != nil {
				if ctx.Err() != nil {
					return
				}
				n.complain(err)
				n.failed(keys)
			}
		}
	}
}

// take returns mailboxes that are due, or how long it is until one is.
func (n *node) take() (keys []key, next time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.due.take(time.Now(), batch)
}

// failed has mailboxes looked at again later.
func (n *node) failed(keys []key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		n.later(k)
	}
}

// later has a mailbox looked at again, at growing intervals.
func (n *node) later(k key) {
	d := retryMost
	if !n.hears.Load() {
		d = min(max(retryFirst, 2*n.pause[k]), retryMost)
	}
	n.pause[k] = d
	n.due.put(k, time.Now().Add(d))
}

// recalls looks for what others want.
func (n *node) recalls(ctx context.Context) {
	n.mu.Lock()
	told, id := n.told, n.id
	n.told = false
	n.mu.Unlock()
	if !told || id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.lease/3)
	defer cancel()
	keys, err := n.eng.recalled(ctx, id)
	if err != nil {
		return // the next look finds what the wanting nodes say again
	}
	n.look(keys...)
}

// change settles mailboxes with what is stored of them.
func (n *node) change(ctx context.Context, keys []key, release bool) error {
	n.life <- struct{}{}
	defer func() { <-n.life }()
	if limits.Now() >= n.until.Load() && !release {
		return errEnded // for now: the heart will say
	}
	ctx, cancel := context.WithTimeout(ctx, n.lease/3)
	defer cancel()
	var at clock
	began := limits.Now()
	work := make(map[key]*pending)
	err := n.eng.change(ctx, n.id, keys, func(v view, docs map[key]*doc) effects {
		fx := effects{recalls: make(map[key][]string), given: make(map[key][]string)}
		v.leaving = n.draining.Load()
		// What is written counts for a margin longer: an engine that takes over may be
		// as much ahead.
		at = n.hear(began, v.now, false)
		late := at.late + int64(n.margin())
		for _, k := range keys {
			g := n.guest(k.Upstream)
			d := docs[k]
			d.tidy(v, n.grace)
			before := d.held(n.id)
			if release {
				g.release(k, d, v, late, at.early)
			} else {
				p, holders := g.settle(k, d, v, late, at.early)
				work[k] = p
				if len(holders) > 0 {
					fx.recalls[k] = holders
				}
			}
			for id := range d.Wants {
				if id != n.id && d.held(n.id) < before {
					fx.given[k] = append(fx.given[k], id)
				}
			}
		}
		return fx
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		g := n.guest(k.Upstream)
		if release {
			delete(g.states, k.Mailbox)
			continue
		}
		g.made(k, work[k], at.early)
	}
	return nil
}

func (n *node) each(f func(g *guest, l *limits.Local)) {
	n.mu.Lock()
	list := make([]*guest, 0, len(n.guests))
	for _, g := range n.guests {
		list = append(list, g)
	}
	n.mu.Unlock()
	for _, g := range list {
		if l := g.local.Load(); l != nil {
			f(g, l)
		}
	}
}

// complain bounds the log lines about an engine that is away.
func (n *node) complain(err error) {
	if errors.Is(err, errEnded) {
		return // the heart says so
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.warned) < 10*time.Second {
		return
	}
	n.warned = time.Now()
	n.logger.Error("the database of the limits cannot be reached, nothing is sent when this node's lease is over", zap.Error(err))
}
