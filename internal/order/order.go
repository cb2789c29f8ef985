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

// Package order is a heap whose items know their places in it, so that any of them can
// be moved or taken out. It knows nothing of what it orders, and its caller locks it.
package order

// Place is where an item stands in one heap; it is zero while it is in none.
type Place int32

// Heap has its least item in front.
type Heap[T any] struct {
	items []T
	less  func(a, b T) bool
	place func(T) *Place
}

// New returns an empty heap. An item's place in it is what the second function returns;
// no item may change its order while it is in the heap.
func New[T any](less func(a, b T) bool, place func(T) *Place) Heap[T] {
	return Heap[T]{less: less, place: place}
}

// Len is how many items there are.
func (h *Heap[T]) Len() int { return len(h.items) }

// First returns the least item, and whether there is one.
func (h *Heap[T]) First() (first T, ok bool) {
	if len(h.items) == 0 {
		return first, false
	}
	return h.items[0], true
}

// Add puts an item in, which must not be in it.
func (h *Heap[T]) Add(item T) {
	h.items = append(h.items, item)
	*h.place(item) = Place(len(h.items)) //nolint:gosec // far fewer than that
	h.up(len(h.items) - 1)
}

// Remove takes an item out, if it is in.
func (h *Heap[T]) Remove(item T) {
	i := int(*h.place(item)) - 1
	if i < 0 {
		return
	}
	last := len(h.items) - 1
	h.swap(i, last)
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	*h.place(item) = 0
	if i < last {
		h.down(i)
		h.up(i)
	}
	if cap(h.items) > 64 && last < cap(h.items)/4 {
		h.items = append(make([]T, 0, cap(h.items)/2), h.items...) // what grew shrinks
	}
}

func (h *Heap[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.place(h.items[i]) = Place(i + 1) //nolint:gosec // as above
	*h.place(h.items[j]) = Place(j + 1) //nolint:gosec // as above
}

func (h *Heap[T]) up(i int) {
	for i > 0 {
		above := (i - 1) / 2
		if !h.less(h.items[i], h.items[above]) {
			return
		}
		h.swap(i, above)
		i = above
	}
}

func (h *Heap[T]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.items); child++ {
			if h.less(h.items[child], h.items[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
