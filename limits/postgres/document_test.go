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
	"testing"
	"time"

	"github.com/caddymail/mailgateway/limits"
)

const rateKey = "messages/1m0s"

func rate(used int64, lacks, busy bool) []limits.Item {
	it := limits.Item{Key: rateKey, Limit: 30, Per: time.Minute, Used: used, Lacks: lacks, Busy: busy}
	if used > 0 {
		it.Stamps = []limits.Stamp{{At: 1e9, N: used}}
	}
	return []limits.Item{it}
}

func TestSettle(t *testing.T) {
	v := view{now: 10e9, until: map[string]int64{"a": 40e9, "b": 40e9}}
	d := new(doc)
	allow := func(who string, items []limits.Item, want int64) []string {
		t.Helper()
		out, holders := d.settle(who, v, items, 0)
		if out[0].allow != want {
			t.Errorf("%s may use %d, want %d: %+v", who, out[0].allow, want, d)
		}
		var sum int64
		for _, h := range d.Nodes {
			sum += h.Parts[rateKey].N
		}
		if sum += d.looseN(rateKey); sum > 30 {
			t.Errorf("%d in all", sum)
		}
		return holders
	}
	allow("a", rate(0, true, true), 30) // first come
	if holders := allow("b", rate(0, true, true), 0); len(holders) != 1 || holders[0] != "a" {
		t.Errorf("b waits for %v", holders)
	}
	// Who has it is told once, until that is some time ago.
	for _, c := range []struct {
		later time.Duration
		told  int
	}{{200 * time.Millisecond, 0}, {time.Second, 1}} {
		v.now += int64(c.later)
		if holders := allow("b", rate(0, true, true), 0); len(holders) != c.told {
			t.Errorf("%s later: %v are told", c.later, holders)
		}
	}
	allow("a", rate(20, false, true), 15) // and gives what it does not use
	if n := d.Nodes["a"].Parts[rateKey].N; n != 20 {
		t.Errorf("a's part is %d, it has used 20 of it", n)
	}
	allow("b", rate(0, true, true), 10)
	allow("b", rate(10, true, true), 10)
	allow("a", rate(12, false, true), 15)
	allow("b", rate(10, true, true), 15)
	// A node that does not send keeps nothing that others want.
	allow("b", rate(15, true, true), 15)
	allow("a", rate(2, false, false), 0)
	allow("b", rate(15, true, true), 28)

	// In order: what was sent lies there, and the next one counts it.
	d.release("a", v, rate(2, false, false), 0, time.Minute)
	out, _ := d.settle("b", v, rate(28, true, true), 0)
	if out[0].allow != 30 || len(out[0].taken) != 1 || out[0].taken[0][1] != 2 {
		t.Errorf("after a's release: %+v", out)
	}
}

// TestApartByReload has one node with the new, smaller limit and one with the old one, both
// busy: neither is left without, and together they have no more than the new one once
// the other has looked.
func TestApartByReload(t *testing.T) {
	v := view{now: 10e9, until: map[string]int64{"old": 40e9, "new": 40e9}}
	d := new(doc)
	settle := func(who string, limit, used int64, lacks bool) int64 {
		items := rate(used, lacks, true)
		items[0].Limit = limit
		out, _ := d.settle(who, v, items, 0)
		return out[0].allow
	}
	settle("old", 60, 0, true)
	if n := settle("new", 30, 0, true); n != 0 {
		t.Errorf("%d of a limit that is used up", n)
	}
	old := settle("old", 60, 5, false)
	if n := settle("new", 30, 0, true); n == 0 || old == 0 || n+old > 30 {
		t.Errorf("%d with the new limit and %d with the old one", n, old)
	}
}

func TestDeadNode(t *testing.T) {
	grace := time.Minute
	d := &doc{Nodes: map[string]*held{"dead": {Parts: map[string]part{
		limits.ConnsKey: {N: 3},
		rateKey:         {N: 30, Per: time.Minute.Milliseconds()},
		"messages/24h0m0s": {
			N: 300, Per: (24 * time.Hour).Milliseconds(), Long: true, Ahead: 10,
			Stamps: []loose{{time.Hour.Milliseconds(), 50}},
		},
	}}}}
	end := int64(30e9)
	look := func(after time.Duration) (conns, rate, day int64) {
		d.tidy(view{now: end + int64(after), until: map[string]int64{"b": 1e18}, ended: map[string]int64{"dead": end}}, grace)
		return d.looseN(limits.ConnsKey), d.looseN(rateKey), d.looseN("messages/24h0m0s")
	}
	for _, c := range []struct {
		after            time.Duration
		conns, rate, day int64
	}{
		{time.Second, 3, 30, 60}, // 240 of the day's are free at once
		{grace - time.Millisecond, 3, 30, 60},
		{grace, 0, 30, 60},
		{grace + time.Minute, 0, 0, 60},
		{time.Hour, 0, 0, 10},
		{grace + 24*time.Hour, 0, 0, 0},
	} {
		if conns, rate, day := look(c.after); conns != c.conns || rate != c.rate || day != c.day {
			t.Errorf("%s after its end: %d, %d and %d in use, want %+v", c.after, conns, rate, day, c)
		}
	}
	if !d.empty() {
		t.Errorf("left: %+v", d)
	}
}
