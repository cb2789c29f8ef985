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

package order

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type item struct {
	key   int
	place Place
}

// TestHeap compares a heap with a sorted slice over random additions and removals.
func TestHeap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // which items, not a secret
	h := New(func(a, b *item) bool { return a.key < b.key }, func(i *item) *Place { return &i.place })
	var all []*item
	if _, ok := h.First(); ok {
		t.Error("an empty heap has a first item")
	}
	for range 20_000 {
		if grow := len(all) < 500; len(all) == 0 || rnd.IntN(10) < 4 || grow && rnd.IntN(10) < 5 {
			i := &item{key: rnd.IntN(1000)}
			h.Add(i)
			all = append(all, i)
		} else {
			n := rnd.IntN(len(all))
			h.Remove(all[n])
			h.Remove(all[n]) // it is out already
			if all[n].place != 0 {
				t.Fatal("an item that is out has a place")
			}
			all = slices.Delete(all, n, n+1)
		}
		first, ok := h.First()
		if ok != (len(all) > 0) || h.Len() != len(all) {
			t.Fatalf("%d items in place of %d", h.Len(), len(all))
		}
		if ok && first.key != slices.MinFunc(all, func(a, b *item) int { return a.key - b.key }).key {
			t.Fatal("the first item is not the least")
		}
	}
	for last := -1; h.Len() > 0; {
		first, _ := h.First()
		if first.key < last {
			t.Fatal("out of order")
		}
		last = first.key
		h.Remove(first)
	}
}
