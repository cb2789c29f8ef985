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

package front

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxTracked bounds what logins are remembered of; what has been
	// untouched for longest is forgotten first. Bans and clients that have logged in
	// well are forgotten only if they leave less than passingPart of it to the rest: wrong
	// logins are what anybody can make as many of as wanted.
	maxTracked = 100_000
	// maxPairs bounds the logins that are remembered in all, some 24 MB.
	maxPairs = 1_000_000
	// maxWrong bounds the wrong ones of a network or an account, maxRight
	// the accounts of a client: an MTA has as many as there are.
	maxWrong = 4096
	maxRight = 100_000
	// passingPart is the part of maxTracked that the rest may have.
	passingPart = 4
)

// Guard remembers failed and good logins. There is one in the process: a
// reload forgives no client. It knows no password, only keyed hashes.
type Guard struct {
	key [32]byte

	mu      sync.Mutex
	entries map[guardKey]*list.Element
	tracked int // bounds entries
	// Of *guardEntry, the latest first: those of bans and of good logins, and the rest.
	lasting, passing list.List
	pairs            int // in all entries
	waiting          int
	wake             chan struct{} // closed when a place becomes free, if a login waits
}

// guardKey is what is remembered: a network at a server, an account at a
// server, or an account as one network tries it.
type guardKey struct {
	server  string
	network netip.Prefix
	name    uint64
}

// unsure is the name under which a client's logins are counted of which nothing is
// known; the hash of a name is hardly that.
const unsure = 1

// pair stands for a name and a password.
type pair struct{ name, both uint64 }

type guardEntry struct {
	key     guardKey
	lasts   bool // it is in the list of those
	count   int  // different wrong logins within the window
	since   time.Time
	wrong   []pair // the latest of them
	pending int    // logins under way

	banned, until time.Time
	refused       int
	account       string // of a client's guesses that led to a ban

	right   map[uint64]rightLogin // by name
	lastOne time.Time             // of right
}

type rightLogin struct {
	both uint64
	when time.Time
}

// NewGuard makes a guard that remembers nothing.
func NewGuard() *Guard {
	g := &Guard{entries: make(map[guardKey]*list.Element), tracked: maxTracked}
	_, _ = rand.Read(g.key[:])
	return g
}

// pair hashes a name, and the name with the password.
func (g *Guard) pair(name, password string) pair {
	hash := func(parts ...string) uint64 {
		mac := hmac.New(sha256.New, g.key[:])
		for _, s := range parts {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(s)))
			mac.Write(n[:])
			mac.Write([]byte(s))
		}
		// 0 stands for no name.
		return max(1, binary.BigEndian.Uint64(mac.Sum(nil)))
	}
	return pair{name: hash(name), both: hash(name, password)}
}

// peek returns an entry if there is one.
func (g *Guard) peek(k guardKey) *guardEntry {
	if el, ok := g.entries[k]; ok {
		return el.Value.(*guardEntry)
	}
	return nil
}

// entry returns an entry, up to date.
func (g *Guard) entry(k guardKey, now time.Time, p *GuardPolicy) *guardEntry {
	if el, ok := g.entries[k]; ok {
		e := el.Value.(*guardEntry)
		e.list(g).MoveToFront(el)
		over := now.Sub(e.since) > p.Window
		if !e.until.IsZero() {
			over = !now.Before(e.until) // what led to a ban is kept as long
		}
		if over {
			g.forgive(e, now)
		}
		return e
	}
	for len(g.entries) > 0 && (len(g.entries) >= g.tracked || g.pairs >= maxPairs) {
		from := &g.lasting
		if g.passing.Len() > g.tracked/passingPart || from.Len() == 0 {
			from = &g.passing
		}
		e := from.Remove(from.Back()).(*guardEntry)
		delete(g.entries, e.key)
		g.pairs -= len(e.wrong) + len(e.right)
	}
	e := &guardEntry{key: k, since: now}
	g.entries[k] = g.passing.PushFront(e)
	return e
}

// known returns an entry, up to date, if there is one.
func (g *Guard) known(k guardKey, now time.Time, p *GuardPolicy) *guardEntry {
	if _, ok := g.entries[k]; !ok {
		return nil
	}
	return g.entry(k, now, p)
}

// list is where an entry is kept.
func (e *guardEntry) list(g *Guard) *list.List {
	if e.lasts {
		return &g.lasting
	}
	return &g.passing
}

// settle puts an entry that has changed where it belongs.
func (g *Guard) settle(e *guardEntry) {
	lasts := len(e.right) > 0 || !e.until.IsZero()
	el, ok := g.entries[e.key]
	if lasts == e.lasts || !ok || el.Value != e {
		return
	}
	e.list(g).Remove(el)
	e.lasts = lasts
	g.entries[e.key] = e.list(g).PushFront(e)
}

// forgive forgets wrong logins, and the ban that they led to.
func (g *Guard) forgive(e *guardEntry, now time.Time) {
	g.pairs -= len(e.wrong)
	e.count, e.wrong, e.since = 0, nil, now
	e.banned, e.until, e.refused = time.Time{}, time.Time{}, 0
	g.settle(e)
}

// wrong counts a wrong login, and reports whether it is a new one.
func (g *Guard) wrong(e *guardEntry, x pair) bool {
	if slices.Contains(e.wrong, x) {
		return false
	}
	e.count++
	if len(e.wrong) >= maxWrong {
		e.wrong = slices.Delete(e.wrong, 0, 1)
		g.pairs--
	}
	e.wrong = append(e.wrong, x)
	g.pairs++
	return true
}

func (g *Guard) right(e *guardEntry, x pair, now time.Time) {
	if e.right == nil {
		e.right = make(map[uint64]rightLogin)
	}
	e.lastOne = now
	if _, ok := e.right[x.name]; !ok {
		if len(e.right) >= maxRight || g.pairs >= maxPairs {
			for name := range e.right { // any one: a bound, not a policy
				delete(e.right, name)
				g.pairs--
				break
			}
		}
		g.pairs++
	}
	e.right[x.name] = rightLogin{x.both, now}
	g.settle(e)
}

// good reports whether a client has logged in well lately.
func (e *guardEntry) good(now time.Time) bool {
	return e != nil && !e.lastOne.IsZero() && now.Sub(e.lastOne) <= goodFor
}

// tolerated returns how many different wrong logins a client may have, and
// whether it has logged in well lately. An MTA with many logins has some that
// are old.
func (e *guardEntry) tolerated(p *GuardPolicy, now time.Time) (limit int, good bool) {
	if !e.good(now) {
		return p.Max, false
	}
	return spare*p.Max + len(e.right), true
}

// knows reports whether an account has logged in from there lately.
func (e *guardEntry) knows(name uint64, now time.Time) bool {
	return e != nil && !e.right[name].when.IsZero() && now.Sub(e.right[name].when) <= goodFor
}

func (e *guardEntry) knowsPair(x pair, now time.Time) bool {
	return e.knows(x.name, now) && e.right[x.name].both == x.both
}

// beginBan bans what the entry stands for, unless it is banned.
func (g *Guard) beginBan(e *guardEntry, bans []Ban, p *GuardPolicy, now time.Time) []Ban {
	if p.Ban <= 0 || now.Before(e.until) {
		return bans
	}
	e.banned, e.until = now, now.Add(p.Ban)
	g.settle(e)
	return append(bans, e.ban())
}

func (e *guardEntry) ban() Ban {
	return Ban{
		Server: e.key.server, Network: e.key.network, Account: e.account,
		Since: e.banned, Until: e.until, Failures: e.count, Refused: e.refused,
	}
}
