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
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// table maps subjects to entries for many readers: a lookup takes no lock and
// allocates nothing. It is open addressing with linear probing, at most half
// full, so that a hit costs one slot and one entry.
type table struct {
	seed  maphash.Seed
	slots atomic.Pointer[[]atomic.Pointer[entry]]

	mu   sync.Mutex
	used int // slots that are not nil
	live int // of them, those that are no tombstone
}

// tombstone marks the slot of an entry that was removed.
var tombstone = new(entry)

const minSlots = 16

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	s := make([]atomic.Pointer[entry], minSlots)
	t.slots.Store(&s)
	return t
}

func (t *table) get(subject string) *entry {
	return t.find(maphash.String(t.seed, subject), subject)
}

func (t *table) find(h uint64, subject string) *entry {
	s := *t.slots.Load()
	mask := uint64(len(s) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := s[i].Load()
		if e == nil {
			return nil
		}
		if e.hash == h && e.subject == subject && e != tombstone {
			return e
		}
	}
}

// getOrAdd returns the subject's entry, which is a new one if added.
func (t *table) getOrAdd(subject string) (e *entry, added bool) {
	h := maphash.String(t.seed, subject)
	if e := t.find(h, subject); e != nil {
		return e, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(h, subject); e != nil {
		return e, false
	}
	if s := *t.slots.Load(); 2*(t.used+1) > len(s) {
		t.grow(s)
	}
	e = &entry{subject: subject, hash: h}
	put(*t.slots.Load(), e)
	t.used++
	t.live++
	return e, true
}

// grow makes a new table without tombstones. Readers of the old one miss
// nothing that was there before.
func (t *table) grow(old []atomic.Pointer[entry]) {
	n := minSlots
	for n < 4*(t.live+1) {
		n *= 2
	}
	s := make([]atomic.Pointer[entry], n)
	for i := range old {
		if e := old[i].Load(); e != nil && e != tombstone {
			put(s, e)
		}
	}
	t.used = t.live
	t.slots.Store(&s)
}

func put(s []atomic.Pointer[entry], e *entry) {
	mask := uint64(len(s) - 1)
	i := e.hash & mask
	for s[i].Load() != nil {
		i = (i + 1) & mask
	}
	s[i].Store(e)
}

// remove takes e out, if it is still in.
func (t *table) remove(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := *t.slots.Load()
	mask := uint64(len(s) - 1)
	for i := e.hash & mask; ; i = (i + 1) & mask {
		switch s[i].Load() {
		case nil:
			return
		case e:
			s[i].Store(tombstone)
			t.live--
			return
		}
	}
}

// each calls f for each entry.
func (t *table) each(f func(*entry)) {
	s := *t.slots.Load()
	for i := range s {
		if e := s[i].Load(); e != nil && e != tombstone {
			f(e)
		}
	}
}
