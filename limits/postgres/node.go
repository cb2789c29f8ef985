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
)

const (
	// batch is the number of mailboxes that one transaction decides about.
	batch = 200
	// A mailbox that lacks something asks again after retryFirst, then after
	// twice as long each time, up to retryMost.
	retryFirst, retryMost = 50 * time.Millisecond, time.Second
	// atMost is how often the word of another node has it looked at: two that
	// both want more would keep each other busy.
	atMost = 200 * time.Millisecond
	// lookEvery is how often a node looks for recalls that it was not told of.
	lookEvery = time.Second
)

// node is this process among those that share a database.
type node struct {
	eng          engine
	name         string
	lease, grace time.Duration
	logger       *zap.Logger

	until atomic.Int64 // of the lease, on the scale of limits.Now

	// life makes transactions and a new life take turns: who has sent to it may
	// go on. It is held during I/O.
	life chan struct{}
	id   string // of this life; guarded by life and mu

	mu     sync.Mutex
	late   int64 // engine time is at most local time plus this
	early  int64 // and at least local time plus this
	guests map[string]*guest
	due    map[key]time.Time // when the worker looks
	pause  map[key]time.Duration
	last   map[key]time.Time // of looks, lately
	told   bool              // to look for recalls
	warned time.Time

	kick  chan struct{}
	end   context.CancelFunc
	loops sync.WaitGroup
}

// guest is the node's part in one upstream. It is its limiter's lender.
type guest struct {
	n        *node
	upstream string
	local    atomic.Pointer[limits.Local]

	// Of each mailbox that the node has a part of; the worker's alone.
	states map[string]*state
}

// state is what is known of a mailbox's row.
type state struct {
	tried   uint64   // the number of the last write
	pending *pending // of the write of tried, whose answer is not known
}

// pending is what the node may use if a write was made.
type pending struct {
	out   []outcome
	items []limits.Item
}

func newNode(eng engine, name string, lease, grace time.Duration, logger *zap.Logger) *node {
	return &node{
		eng: eng, name: name, lease: lease, grace: grace, logger: logger,
		guests: make(map[string]*guest), due: make(map[key]time.Time), pause: make(map[key]time.Duration), last: make(map[key]time.Time),
		kick: make(chan struct{}, 1), life: make(chan struct{}, 1),
	}
}

// start begins the first life, in the background: as long as the engine cannot be
// reached nothing is lent.
func (n *node) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	n.loops.Go(func() { n.beats(ctx) })
	n.loops.Go(func() { n.work(ctx) })
	n.loops.Go(func() { n.listen(ctx) })
}

// stop ends the node. What it had was given back before, or is free when its
// lease is over.
func (n *node) stop() {
	n.end()
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

// guest returns the node's part in an upstream.
func (n *node) guest(upstream string) *guest {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.guests[upstream]
	if g == nil {
		g = &guest{n: n, upstream: upstream, states: make(map[string]*state)}
		n.guests[upstream] = g
	}
	return g
}

// Until implements limits.Lender.
func (g *guest) Until() int64 { return g.n.until.Load() }

// Lacks implements limits.Lender.
func (g *guest) Lacks(mailbox string) { g.n.ask(key{g.upstream, mailbox}, 0) }

// Dropped implements limits.Lender.
func (g *guest) Dropped(mailbox string) { g.n.ask(key{g.upstream, mailbox}, 0) }

// Adopt implements limits.Lender.
func (g *guest) Adopt(l *limits.Local) {
	if g.local.Swap(l) != l {
		l.Mailboxes(g.Lacks)
	}
}

// Release implements limits.Lender. What could not be given back is free when
// the lease is over.
func (g *guest) Release(l *limits.Local) {
	var keys []key
	g.n.life <- struct{}{}
	for mailbox := range g.states {
		keys = append(keys, key{g.upstream, mailbox})
	}
	<-g.n.life
	for len(keys) > 0 {
		some := keys[:min(batch, len(keys))]
		keys = keys[len(some):]
		if err := g.n.change(context.Background(), some, true); err != nil {
			g.n.complain(err)
			break
		}
	}
	l.Forget(g)
	g.local.CompareAndSwap(l, nil)
}

// ask has the worker look at a mailbox after a while, unless it is asked already.
func (n *node) ask(k key, after time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := time.Now().Add(after)
	if was, ok := n.due[k]; ok && (!was.After(at) || n.pause[k] > 0) {
		return
	}
	n.due[k] = at
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

// soon has a mailbox looked at now, or a moment after the last look.
func (n *node) soon(k key) {
	at := time.Now()
	if next := n.last[k].Add(atMost); next.After(at) {
		at = next
	}
	if was, ok := n.due[k]; !ok || was.After(at) {
		n.due[k] = at
	}
}

// work is the worker: one transaction at a time, of all mailboxes that are due.
func (n *node) work(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-timer.C:
		case <-look.C:
			n.mu.Lock()
			n.told = true
			for k, at := range n.last {
				if time.Since(at) > atMost {
					delete(n.last, k)
				}
			}
			n.mu.Unlock()
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
	now := time.Now()
	next = time.Hour
	for k, at := range n.due {
		if d := at.Sub(now); d > 0 {
			next = min(next, d)
			continue
		}
		delete(n.due, k)
		n.last[k] = now
		if keys = append(keys, k); len(keys) == batch {
			break
		}
	}
	return keys, next
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
	d := min(max(retryFirst, 2*n.pause[k]), retryMost)
	n.pause[k] = d
	n.due[k] = time.Now().Add(d)
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
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		n.soon(k)
	}
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
	n.mu.Lock()
	late, early := n.late, n.early
	n.mu.Unlock()
	work := make(map[key]*pending)
	err := n.eng.change(ctx, n.id, keys, func(v view, docs map[key]*doc) (map[key][]string, []string) {
		recalls, tell := make(map[key][]string), make(map[string]bool)
		for _, k := range keys {
			g := n.guest(k.Upstream)
			d := docs[k]
			d.tidy(v, n.grace)
			before := d.held(n.id)
			if release {
				g.release(k, d, v, late)
			} else {
				p, holders := g.settle(k, d, v, late, early)
				work[k] = p
				recalls[k] = holders
				for _, id := range holders {
					tell[id] = true
				}
			}
			for id := range d.Wants {
				if id != n.id && d.held(n.id) < before {
					tell[id] = true
				}
			}
		}
		list := make([]string, 0, len(tell))
		for id := range tell {
			list = append(list, id)
		}
		return recalls, list
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
		g.made(k, work[k], early)
	}
	return nil
}

// settle decides about one mailbox. What the node has to give up it does not use
// from here on, whatever becomes of the write; what it gets, only when that is
// made.
func (g *guest) settle(k key, d *doc, v view, late, early int64) (*pending, []string) {
	st := g.states[k.Mailbox]
	if st == nil {
		st = new(state)
		g.states[k.Mailbox] = st
	}
	if st.pending != nil {
		if h := d.Nodes[g.n.id]; h != nil && h.Rev == st.tried {
			g.apply(k, st.pending, early)
		}
		st.pending = nil
	}
	st.tried++
	p := new(pending)
	var holders []string
	local := g.local.Load()
	known := local != nil && local.Look(k.Mailbox, func(b *limits.Book) {
		p.items = b.Items()
		p.out, holders = d.settle(g.n.id, st.tried, v, p.items, late)
		for _, o := range p.out {
			b.Lower(o.key, o.allow)
		}
	})
	if !known {
		// Nothing is counted: nothing is held.
		d.release(g.n.id, v, nil, late, g.n.grace)
	}
	st.pending = p
	return p, holders
}

// made takes over what was written.
func (g *guest) made(k key, p *pending, early int64) {
	st := g.states[k.Mailbox]
	st.pending = nil
	if p.out == nil {
		delete(g.states, k.Mailbox)
	}
	lacks := g.apply(k, p, early)
	g.n.mu.Lock()
	defer g.n.mu.Unlock()
	if lacks {
		g.n.later(k)
	} else {
		delete(g.n.pause, k)
	}
}

// apply lets the mailbox use what it has got. It reports whether messages wait
// for more.
func (g *guest) apply(k key, p *pending, early int64) (lacks bool) {
	local := g.local.Load()
	if local == nil {
		return false
	}
	local.Look(k.Mailbox, func(b *limits.Book) {
		for _, o := range p.out {
			for i := range o.taken {
				o.taken[i].At -= early
			}
			b.Merge(o.key, o.taken)
			b.Allow(o.key, o.allow)
		}
		b.Grew(p.items)
		b.Serve()
		for _, it := range b.Items() {
			lacks = lacks || it.Lacks
		}
	})
	return lacks
}

// release gives a mailbox back.
func (g *guest) release(k key, d *doc, v view, late int64) {
	var items []limits.Item
	if local := g.local.Load(); local != nil {
		local.Look(k.Mailbox, func(b *limits.Book) { items = b.Items() })
	}
	d.release(g.n.id, v, items, late, g.n.grace)
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

// Interface guards
var _ limits.Lender = (*guest)(nil)
