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
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
)

var (
	seeds = flag.Int("seeds", wanted(), "runs of the simulation")
	seed  = flag.Int64("seed", 1, "first of them")
)

// wanted is how many seeds MAILGATEWAY_SEEDS asks for. A run takes a second and
// a half, several under the race detector: the default is what each change can
// afford.
func wanted() int {
	if n, err := strconv.Atoi(os.Getenv("MAILGATEWAY_SEEDS")); err == nil {
		return n
	}
	return 2
}

const (
	simLease   = 10 * time.Second
	simGrace   = time.Minute
	providerUp = 50 * time.Second // how long the provider believes in a silent connection
	simConns   = 3
	simLength  = 12 * time.Minute
)

var simLimits = accounts.Limits{
	MaxConns: simConns, Rate: accounts.Rate{Count: 30, Per: time.Minute},
	Messages: accounts.Rate{Count: 150, Per: 24 * time.Hour},
}

// provider counts what it sees of each mailbox.
type provider struct {
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
		if time.Since(other.used) < providerUp {
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
	if time.Since(c.used) >= providerUp {
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
	for i, j := 0, 0; j < len(at); j++ {
		for at[j].Sub(at[i]) >= per {
			i++
		}
		most = max(most, j-i+1)
	}
	return most
}

// sim is one simulation.
type sim struct {
	dice
	eng       *memEngine
	prov      provider
	cut       atomic.Bool // the engine, from all
	over      atomic.Bool
	mailboxes []string
	lives     sync.WaitGroup
}

func (s *sim) sleep(d time.Duration) { time.Sleep(d) }

// simProcess is one process of one node.
type simProcess struct {
	s     *sim
	i     int
	n     *node
	local *limits.Local
	cut   atomic.Bool
	dead  atomic.Bool

	mu      sync.Mutex
	stopped chan struct{} // open while the process is paused
	woken   time.Time
	since   time.Time // of the last pause

	senders sync.WaitGroup
}

func (s *sim) process(i int) *simProcess {
	p := &simProcess{s: s, i: i}
	p.n = newNode(wire{s.eng, p}, fmt.Sprintf("node%d", i), simLease, simGrace, zap.NewNop())
	p.n.start()
	p.local = limits.NewLocal("up", limits.Config{Limits: simLimits, Lender: p.n.guest("up")})
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
	used time.Time // the provider's
	lent time.Time // the process's
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
		idle = nil
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
		// MAIL has left: what happens now, the provider decides.
		lost := !p.s.prov.use(c)
		for range 1 + p.s.number(4) {
			time.Sleep(time.Duration(p.s.number(500)) * time.Millisecond)
			p.freeze()
			if p.dead.Load() {
				break
			}
			lost = lost || !p.s.prov.use(c)
		}
		if !lost && (!p.dead.Load() || p.s.chance(0.5)) {
			p.s.prov.message(mailbox, p.i)
		}
		acct.Commit(slot, 1)
		mu.Lock()
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

// TestNeverBeyond lets three nodes send for the same mailboxes as fast as they
// may, while processes are killed, paused and cut off, answers are lost and the
// engine's clock is an hour off: the provider never counts more than it allows.
func TestNeverBeyond(t *testing.T) {
	total, sent := 0, 0
	for i := *seed; i < *seed+int64(*seeds); i++ {
		synctest.Test(t, func(t *testing.T) {
			s := simulate(i)
			for _, m := range s.mailboxes {
				at := s.prov.sent[m]
				sent += len(at)
				if n := worst(at, simLimits.Rate.Per); n > int(simLimits.Rate.Count) {
					t.Errorf("seed %d, %s: %d messages within a minute", i, m, n)
				}
				if n := worst(at, simLimits.Messages.Per); n > int(simLimits.Messages.Count) {
					t.Errorf("seed %d, %s: %d messages within a day", i, m, n)
				}
				if n := s.prov.most[m]; n > simConns {
					t.Errorf("seed %d, %s: %d connections", i, m, n)
				}
				if len(at) < 30 {
					t.Errorf("seed %d, %s: %d messages in all", i, m, len(at))
				}
			}
			total++
		})
	}
	t.Logf("%d runs, %d messages", total, sent)
}

func simulate(seed int64) *sim {
	s := &sim{dice: dice{r: rand.New(rand.NewSource(seed))}, eng: newMemEngine(), mailboxes: []string{"a", "b"}} //nolint:gosec // to be repeated
	s.eng.skew = time.Duration(s.number(7200)-3600) * time.Second
	s.prov = provider{conns: map[string]map[*simConn]bool{"a": {}, "b": {}}, most: make(map[string]int), sent: make(map[string][]time.Time), by: make(map[int]int)}
	procs := make([]*simProcess, 3)
	for i := range procs {
		procs[i] = s.process(i)
	}
	end := time.Now().Add(simLength)
	for time.Now().Before(end) {
		time.Sleep(time.Duration(s.number(60)) * time.Second)
		i := s.number(len(procs))
		p := procs[i]
		switch s.number(6) {
		case 0:
			p.kill()
			time.Sleep(time.Duration(s.number(20)) * time.Second)
			procs[i] = s.process(i)
		case 1:
			p.stop()
			procs[i] = s.process(i)
		case 2:
			p.pause(time.Duration(s.number(100)) * time.Second)
		case 3:
			p.cut.Store(true)
			time.Sleep(time.Duration(s.number(60)) * time.Second)
			p.cut.Store(false)
		case 4:
			s.cut.Store(true)
			time.Sleep(time.Duration(s.number(30)) * time.Second)
			s.cut.Store(false)
		case 5:
			p.n.drain(true)
			time.Sleep(time.Duration(s.number(60)) * time.Second)
			p.n.drain(false)
		}
	}
	s.over.Store(true)
	for _, p := range procs {
		p.stop()
	}
	return s
}
