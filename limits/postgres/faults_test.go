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
	"flag"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/accounts"
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

// rates and quotas are what a seed chooses from. The smallest are those at which
// one slot too many shows.
var (
	rates = []accounts.Rate{
		{Count: 30, Per: time.Minute}, {Count: 30, Per: time.Minute}, {Count: 1, Per: 20 * time.Second},
		{Count: 3, Per: time.Minute}, {Count: 7, Per: 10 * time.Second},
	}
	quotas = []accounts.Rate{{Count: 150, Per: 24 * time.Hour}, {Count: 300, Per: 24 * time.Hour}, {Count: 40, Per: 24 * time.Hour}, {Count: 60, Per: time.Hour}, {Count: 3000, Per: 24 * time.Hour}}
	leases = []time.Duration{simLease, simLease, minLease, 30 * time.Second}
)

// TestNeverBeyond lets three nodes send for the same mailboxes as fast as they
// may, while processes are killed, paused and cut off, answers are lost, the
// engine dies with all connections, and each clock is up to an hour off: the
// provider never counts more than it allows. When all is well again it hears of
// each mailbox that has something left.
func TestNeverBeyond(t *testing.T) { testNeverBeyond(t, func(*sim) {}) }

func testNeverBeyond(t *testing.T, change func(*sim)) {
	total, sent := 0, 0
	for i := *seed; i < *seed+int64(*seeds); i++ {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(i)
			change(s)
			defer func() {
				if t.Failed() {
					t.Logf("seed %d: %+v, lease %s, grace %s", i, s.limits, s.lease, s.grace)
				}
			}()
			s.run(t)
			for _, m := range s.mailboxes {
				at := s.prov.sent[m]
				sent += len(at)
				for _, limit := range []accounts.Rate{s.limits.Rate, s.limits.Messages} {
					if n, last := stretch(at, limit.Per); n > int(limit.Count) {
						t.Errorf("seed %d, %s: %d messages within %s, %d are allowed\n%s", i, m, n, limit.Per, limit.Count, s.trail.until(m, last))
					}
				}
				if n := s.prov.most[m]; n > s.limits.MaxConns {
					t.Errorf("seed %d, %s: %d connections, %d are allowed", i, m, n, s.limits.MaxConns)
				}
			}
			total++
		})
	}
	t.Logf("%d runs, %d messages", total, sent)
}

// TestFailoverToAnotherClock is TestNeverBeyond with engines that take over whose
// clocks are apart as far as is allowed.
func TestFailoverToAnotherClock(t *testing.T) {
	testNeverBeyond(t, func(s *sim) { s.apart = s.lease / 10 })
}

func newSim(seed int64) *sim {
	s := &sim{dice: dice{r: rand.New(rand.NewSource(seed))}, eng: newMemEngine(), mailboxes: []string{"a", "b"}} //nolint:gosec // to be repeated
	s.eng.skew = time.Duration(s.number(7200)-3600) * time.Second
	s.limits = accounts.Limits{MaxConns: 1 + s.number(3), Rate: rates[s.number(len(rates))], Messages: quotas[s.number(len(quotas))]}
	s.lease = leases[s.number(len(leases))]
	// The provider forgets a connection before others may have it.
	s.grace = []time.Duration{simGrace, 5 * time.Second, 20 * time.Second}[s.number(3)]
	s.prov = provider{idle: s.grace - 3*time.Second, conns: map[string]map[*simConn]bool{"a": {}, "b": {}}, most: make(map[string]int), sent: make(map[string][]time.Time), by: make(map[int]int)}
	return s
}

// about returns a time of up to most, as often as not one at which a lease, or
// what a node believes of it, ends.
func (s *sim) about(most time.Duration) time.Duration {
	if s.chance(0.5) {
		return time.Duration(s.number(int(most/time.Millisecond))) * time.Millisecond
	}
	edges := []time.Duration{s.lease / 6, s.lease * 9 / 10, s.lease, s.lease + s.grace, s.lease*9/10 + s.grace}
	at := edges[s.number(len(edges))] + time.Duration(s.number(1000)-500)*time.Millisecond
	return min(at, most)
}

// run lets each process and the engine have faults of their own, which overlap.
func (s *sim) run(t *testing.T) {
	procs := make([]*simProcess, 3)
	for i := range procs {
		procs[i] = s.process(i)
	}
	end := time.Now().Add(simLength)
	var faults sync.WaitGroup
	for i := range procs {
		faults.Go(func() {
			for time.Now().Before(end) {
				time.Sleep(time.Duration(s.number(150)) * time.Second)
				procs[i] = s.befalls(procs[i])
			}
		})
	}
	at := time.Duration(0) // what the engine's clock is ahead of the first one's
	for time.Now().Before(end) {
		time.Sleep(time.Duration(s.number(240)) * time.Second)
		s.trail.add("", "the engine is cut off")
		s.cut.Store(true)
		if s.chance(0.5) {
			s.eng.crash()
			if s.apart != 0 {
				ahead := s.apart * time.Duration(s.number(3)) / 2
				s.eng.jump(ahead - at)
				at = ahead
				s.trail.add("", "another engine takes over, %s ahead", at)
			}
		}
		time.Sleep(s.about(40 * time.Second))
		s.cut.Store(false)
		s.trail.add("", "the engine is there")
	}
	faults.Wait()
	s.again(t)
	s.over.Store(true)
	for _, p := range procs {
		p.stop()
	}
}

// befalls is one fault of a process. It returns the process that there is then.
func (s *sim) befalls(p *simProcess) *simProcess {
	fault := s.number(7)
	s.trail.add("", "node %d: fault %d", p.i, fault)
	defer s.trail.add("", "node %d: fault %d is over", p.i, fault)
	switch fault {
	case 0:
		p.kill()
		time.Sleep(s.about(20 * time.Second))
		return s.process(p.i)
	case 1:
		p.stop()
		return s.process(p.i)
	case 2:
		p.pause(s.about(100 * time.Second))
	case 3:
		p.pause(90 * time.Second)
	case 4:
		p.cut.Store(true)
		time.Sleep(s.about(3 * time.Minute))
		p.cut.Store(false)
	case 5:
		p.n.drain(true)
		time.Sleep(time.Duration(s.number(60)) * time.Second)
		p.n.drain(false)
	case 6:
		// Killed while it is cut off: its connections are not closed for the provider.
		p.cut.Store(true)
		time.Sleep(s.about(time.Minute))
		p.kill()
		return s.process(p.i)
	}
	return p
}

// again waits for a message of each mailbox behind the last fault, where
// the quota cannot be used up.
func (s *sim) again(t *testing.T) {
	count := func(m string) int {
		s.prov.mu.Lock()
		defer s.prov.mu.Unlock()
		return len(s.prov.sent[m])
	}
	from := make(map[string]int)
	for _, m := range s.mailboxes {
		from[m] = count(m)
	}
	for _, m := range s.mailboxes {
		for end := time.Now().Add(s.lease + s.grace + 3*s.limits.Rate.Per + time.Minute); count(m) == from[m] && time.Now().Before(end); {
			time.Sleep(time.Second)
		}
		// A life that ended has taken along what it had stored ahead, at most ten.
		if n := count(m); n == from[m] && n+10*s.eng.lives() < int(s.limits.Messages.Count) {
			t.Errorf("%s: no message behind the last fault, %d before", m, n)
		}
	}
}
