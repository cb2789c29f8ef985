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

package upstreampool

import (
	"context"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// dispatch serves waiting messages in order of arrival, as far as connections
// go, and opens those that the rest will need. A connection that comes back
// first serves them first.
func (p *pool) dispatch(now int64) {
	p.makePlaces(now)
	for w := p.waitHead; w != nil && p.nIdle > 0; {
		next := w.next
		if c := p.popIdle(w.ac, now); c != nil {
			p.dequeue(w)
			w.ch <- grant{c: c}
		}
		w = next
	}
	if p.waitHead == nil {
		return
	}
	s := p.up.current.Load()
	if s == nil {
		p.failWaiters(p.nWait, relay.ReplyShuttingDown)
		return
	}
	// The dials under way are for those at the head.
	w := p.waitHead
	for range p.dialing {
		if w == nil {
			return
		}
		w = w.next
	}
	for ; w != nil; w = w.next {
		if at := p.adapt.NextDial(now); at > now {
			p.wakeAt(at, now)
			return
		}
		if p.conns >= p.adapt.Limit(now) {
			break
		}
		if !p.takePlace(s) {
			return
		}
		p.dialing++
		go w.ac.open(s)
	}
	if w == nil {
		return
	}
	if c := p.idleTail; c != nil {
		// Other accounts' credentials hold what is left.
		p.unlink(c)
		p.retire(c)
	}
	if at := p.adapt.RecoversAt(now); at != 0 {
		p.wakeAt(at, now)
	}
}

// takePlace takes a connection of the upstream's total and of the mailbox's. If
// there is none, dispatch runs again when there is.
func (p *pool) takePlace(s *settings) bool {
	if !p.up.reserve(p, s.maxConns) {
		return false
	}
	if !p.holder.Take(p.wake) {
		go p.up.unreserve() // which may look at this pool again
		return false
	}
	p.conns++
	return true
}

// makePlaces serves those who will open a connection of their own. If all are
// taken, an idle one makes room when it is closed.
func (p *pool) makePlaces(now int64) {
	s := p.up.current.Load()
	for s != nil && len(p.places) > 0 {
		if p.conns < p.adapt.Limit(now) {
			if !p.takePlace(s) {
				return
			}
			w := p.places[0]
			p.places = p.places[1:]
			w.ch <- grant{}
			continue
		}
		c := p.idleTail
		if c == nil || p.making >= len(p.places) {
			return
		}
		p.making++
		p.unlink(c)
		p.retire(c)
	}
}

// failWaiters answers the first n waiting messages.
func (p *pool) failWaiters(n int, err *relay.Reply) {
	for ; n > 0 && p.waitHead != nil; n-- {
		w := p.waitHead
		p.dequeue(w)
		w.ch <- grant{err: err}
	}
}

// open dials one connection, off every message's path.
func (ac *account) open(s *settings) {
	u := ac.up
	c, err := u.connect(context.Background(), s, ac, ac.credentials())
	now := clock()
	if err == nil {
		ac.mu.Lock()
		ac.dialing--
		ac.adapt.Dialed(now)
		ac.put(c, now)
		ac.mu.Unlock()
		return
	}
	if c := s.Logger.Check(zap.WarnLevel, "opening upstream connection failed"); c != nil {
		fields := []zap.Field{zap.String("upstream", u.name), zap.String("account", ac.name), zap.Error(err)}
		if e, ok := (explain.About{Account: ac.name}).Of(err.Error()); ok {
			fields = append(fields, zap.String("cause", e.Cause), zap.String("remedy", e.Remedy), zap.Bool("retry_helps", e.RetryHelps))
		}
		c.Write(fields...)
	}
	u.unreserve()
	ac.holder.Free()
	ac.mu.Lock()
	ac.dialing--
	ac.conns--
	open := ac.conns - ac.dialing
	ac.adapt.Failed(err, open, now)
	if open == 0 && (err.Class != smtpclient.FailBusy || ac.dialing == 0) {
		// Nothing else can serve them but the dials still under way: this
		// one's share of those who wait gets its answer. Dialing on for them
		// would keep them here until their time is up. A connection too many
		// says nothing of the others: of those that come together the first are let in.
		ac.failWaiters((ac.nWait+ac.dialing)/(ac.dialing+1), err.Reply)
	} else {
		ac.dispatch(now)
	}
	drop := ac.unused()
	ac.mu.Unlock()
	if drop {
		u.forget(ac.pool)
	}
}
