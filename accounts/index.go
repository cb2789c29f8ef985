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

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/changes"
)

// Index holds the accounts of one source. Readers take no lock: they follow
// chains of immutable nodes, which writers replace, so that a single change
// costs a few nodes whatever the number of accounts. A lookup touches the chain's
// head, a node and its key: a map per shard would be three places more in a
// memory that 100,000 accounts do not leave cached. The zero value is an empty
// index.
type Index struct {
	table   atomic.Pointer[table]
	costs   atomic.Pointer[[]profileCount]
	loading atomic.Bool // a name that is missing may exist all the same

	mu        sync.Mutex // of writers
	counts    map[*password.Profile]int
	least     *password.Profile // counts as one account's, whoever is there
	upstreams map[string]int    // accounts by upstream

	sortMu  sync.Mutex
	version uint64 // of the accounts; under mu and sortMu
	sorted  []*Account
	sortedV uint64
}

var indexSeed = maphash.MakeSeed()

type table struct {
	mask  uint64
	n     atomic.Int64
	heads []atomic.Pointer[node]
}

// node is immutable once it is reachable.
type node struct {
	hash    uint64
	key     string
	account *Account
	next    *node
}

func newTable(n int) *table {
	size := 1
	for size < n {
		size *= 2
	}
	heads := make([]atomic.Pointer[node], size)
	return &table{mask: uint64(len(heads)) - 1, heads: heads}
}

type profileCount struct {
	*password.Profile
	n int
}

// get finds an account by its folded name, which may live on the caller's
// stack. hash is maphash.Bytes of it.
func (x *Index) get(key []byte, hash uint64) *Account {
	t := x.table.Load()
	if t == nil {
		return nil
	}
	for n := t.heads[hash&t.mask].Load(); n != nil; n = n.next {
		if n.hash == hash && n.key == string(key) {
			return n.account
		}
	}
	return nil
}

// Get finds an account by its name.
func (x *Index) Get(name string) (*Account, bool) {
	key := []byte(FoldName(name))
	a := x.get(key, maphash.Bytes(indexSeed, key))
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
	before := x.table.Load()
	t := newTable(len(accounts))
	counts, upstreams := make(map[*password.Profile]int), make(map[string]int)
	nodes := make([]node, len(accounts))
	var n int64
next:
	for i, a := range accounts {
		key := a.Key()
		hash := maphash.String(indexSeed, key)
		head := &t.heads[hash&t.mask]
		for o := head.Load(); o != nil; o = o.next {
			if o.key == key {
				continue next
			}
		}
		x.register(before, a, hash)
		nodes[i] = node{hash: hash, key: key, account: a, next: head.Load()}
		head.Store(&nodes[i])
		n++
		if a.profile != nil {
			counts[a.profile]++
		}
		upstreams[a.Upstream]++
	}
	t.n.Store(n)
	x.counts, x.upstreams = counts, upstreams
	x.table.Store(t)
	x.changed(true)
}

// Set adds an account, in place of the one with the same name.
func (x *Index) Set(a *Account) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.table.Load()
	if t == nil || int(t.n.Load()) >= 2*len(t.heads) {
		x.replace(append(x.accounts(), a))
		t = x.table.Load()
	}
	x.put(t, a.Key(), a)
}

// Delete removes an account, and reports whether there was one.
func (x *Index) Delete(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.table.Load()
	return t != nil && x.put(t, FoldName(name), nil)
}

// put sets or, with nil, removes, and reports whether there was one before.
func (x *Index) put(t *table, key string, a *Account) bool {
	hash := maphash.String(indexSeed, key)
	head := &t.heads[hash&t.mask]
	var old *Account
	var chain *node
	for n := head.Load(); n != nil; n = n.next {
		if n.key == key {
			old = n.account
			continue
		}
		chain = &node{hash: n.hash, key: n.key, account: n.account, next: chain}
	}
	if old == a {
		return old != nil
	}
	var was, is *password.Profile
	if old != nil {
		was = old.profile
		t.n.Add(-1)
		if x.upstreams[old.Upstream]--; x.upstreams[old.Upstream] == 0 {
			delete(x.upstreams, old.Upstream)
		}
	}
	if a != nil {
		x.register(t, a, hash)
		is = a.profile
		t.n.Add(1)
		x.upstreams[a.Upstream]++
		chain = &node{hash: hash, key: key, account: a, next: chain}
	}
	head.Store(chain)
	if was != is {
		if was != nil {
			x.counts[was]--
		}
		if is != nil {
			x.counts[is]++
		}
	}
	x.changed(was != is)
	return old != nil
}

// Changes is told when accounts of this process have changed, whichever and in what
// source.
var Changes changes.Hub

// births numbers the records of the process that came after their index's
// first ones.
var births atomic.Uint64

// register says whether an account takes the place of one with its name or
// is a new one. Those that an index begins with are as old as the index: a
// reload of the configuration makes inline accounts anew.
func (x *Index) register(before *table, a *Account, hash uint64) {
	var born uint64
	if before != nil && !x.loading.Load() {
		old := x.get([]byte(a.Key()), hash)
		if old == nil {
			born = births.Add(1)
		} else {
			born = old.born.Load()
		}
	}
	if a.born.Load() != born {
		a.born.store(born)
	}
}

// Costs has failed logins cost what those of such accounts do, before any is there.
func (x *Index) Costs(p *password.Profile) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.least = p
	x.changed(true)
}

// SetLoading is for a source whose index does not hold all of its accounts yet:
// lookups of names that are missing ask the source (Loader) meanwhile.
func (x *Index) SetLoading(loading bool) { x.loading.Store(loading) }

// Loading reports whether a name that is missing may exist all the same.
func (x *Index) Loading() bool { return x.loading.Load() }

// Upstreams returns the names of the upstreams that accounts have, in no order
// and whatever the number of accounts.
func (x *Index) Upstreams() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.upstreams))
}

// changed publishes what depends on the accounts.
func (x *Index) changed(costs bool) {
	x.sortMu.Lock()
	x.version++
	x.sortMu.Unlock()
	Changes.Tell()
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
	if x.least != nil && x.counts[x.least] == 0 {
		list = append(list, profileCount{x.least, 1})
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
	for i := range t.heads {
		for n := t.heads[i].Load(); n != nil; n = n.next {
			all = append(all, n.account)
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
