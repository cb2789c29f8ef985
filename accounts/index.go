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

package accounts

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Index holds the accounts of one source. Readers take no lock: they see
// immutable maps, which writers replace. The maps are many and small, so that
// a single change copies a few dozen entries whatever the number of accounts.
// The zero value is an empty index.
type Index struct {
	table   atomic.Pointer[table]
	costs   atomic.Pointer[[]profileCount]
	loading atomic.Bool // a name that is missing may exist all the same

	mu     sync.Mutex // of writers
	counts map[*profile]int

	sortMu  sync.Mutex
	version uint64 // of the accounts; under mu and sortMu
	sorted  []*Account
	sortedV uint64
}

// perShard is the number of accounts per map that a table is made for.
const perShard = 32

var indexSeed = maphash.MakeSeed()

type table struct {
	mask   uint64
	n      atomic.Int64
	shards []atomic.Pointer[map[string]*Account]
}

func newTable(n int) *table {
	size := 1
	for size*perShard < n {
		size *= 2
	}
	return &table{mask: uint64(size - 1), shards: make([]atomic.Pointer[map[string]*Account], size)}
}

type profileCount struct {
	*profile
	n int
}

// get finds an account by its folded name. hash is maphash.String of it.
func (x *Index) get(key string, hash uint64) *Account {
	t := x.table.Load()
	if t == nil {
		return nil
	}
	m := t.shards[hash&t.mask].Load()
	if m == nil {
		return nil
	}
	return (*m)[key]
}

// getBytes is get for a name that is not a string yet. The conversion in the
// map access allocates nothing.
func (x *Index) getBytes(key []byte, hash uint64) *Account {
	t := x.table.Load()
	if t == nil {
		return nil
	}
	m := t.shards[hash&t.mask].Load()
	if m == nil {
		return nil
	}
	return (*m)[string(key)]
}

// Get finds an account by its name.
func (x *Index) Get(name string) (*Account, bool) {
	key := FoldName(name)
	a := x.get(key, maphash.String(indexSeed, key))
	return a, a != nil
}

// Len returns the number of accounts.
func (x *Index) Len() int {
	if t := x.table.Load(); t != nil {
		return int(t.n.Load())
	}
	return 0
}

// Replace replaces all accounts at once. Of two with one name the first stays.
func (x *Index) Replace(accounts []*Account) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.replace(accounts)
}

func (x *Index) replace(accounts []*Account) {
	t := newTable(len(accounts))
	ms := make([]map[string]*Account, len(t.shards))
	counts := make(map[*profile]int)
	n := 0
	for _, a := range accounts {
		key := a.Key()
		i := maphash.String(indexSeed, key) & t.mask
		if ms[i] == nil {
			ms[i] = make(map[string]*Account, perShard)
		}
		if _, dup := ms[i][key]; dup {
			continue
		}
		ms[i][key] = a
		n++
		if a.profile != nil {
			counts[a.profile]++
		}
	}
	for i := range ms {
		if ms[i] != nil {
			t.shards[i].Store(&ms[i])
		}
	}
	t.n.Store(int64(n))
	x.counts = counts
	x.table.Store(t)
	x.changed(true)
}

// Set adds an account, in place of the one with the same name.
func (x *Index) Set(a *Account) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.table.Load()
	if t == nil || int(t.n.Load()) > 4*perShard*len(t.shards) {
		x.replace(append(x.accounts(), a))
		t = x.table.Load()
	}
	x.put(t, a.Key(), a)
}

// Delete removes an account, and tells whether there was one.
func (x *Index) Delete(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.table.Load()
	return t != nil && x.put(t, FoldName(name), nil)
}

// put sets or, with nil, removes, and tells whether there was one before.
func (x *Index) put(t *table, key string, a *Account) bool {
	p := &t.shards[maphash.String(indexSeed, key)&t.mask]
	var m map[string]*Account
	if old := p.Load(); old != nil {
		m = maps.Clone(*old)
	} else {
		m = make(map[string]*Account, 1)
	}
	old := m[key]
	if old == a {
		return old != nil
	}
	costs := false
	if old != nil && old.profile != nil {
		x.counts[old.profile]--
		costs = true
	}
	if a == nil {
		delete(m, key)
		t.n.Add(-1)
	} else {
		m[key] = a
		if old == nil {
			t.n.Add(1)
		}
		if a.profile != nil {
			x.counts[a.profile]++
			costs = true
		}
	}
	if old != nil && a != nil && old.profile == a.profile {
		costs = false
	}
	p.Store(&m)
	x.changed(costs)
	return old != nil
}

// changed publishes what depends on the accounts.
func (x *Index) changed(costs bool) {
	x.sortMu.Lock()
	x.version++
	x.sortMu.Unlock()
	if !costs {
		return
	}
	list := make([]profileCount, 0, len(x.counts))
	for p, n := range x.counts {
		if n <= 0 {
			delete(x.counts, p)
			continue
		}
		list = append(list, profileCount{p, n})
	}
	x.costs.Store(&list)
}

// accounts returns all accounts in no order.
func (x *Index) accounts() []*Account {
	t := x.table.Load()
	if t == nil {
		return nil
	}
	all := make([]*Account, 0, t.n.Load())
	for i := range t.shards {
		if m := t.shards[i].Load(); m != nil {
			for _, a := range *m {
				all = append(all, a)
			}
		}
	}
	return all
}

// All returns all accounts sorted by their folded names. The slice is shared:
// it is not to be changed.
func (x *Index) All() []*Account {
	x.sortMu.Lock()
	defer x.sortMu.Unlock()
	if x.sorted == nil || x.sortedV != x.version {
		all := x.accounts()
		slices.SortFunc(all, func(a, b *Account) int { return strings.Compare(a.Key(), b.Key()) })
		x.sorted, x.sortedV = all, x.version
	}
	return x.sorted
}
