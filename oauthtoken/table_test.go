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

package oauthtoken

import (
	"fmt"
	"sync"
	"testing"
)

func TestTable(t *testing.T) {
	tb := newTable()
	const n = 2000
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range n {
				name := fmt.Sprint((i + g*n/4) % n)
				e, _ := tb.getOrAdd(name)
				if e.subject != name || tb.get(name) != e {
					t.Errorf("%s: %+v", name, e)
				}
			}
		})
	}
	wg.Wait()
	count := func() (c int) {
		tb.each(func(*entry) { c++ })
		return c
	}
	if count() != n || tb.live != n {
		t.Fatalf("%d entries, %d live", count(), tb.live)
	}
	// Tombstones are cleared away: coming and going doesn't let it grow.
	for i := range 20 * n {
		name := fmt.Sprint("guest", i)
		e, added := tb.getOrAdd(name)
		if !added {
			t.Fatal("a guest was there already")
		}
		tb.remove(e)
		tb.remove(e)
		if tb.get(name) != nil {
			t.Fatal("removed, and there")
		}
	}
	if s := len(*tb.slots.Load()); count() != n || s > 8*n {
		t.Fatalf("%d entries in %d slots", count(), s)
	}
	for i := range n {
		if tb.get(fmt.Sprint(i)) == nil {
			t.Fatalf("%d is gone", i)
		}
	}
	if tb.get("") != nil {
		t.Fatal("the tombstone was found")
	}
}
