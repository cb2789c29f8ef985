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
	"crypto/rand"
	"time"

	"github.com/caddymail/mailgateway/limits"
)

// beats keeps the node alive.
func (n *node) beats(ctx context.Context) {
	pause := time.Duration(0)
	closed := false
	for {
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-n.poke:
			t.Stop()
		case <-t.C:
		}
		err := n.beat(ctx)
		left := time.Duration(n.until.Load() - limits.Now())
		switch {
		case err == nil:
			pause = n.lease / 6
			if n.draining.Load() {
				pause = min(pause, time.Second) // for who waits at another node
			}
			if closed {
				closed = false
				n.each(func(_ *guest, l *limits.Local) { l.Recall(-1) })
			}
		case ctx.Err() != nil:
			return
		default:
			n.complain(err)
			pause = n.lease / 15
			if left < n.lease/5 && !closed {
				// The provider would count connections that nobody may use.
				closed = true
				n.each(func(_ *guest, l *limits.Local) { l.Recall(0) })
			}
		}
	}
}

// beat renews the lease, or begins a new life.
func (n *node) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.lease/4)
	defer cancel()
	n.mu.Lock()
	id := n.id
	n.mu.Unlock()
	began := limits.Now()
	if id != "" {
		b, err := n.eng.beat(ctx, id, n.lease, n.standing())
		if err != nil {
			return err
		}
		if b.alive {
			n.renewed(began, b.now)
			if b.asked != nil {
				n.obey(*b.asked)
			}
			return nil
		}
		n.logger.Warn("this node's lease has ended, what it held is given to others when it cannot be in use any more")
	}
	return n.rejoin(ctx)
}

// renewed notes a lease that was asked for at a time.
func (n *node) renewed(began, now int64) {
	n.hear(began, now, true)
	n.until.Store(began + int64(n.lease-n.margin()))
}

// margin is how much earlier than the engine the node believes its lease over: a
// message that was let go has to leave.
func (n *node) margin() time.Duration { return n.lease / 10 }

// rejoin begins a new life: what the last one counted is counted by the engine.
func (n *node) rejoin(ctx context.Context) error {
	last := n.until.Swap(0)
	n.life <- struct{}{}
	defer func() { <-n.life }()
	n.each(func(g *guest, l *limits.Local) { l.Forget(g) })
	n.stray(last)
	n.mu.Lock()
	for _, g := range n.guests {
		g.states = make(map[string]*state)
	}
	n.mu.Unlock()
	id, began := rand.Text(), limits.Now()
	now, err := n.eng.join(ctx, id, n.name, n.lease)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.id = id
	n.mu.Unlock()
	n.renewed(began, now)
	// What is open and under way from before is this life's too, and has to be
	// known as that before the last one's is given to others.
	n.each(func(g *guest, l *limits.Local) { l.InUse(g.Lacks) })
	n.tell()
	return nil
}

// stray notes what is in use of a life, and until when it may be: its lease's end,
// or 0 for lives before, and the grace. What is noted already stays so, what is not
// in use any more is forgotten.
func (n *node) stray(lease int64) {
	used := make(map[key]bool)
	n.each(func(g *guest, l *limits.Local) {
		l.InUse(func(mailbox string) { used[key{g.upstream, mailbox}] = true })
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	for k := range n.strays {
		if !used[k] {
			delete(n.strays, k)
		}
	}
	if lease == 0 {
		return
	}
	for k := range used {
		if _, ok := n.strays[k]; !ok {
			n.strays[k] = lease + int64(n.grace)
		}
	}
}

// ends has connections closed that carry a message when the lease and the grace
// are over: others may have their places then. It looks often enough to do so
// within the margin.
func (n *node) ends(ctx context.Context) {
	tick := time.NewTicker(n.margin() / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := limits.Now()
		if until := n.until.Load(); until != 0 && now >= until+int64(n.grace) {
			n.stray(until)
		}
		var over []key
		n.mu.Lock()
		for k, until := range n.strays {
			if now >= until {
				over = append(over, k)
			}
		}
		n.mu.Unlock()
		for _, k := range over {
			if l := n.guest(k.Upstream).local.Load(); l != nil {
				l.End(k.Mailbox)
			}
		}
	}
}

// listen makes recalls known at once. Without it the worker's look finds them.
func (n *node) listen(ctx context.Context) {
	for ctx.Err() == nil {
		began := func() {
			n.hears.Store(true)
			n.tell()
		}
		_ = n.eng.listen(ctx, began, func(notice string) {
			id, keys := heed(notice)
			// The connection outlives a life, whose id ends with its lease.
			n.mu.Lock()
			mine := n.id
			n.mu.Unlock()
			switch {
			case id == urgent+mine:
				n.beatNow()
			case id == mine && len(keys) > 0:
				n.look(keys...)
			case id == mine:
				n.tell()
			}
		})
		n.hears.Store(false)
		t := time.NewTimer(lookEvery)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}
