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
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
)

const (
	simLease  = 10 * time.Second
	simGrace  = time.Minute
	simLength = 12 * time.Minute
)

// provider counts what it sees of each mailbox.
type provider struct {
	idle  time.Duration // how long it believes in a silent connection
	mu    sync.Mutex
	conns map[string]map[*simConn]bool
	most  map[string]int
	sent  map[string][]time.Time
	by    map[int]int
}

// open counts the connections, of which the provider has closed those that were
// silent for too long.
func (p *provider) open(mailbox string) *simConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, n := &simConn{used: time.Now()}, 1
	for other := range p.conns[mailbox] {
		if time.Since(other.used) < p.idle {
			n++
		} else {
			delete(p.conns[mailbox], other)
		}
	}
	p.conns[mailbox][c] = true
	p.most[mailbox] = max(p.most[mailbox], n)
	return c
}

// use reports whether the provider still has the connection.
func (p *provider) use(c *simConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(c.used) > p.idle {
		return false
	}
	c.used = time.Now()
	return true
}

func (p *provider) close(mailbox string, c *simConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns[mailbox], c)
}

func (p *provider) message(mailbox string, node int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[mailbox] = append(p.sent[mailbox], time.Now())
	p.by[node]++
}

// worst returns the most events in any stretch as long as the period.
func worst(at []time.Time, per time.Duration) (most int) {
	most, _ = stretch(at, per)
	return most
}

// stretch returns that, and its last event.
func stretch(at []time.Time, per time.Duration) (most int, last time.Time) {
	for i, j := 0, 0; j < len(at); j++ {
		for at[j].Sub(at[i]) >= per {
			i++
		}
		if j-i+1 > most {
			most, last = j-i+1, at[j]
		}
	}
	return most, last
}

// sim is one simulation.
type sim struct {
	dice
	eng       *memEngine
	prov      provider
	cut       atomic.Bool // the engine, from all
	limits    accounts.Limits
	lease     time.Duration
	grace     time.Duration
	over      atomic.Bool
	apart     time.Duration // the clocks of the engines; 0: there is one
	mailboxes []string
	trail     trail
}

// trail is what happened to a mailbox lately, for who looks for a fault.
type trail struct {
	mu    sync.Mutex
	lines map[string][]trailLine
}

type trailLine struct {
	at   time.Time
	text string
}

func (l *trail) add(mailbox, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = make(map[string][]trailLine)
	}
	l.lines[mailbox] = append(l.lines[mailbox], trailLine{time.Now(), fmt.Sprintf(format, args...)})
}

// until returns what happened in the two minutes before, and everything that
// happened to processes.
func (l *trail) until(mailbox string, at time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Concat(l.lines[mailbox], l.lines[""])
	slices.SortStableFunc(all, func(a, b trailLine) int { return a.at.Compare(b.at) })
	var out strings.Builder
	for _, line := range all {
		if age := at.Sub(line.at); age >= 0 && age < 2*time.Minute {
			fmt.Fprintf(&out, "%9.3f %s\n", -age.Seconds(), line.text)
		}
	}
	return out.String()
}

func (s *sim) sleep(d time.Duration) { time.Sleep(d) }

// simProcess is one process of one node.
type simProcess struct {
	s     *sim
	i     int
	n     *node
	local *limits.Local
	cut   atomic.Bool
	skew  time.Duration // of its clock
	dead  atomic.Bool

	mu      sync.Mutex
	stopped chan struct{} // open while the process is paused
	woken   time.Time
	since   time.Time // of the last pause

	senders sync.WaitGroup
}

func (s *sim) process(i int) *simProcess {
	// All have one name, as two that were started from the same file have.
	p := &simProcess{s: s, i: i, skew: time.Duration(s.number(7200)-3600) * time.Second}
	p.n = newNode(wire{s.eng, p}, "node", s.lease, s.grace, zap.NewNop())
	p.n.start()
	p.local = limits.NewLocal("up", limits.Config{Limits: s.limits, Lender: p.n.guest("up")})
	for _, m := range s.mailboxes {
		for range 2 {
			p.senders.Go(func() { p.send(m) })
		}
	}
	return p
}

// freeze waits while the process is paused. It reports how long that took.
func (p *simProcess) freeze() {
	p.mu.Lock()
	ch := p.stopped
	p.mu.Unlock()
	if ch != nil {
		<-ch
	}
}

func (p *simProcess) frozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped != nil
}

func (p *simProcess) pause(d time.Duration) {
	ch := make(chan struct{})
	p.mu.Lock()
	p.stopped = ch
	p.mu.Unlock()
	time.Sleep(d)
	p.mu.Lock()
	p.stopped = nil
	p.mu.Unlock()
	close(ch)
}

// kill ends the process as kill -9 does.
func (p *simProcess) kill() {
	p.dead.Store(true)
	p.n.end()
	p.senders.Wait()
	p.n.loops.Wait()
	p.local.Shut()
	p.local.Wait()
}

// stop ends it in order.
func (p *simProcess) stop() {
	p.local.Shut()
	p.dead.Store(true)
	p.senders.Wait()
	p.local.Wait()
	p.dead.Store(false)
	p.n.stop()
	p.dead.Store(true)
}

// simConn is a connection. The provider closes one that is silent.
type simConn struct {
	used  time.Time   // the provider's
	ended atomic.Bool // the process has closed it
	lent  time.Time   // the process's
}

func (p *simProcess) send(mailbox string) {
	acct := p.local.Account(mailbox, mailbox, nil)
	defer acct.Close()
	conns := acct.Holder()
	defer conns.Close()
	var (
		mu     sync.Mutex
		closes bool
		idle   *simConn
		busy   *simConn
	)
	drop := func() { // mu is held
		if idle != nil {
			p.s.prov.close(mailbox, idle)
			idle = nil
			conns.Free()
		}
	}
	conns.OnRecall(func(keep int) {
		p.freeze()
		mu.Lock()
		defer mu.Unlock()
		if closes = keep >= 0; closes {
			drop()
		}
	})
	conns.OnEnd(func() {
		mu.Lock()
		defer mu.Unlock()
		drop()
		if busy != nil {
			p.s.prov.close(mailbox, busy)
			busy.ended.Store(true)
		}
	})
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		drop()
	}()
	for !p.s.over.Load() && !p.dead.Load() {
		time.Sleep(time.Duration(p.s.number(4000)) * time.Millisecond)
		p.freeze()
		if p.dead.Load() {
			return
		}
		slot, err := acct.Reserve(context.Background(), limits.Request{MaxWait: 10 * time.Second, MaxWaiting: 100})
		if err != nil {
			continue
		}
		mu.Lock()
		c := idle
		idle, busy = nil, c
		mu.Unlock()
		if c != nil && time.Since(c.lent) > 20*time.Second {
			p.s.prov.close(mailbox, c)
			conns.Free()
			c = nil
		}
		if c == nil && p.take(conns) {
			time.Sleep(time.Duration(p.s.number(1000)) * time.Millisecond) // a token, a name
			p.freeze()
			if conns.Dials() && !p.dead.Load() {
				c = p.s.prov.open(mailbox)
				mu.Lock()
				busy = c
				mu.Unlock()
			} else {
				conns.Free()
			}
		}
		if c == nil {
			acct.Cancel(slot)
			continue
		}
		p.freeze()
		if p.dead.Load() || !acct.Lends(&slot) {
			acct.Cancel(slot)
			p.s.prov.close(mailbox, c)
			conns.Free()
			continue
		}
		p.s.trail.add(mailbox, "node %d: MAIL", p.i)
		// MAIL has left: what happens now, the provider decides.
		lost := !p.s.prov.use(c)
		for range 1 + p.s.number(4) {
			time.Sleep(time.Duration(p.s.number(500)) * time.Millisecond)
			p.freeze()
			if p.dead.Load() {
				break
			}
			lost = lost || c.ended.Load() || !p.s.prov.use(c)
		}
		if !lost && (!p.dead.Load() || p.s.chance(0.5)) {
			p.s.prov.message(mailbox, p.i)
			p.s.trail.add(mailbox, "node %d: message", p.i)
		}
		acct.Commit(slot, 1)
		mu.Lock()
		busy = nil
		switch {
		case lost || closes || p.dead.Load() || idle != nil:
			p.s.prov.close(mailbox, c)
			conns.Free()
		default:
			c.lent = time.Now()
			idle = c
		}
		mu.Unlock()
	}
}

// take waits for a place of a connection.
func (p *simProcess) take(conns limits.Holder) bool {
	deadline := time.Now().Add(5 * time.Second)
	for !p.dead.Load() {
		woken := make(chan struct{})
		if conns.Take(func() { close(woken) }) {
			return true
		}
		t := time.NewTimer(time.Until(deadline))
		select {
		case <-woken:
			t.Stop()
		case <-t.C:
			return false
		}
	}
	return false
}
