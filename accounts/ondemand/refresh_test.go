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

package ondemand

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestFloodOfChanges holds that a source which is told of changes without end is read a
// bounded part of the time, that the last of them is seen all the same, and that what is
// due by its age is read beside them.
func TestFloodOfChanges(t *testing.T) {
	const held, takes = 100, 10 * time.Millisecond
	begun := func(t *testing.T) (*Cache, *table) {
		c, tab := begin(t, Options{Size: held, Batch: 10, Stale: 2 * time.Minute})
		tab.mu.Lock()
		tab.takes = takes
		tab.mu.Unlock()
		for i := range held {
			n := fmt.Sprint("n", i)
			tab.set(n, n)
			wants(t, c, n, n)
		}
		tab.taken()
		return c, tab
	}
	for name, tell := range map[string]func(c *Cache, i int){
		"of all":      func(c *Cache, _ int) { c.ChangedAll() },
		"of one":      func(c *Cache, _ int) { c.Changed("n0") },
		"of each":     func(c *Cache, i int) { c.Changed(fmt.Sprint("n", i%held)) },
		"of unknown":  func(c *Cache, i int) { c.Changed(fmt.Sprint("unknown", i)) },
		"all and one": func(c *Cache, _ int) { c.ChangedAll(); c.Changed("n1") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, tab := begun(t)
				const lasts = 3 * time.Minute
				n := int(lasts / (5 * time.Millisecond))
				for i := range n {
					if i == n-1 {
						for j := range held {
							tab.set(fmt.Sprint("n", j), "changed")
						}
					}
					tell(c, i)
					time.Sleep(5 * time.Millisecond)
				}
				reads := len(tab.taken())
				// What is due by its age is ten batches a minute.
				part := float64(reads) * takes.Seconds() / lasts.Seconds()
				t.Logf("%d reads in %s, %.2f of the time", reads, lasts, part)
				if most := map[string]float64{"of all": 0.15, "of one": 0.45, "of each": 0.8, "of unknown": 0.01, "all and one": 0.5}[name]; part > most {
					t.Errorf("the source is read %.2f of the time, at most %.2f is right", part, most)
				}
				if got := c.Index().Len(); got != held {
					t.Errorf("%d accounts are held, want %d", got, held)
				}
				time.Sleep(time.Minute + time.Second)
				synctest.Wait()
				if name == "of one" {
					wants(t, c, "n0", "changed")
				} else {
					for j := range held {
						wants(t, c, fmt.Sprint("n", j), "changed")
					}
				}
			})
		})
	}
}

// TestChangeBehindAChange holds that a change is read at once where nothing was told of
// lately, and that one which comes while all is read is not taken for read.
func TestChangeBehindAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{Size: 100, Batch: 10, Fresh: time.Hour, Stale: 2 * time.Hour})
		for i := range 100 {
			n := fmt.Sprint("n", i)
			tab.set(n, n)
			wants(t, c, n, n)
		}
		tab.takes = 10 * time.Millisecond
		time.Sleep(time.Millisecond) // nothing was read at the very time of the change
		tab.set("n0", "one")
		c.ChangedAll()
		time.Sleep(101 * time.Millisecond)
		wants(t, c, "n0", "one")
		time.Sleep(time.Minute)
		c.ChangedAll()
		time.Sleep(50 * time.Millisecond) // half of it is read
		for i := range 100 {
			tab.set(fmt.Sprint("n", i), "two")
		}
		c.ChangedAll()
		// As soon as nine times that has passed, and it is read again.
		time.Sleep(50*time.Millisecond + 1100*time.Millisecond)
		for i := range 100 {
			wants(t, c, fmt.Sprint("n", i), "two")
		}
		tab.set("n1", "three")
		c.Changed("n1")
		time.Sleep(gather + 11*time.Millisecond)
		wants(t, c, "n1", "three")
	})
}
