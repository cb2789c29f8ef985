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

//go:build unix

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mishap is one thing that goes wrong.
type mishap struct {
	name string
	node int // or all, of all of them
	hold time.Duration
	// begin has it happen, end is over it.
	begin, end func()
}

// all in place of a node: the database is away from each.
const all = -1

// The names of mishaps.
const (
	killed   = "kill -9"
	ended    = "SIGTERM"
	paused   = "SIGSTOP"
	held     = "partition"
	reset    = "reset"
	mute     = "half-open"
	slow     = "delay"
	away     = "partition of all"
	failover = "failover"
	split    = "failover, the old primary lives"
	drained  = "drain"
)

// mishap makes one that begins now.
func (f *fleet) mishap(name string, node int) mishap {
	m := mishap{name: name, node: node, hold: f.most/5 + time.Duration(f.rnd.Int64N(int64(f.most)))}
	nodes := []int{node}
	if node == all {
		nodes = []int{0, 1, 2}
	}
	cables := func(how cut) {
		for _, i := range nodes {
			for _, c := range f.cables[i] {
				c.set(how)
			}
		}
	}
	// What was held back gets there late, or never.
	forget := f.rnd.IntN(2) == 0
	cutAs := func(how cut) {
		m.begin = func() { cables(how) }
		m.end = func() {
			if forget {
				cables(cut{reset: true})
			}
			cables(cut{})
		}
	}
	switch name {
	case killed, ended:
		m.begin = func() {
			n := f.nodes[node].Load()
			n.signal(map[string]syscall.Signal{killed: syscall.SIGKILL, ended: syscall.SIGTERM}[name])
			_ = n.wait()
		}
		m.end = func() { f.start(node) }
	case paused:
		m.hold = f.stopped
		m.begin = func() { f.nodes[node].Load().signal(syscall.SIGSTOP) }
		m.end = func() { f.nodes[node].Load().signal(syscall.SIGCONT) }
	case held, away:
		cutAs(cut{up: true, down: true})
	case reset:
		cutAs(cut{reset: true})
	case mute:
		cutAs(cut{down: true})
	case slow:
		cutAs(cut{late: f.lease / 8})
	case failover:
		m.hold = 0
		m.begin = f.pg.Failover
		m.end = func() {}
	case split:
		primary := func(how cut) {
			for i := range f.cables {
				f.cables[i][0].set(how)
			}
		}
		m.begin = func() {
			primary(cut{up: true, down: true})
			f.pg.Promote()
		}
		m.end = func() {
			// An old primary that is not shut down at once: what it does not
			// get acknowledged by its standby it must not acknowledge.
			primary(cut{})
			time.Sleep(f.lease / 2)
			f.pg.Crash()
		}
	case drained:
		m.begin = func() {
			out, err := f.nodes[node].Load().smtp("node", "drain", "--timeout", "1s")
			if err != nil && !strings.Contains(out, "still being drained") {
				f.t.Errorf("smtp node drain: %v\n%s", err, out)
			}
		}
		m.end = func() {
			if out, err := f.nodes[node].Load().smtp("node", "resume"); err != nil {
				f.t.Errorf("smtp node resume: %v\n%s", err, out)
			}
		}
	}
	return m
}

// schedule is the order of mishaps: each name once, then again, at random; the
// primary is lost once.
func (f *fleet) schedule() []string {
	single := []string{killed, ended, paused, held, reset, mute, slow, away, drained}
	var names []string
	for len(names) < f.faults-1 {
		f.rnd.Shuffle(len(single), func(i, j int) { single[i], single[j] = single[j], single[i] })
		names = append(names, single...)
	}
	names = names[:f.faults-1]
	lost := []string{failover, split}[f.rnd.IntN(2)]
	at := f.rnd.IntN(len(names) + 1)
	return append(names[:at:at], append([]string{lost}, names[at:]...)...)
}

// suffer has mishaps happen, mostly one at a time, sometimes two to two nodes, and
// sees after each that every node sends.
func (f *fleet) suffer() {
	names := f.schedule()
	for len(names) > 0 {
		var now []mishap
		node := f.rnd.IntN(3)
		for len(names) > 0 && len(now) < 2 {
			name := names[0]
			alone := name == away || name == failover || name == split
			if len(now) > 0 && (alone || f.rnd.IntN(3) > 0) {
				break
			}
			names = names[1:]
			if alone {
				now = append(now, f.mishap(name, all))
				break
			}
			now = append(now, f.mishap(name, (node+len(now))%3))
		}
		f.happen(now)
	}
}

// happen has mishaps happen at a time.
func (f *fleet) happen(now []mishap) {
	var what []string
	hold := time.Duration(0)
	hit := make(map[int]bool)
	for _, m := range now {
		what = append(what, fmt.Sprintf("%s of %d for %s", m.name, m.node, m.hold.Round(time.Second/10)))
		hold = max(hold, m.hold)
		hit[m.node] = true
		m.begin()
	}
	f.t.Log(strings.Join(what, ", and "))
	began := time.Now()
	when := "during " + strings.Join(what, ", and ")
	for i := range f.nodes {
		if !hit[i] && !hit[all] {
			if took := f.probe(i, when); took > time.Second {
				f.t.Logf("  node %d sends after %s", i, took.Round(time.Second/10))
			}
		}
	}
	for _, m := range now {
		// A mishap has no other end than its time's.
		time.Sleep(time.Until(began.Add(m.hold)))
		m.end()
	}
	for i := range f.nodes {
		if hit[i] || hit[all] {
			f.t.Logf("  node %d sends again %s after the end", i, f.probe(i, "after "+strings.Join(what, ", and ")).Round(time.Second/10))
		}
	}
}

// TestNodesUnderFaults has three nodes and two databases meet a random order of
// what goes wrong, while clients send for mailboxes that have limits: by the
// provider's own count none is ever passed, and each message that was
// acknowledged is there once. MAILGATEWAY_NODES is the number of long runs, in
// place of a short one; MAILGATEWAY_SEED repeats a schedule.
func TestNodesUnderFaults(t *testing.T) {
	runs, c := campaigns(t)
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any will do
	if s := os.Getenv("MAILGATEWAY_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("MAILGATEWAY_SEED: %v", err)
		}
	}
	for i := range runs {
		seed := seed + uint64(i) //nolint:gosec // few
		t.Run(fmt.Sprintf("MAILGATEWAY_SEED=%d", seed), func(t *testing.T) {
			if runs > 1 {
				t.Parallel()
			}
			f := newFleet(t, c, seed)
			end := f.load()
			defer end()
			f.suffer()
			end()
			f.check()
		})
	}
}
