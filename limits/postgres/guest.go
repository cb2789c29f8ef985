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
	"sync/atomic"

	"github.com/caddymail/mailgateway/limits"
)

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
	left  bool // everything was given back
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

// Due implements limits.Lender.
func (g *guest) Due(mailbox string) { g.n.look(key{g.upstream, mailbox}) }

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

// settle decides about one mailbox. What the node has to give up it does not use
// from here on, whatever becomes of the write; what it gets, only when that is
// made.
func (g *guest) settle(k key, d *doc, v view, late, early int64) (*pending, []string) {
	st := g.states[k.Mailbox]
	if st == nil {
		st = new(state)
		g.states[k.Mailbox] = st
	}
	g.heard(k, d, early)
	p := new(pending)
	var holders []string
	local := g.local.Load()
	known := local != nil && local.Look(k.Mailbox, func(b *limits.Book) {
		p.items = b.Items()
		if p.left = v.leaving && idle(p.items); p.left {
			for _, it := range p.items {
				b.Lower(it.Key, 0)
			}
			d.release(g.n.id, v, p.items, late, g.n.grace)
			return
		}
		p.out, holders = d.settle(g.n.id, v, p.items, late)
		for _, o := range p.out {
			b.Lower(o.key, o.allow)
		}
	})
	if !known {
		// Nothing is counted: nothing is held.
		d.release(g.n.id, v, nil, late, g.n.grace)
	}
	if d.seal(g.n.id, st.tried+1) {
		st.tried++
	}
	st.pending = p
	return p, holders
}

// heard takes over what the last write has changed if its answer is not known, and it
// was made. What others occupy of it, and cannot be counted here any more, stays so.
func (g *guest) heard(k key, d *doc, early int64) {
	st := g.states[k.Mailbox]
	if st == nil || st.pending == nil {
		return
	}
	p := st.pending
	st.pending = nil
	if h := d.Nodes[g.n.id]; h == nil || h.Rev != st.tried {
		return
	}
	if known, _ := g.apply(k, p, early); !known {
		for _, o := range p.out {
			d.loosen(o.key, o.taken...)
		}
	}
}

// made takes over what was written.
func (g *guest) made(k key, p *pending, early int64) {
	st := g.states[k.Mailbox]
	st.pending = nil
	if p.out == nil {
		delete(g.states, k.Mailbox)
	}
	if local := g.local.Load(); p.left && local != nil {
		// Nothing was lent since: the shares are zero. What was sent is counted
		// by the engine.
		local.Look(k.Mailbox, (*limits.Book).Forget)
	}
	g.n.mu.Lock()
	delete(g.n.strays, k) // what is in use is written as this life's
	g.n.mu.Unlock()
	var known, lacks bool
	if !p.left && p.out != nil {
		if known, lacks = g.apply(k, p, early); !known {
			// The mailbox was dropped meanwhile: what it has taken is to be given back.
			st.pending = p
			g.n.ask(k, 0)
		}
	}
	g.n.mu.Lock()
	defer g.n.mu.Unlock()
	if lacks {
		g.n.later(k)
	} else {
		delete(g.n.pause, k)
	}
}

// apply lets the mailbox use what it has got. It reports whether there is such a
// mailbox, and whether messages wait for more.
func (g *guest) apply(k key, p *pending, early int64) (known, lacks bool) {
	local := g.local.Load()
	if local == nil {
		return false, false
	}
	known = local.Look(k.Mailbox, func(b *limits.Book) {
		for _, o := range p.out {
			b.Merge(o.key, o.stamps(early))
			b.Allow(o.key, o.allow)
		}
		b.Grew(p.items)
		b.Serve()
		for _, it := range b.Items() {
			lacks = lacks || it.Lacks
		}
	})
	return known, lacks
}

// release gives a mailbox back.
func (g *guest) release(k key, d *doc, v view, late, early int64) {
	g.heard(k, d, early)
	var items []limits.Item
	if local := g.local.Load(); local != nil {
		local.Look(k.Mailbox, func(b *limits.Book) { items = b.Items() })
	}
	d.release(g.n.id, v, items, late, g.n.grace)
}

// Interface guards
var _ limits.Lender = (*guest)(nil)
