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
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/limits"
)

// doc is what is stored of a mailbox. Times are on the engine's clock, in
// milliseconds since 1970. It keeps one invariant for each limit: the parts of
// all nodes and what is loose are never more than the limit, and a node's events
// within a period are never more than its part.
type doc struct {
	Nodes map[string]*held `json:"nodes,omitempty"`
	// Loose is what occupies slots of no living node's part, by limit.
	Loose map[string][]loose `json:"loose,omitempty"`
	// Wants are the nodes whose messages wait.
	Wants map[string]want `json:"wants,omitempty"`

	was []byte // as it was read; nil: there was none
}

// decode reads a document.
func decode(raw []byte) (*doc, error) {
	d := new(doc)
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, err
	}
	var err error
	d.was, err = json.Marshal(d) // the engine may have written it in another way
	return d, err
}

// encode reports whether the document has changed since it was read, too.
func (d *doc) encode() (raw []byte, changed bool, err error) {
	if d.empty() {
		return nil, d.was != nil, nil
	}
	raw, err = json.Marshal(d)
	return raw, !bytes.Equal(raw, d.was), err
}

// seal has what the node holds bear a number if the document has changed since it was
// read. It reports whether it has.
func (d *doc) seal(me string, rev uint64) bool {
	_, changed, err := d.encode()
	if h := d.Nodes[me]; h != nil && (changed || err != nil) {
		h.Rev = rev
	}
	return changed || err != nil
}

// loose says that a number of slots are occupied until a time.
type loose [2]int64

// held is what one node has.
type held struct {
	// Rev tells the node whether a write whose answer it missed was made.
	Rev   uint64          `json:"rev"`
	Parts map[string]part `json:"parts,omitempty"`
}

// part is what a node has of one limit.
type part struct {
	N   int64 `json:"n"`
	Per int64 `json:"per,omitempty"` // milliseconds; 0: connections
	// Of a limit that is written ahead: what was sent, and what may have been
	// sent since.
	Long   bool    `json:"long,omitempty"`
	Stamps []loose `json:"stamps,omitempty"`
	Ahead  int64   `json:"ahead,omitempty"`
}

// want says what a node lacks, and since when nobody has to believe it.
type want struct {
	Until int64    `json:"until"`
	Keys  []string `json:"keys"`
	// Limits are those that the node knows, of the keys. Another one's may be
	// larger, until the configuration is the same everywhere.
	Limits []int64 `json:"limits,omitempty"`
}

const (
	// wantFor is how long a want is believed: it is said again every second.
	wantFor = 4 * time.Second
	// sayAgain is when those who have it are told once more: two nodes that both
	// want more would keep each other busy.
	sayAgain = 900 * time.Millisecond
)

// view is what the engine says beside the documents.
type view struct {
	now   int64            // nanoseconds since 1970
	until map[string]int64 // of leases, the living nodes' alone
	ended map[string]int64 // those of nodes that are known to be dead
	// leaving reports whether the node that looks is being drained.
	leaving bool
	overdue bool // a lease is over, and its node not marked as ended
}

func newView() view { return view{until: make(map[string]int64), ended: make(map[string]int64)} }

func (d *doc) empty() bool { return len(d.Nodes)+len(d.Loose)+len(d.Wants) == 0 }

// ceilMS rounds up: nothing must be free early for having been stored.
func ceilMS(ns int64) int64 { return (ns + 1e6 - 1) / 1e6 }

// tidy turns what dead nodes held into something that ends, and forgets what has
// ended. A node that was paused may have had a message on its way, and the
// provider may believe in its connections: that is what grace is for.
func (d *doc) tidy(v view, grace time.Duration) {
	for id, h := range d.Nodes {
		if _, ok := v.until[id]; ok {
			continue
		}
		end, ok := v.ended[id]
		if !ok {
			end = v.now
		}
		end = ceilMS(end + int64(grace))
		for key, p := range h.Parts {
			if p.Long {
				d.loosen(key, p.Stamps...)
				d.loosen(key, loose{end + p.Per, p.Ahead})
			} else {
				d.loosen(key, loose{end + p.Per, p.N})
			}
		}
		delete(d.Nodes, id)
	}
	now := v.now / 1e6
	for key, list := range d.Loose {
		d.Loose[key] = slices.DeleteFunc(list, func(l loose) bool { return l[0] <= now })
		if len(d.Loose[key]) == 0 {
			delete(d.Loose, key)
		}
	}
	for id, w := range d.Wants {
		if _, ok := v.until[id]; !ok || w.Until <= now {
			delete(d.Wants, id)
		}
	}
}

func (d *doc) loosen(key string, list ...loose) {
	for _, l := range list {
		if l[1] <= 0 {
			continue
		}
		if d.Loose == nil {
			d.Loose = make(map[string][]loose)
		}
		d.Loose[key] = append(d.Loose[key], l)
	}
}

func (d *doc) looseN(key string) (n int64) {
	for _, l := range d.Loose[key] {
		n += l[1]
	}
	return n
}

// held returns all that a node has, of whatever limits.
func (d *doc) held(id string) (n int64) {
	if h := d.Nodes[id]; h != nil {
		for _, p := range h.Parts {
			n += p.N
		}
	}
	return n
}

// others returns what other nodes have of a limit, how many of them are
// concerned, how many wait for more, and the least limit that one of these knows or,
// if that is not less, the given one.
func (d *doc) others(me, key string, limit int64) (sum, concerned, waiting, least int64) {
	least = limit
	seen := make(map[string]bool)
	for id, h := range d.Nodes {
		if n := h.Parts[key].N; id != me && n > 0 {
			sum += n
			seen[id] = true
		}
	}
	for id, w := range d.Wants {
		i := slices.Index(w.Keys, key)
		if id == me || i < 0 {
			continue
		}
		seen[id] = true
		waiting++
		if i < len(w.Limits) {
			least = min(least, w.Limits[i])
		}
	}
	return sum, int64(len(seen)), waiting, least
}

// outcome is what becomes of one limit.
type outcome struct {
	key   string
	allow int64         // what the node may use from now on
	taken []loose       // what is occupied by others, to be counted here
	per   time.Duration // of the limit
}

// stamps are what is taken, where the engine's clock is at least early ahead.
func (o *outcome) stamps(early int64) []limits.Stamp {
	list := make([]limits.Stamp, len(o.taken))
	for i, l := range o.taken {
		list[i] = limits.Stamp{At: l[0]*1e6 - int64(o.per) - early, N: l[1]}
	}
	return list
}

// settle lets the node have what it lacks and others don't have, and lets others
// have what it does not use. It returns what becomes of its limits, and which
// nodes are to be told that they hold something that it still lacks. shift brings
// stamps to the engine's clock.
func (d *doc) settle(me string, v view, items []limits.Item, shift int64) (out []outcome, holders []string) {
	var before held
	if h := d.Nodes[me]; h != nil {
		before = *h
	}
	next := &held{Rev: before.Rev, Parts: make(map[string]part)}
	var lacking want
	for _, it := range items {
		p, o := d.divide(me, it, before.Parts[it.Key].N, shift)
		if p.N > 0 {
			next.Parts[it.Key] = p
		}
		out = append(out, o)
		if it.Lacks && o.allow <= before.Parts[it.Key].N {
			lacking.Keys, lacking.Limits = append(lacking.Keys, it.Key), append(lacking.Limits, it.Limit)
		}
	}
	// A limit that is gone from the configuration of this node may be one of
	// others, or of an account that will be back: what was sent stays counted.
	for key, p := range before.Parts {
		if _, ok := next.Parts[key]; ok || slices.ContainsFunc(items, func(it limits.Item) bool { return it.Key == key }) {
			continue
		}
		if p.Long {
			d.loosen(key, p.Stamps...)
			d.loosen(key, loose{ceilMS(v.now) + p.Per, p.Ahead})
		} else if p.Per > 0 {
			d.loosen(key, loose{ceilMS(v.now) + p.Per, p.N})
		}
	}
	if d.Nodes == nil {
		d.Nodes = make(map[string]*held)
	}
	if d.Nodes[me] = next; len(next.Parts) == 0 {
		delete(d.Nodes, me)
	}
	said := d.Wants[me]
	delete(d.Wants, me)
	if len(lacking.Keys) == 0 {
		return out, nil
	}
	if d.Wants == nil {
		d.Wants = make(map[string]want)
	}
	more := slices.ContainsFunc(lacking.Keys, func(key string) bool { return !slices.Contains(said.Keys, key) })
	if age := v.now + int64(wantFor) - said.Until*1e6; !more && age < int64(sayAgain) {
		lacking.Until = said.Until
		d.Wants[me] = lacking
		return out, nil
	}
	lacking.Until = ceilMS(v.now + int64(wantFor))
	d.Wants[me] = lacking
	for id, h := range d.Nodes {
		if id != me && slices.ContainsFunc(lacking.Keys, func(key string) bool { return h.Parts[key].N > 0 }) {
			holders = append(holders, id)
		}
	}
	return out, holders
}

// divide decides about one limit of which the node has cur.
func (d *doc) divide(me string, it limits.Item, cur, shift int64) (part, outcome) {
	o := outcome{key: it.Key, per: it.Per}
	sum, concerned, waiting, least := d.others(me, it.Key, it.Limit)
	lying := d.looseN(it.Key)
	room := max(0, it.Limit-sum-lying)
	fair := (least + concerned) / (concerned + 1)
	asks := it.Lacks || cur == 0 && it.Busy
	goal := min(cur, room)
	switch {
	case waiting > 0 && !it.Busy && !it.Lacks:
		goal = 0
	case waiting > 0 && cur > fair:
		goal = min(goal, fair)
	case waiting > 0 && asks:
		goal = min(room, fair)
	case asks:
		goal = room
		if it.Per > 0 && lying > 0 {
			// What lies there comes along, and is counted here.
			goal += lying
			o.taken = d.Loose[it.Key]
		}
	}
	o.allow = goal
	p := part{N: max(goal, it.Used), Per: it.Per.Milliseconds(), Long: it.Long}
	if len(o.taken) > 0 {
		if it.Long {
			p.Stamps = append(p.Stamps, o.taken...)
		}
		delete(d.Loose, it.Key)
	}
	if it.Long {
		n := lying
		if len(o.taken) == 0 {
			n = 0
		}
		for _, s := range it.Stamps {
			p.Stamps = append(p.Stamps, loose{ceilMS(s.At + shift + int64(it.Per)), s.N})
			n += s.N
		}
		p.Ahead = max(0, min(it.Ahead+it.Grow, p.N-n))
	}
	return p, o
}

// release gives everything back: what was sent stays counted until it is over,
// what is under way or open as long as it may take.
func (d *doc) release(me string, v view, items []limits.Item, shift int64, grace time.Duration) {
	delete(d.Nodes, me)
	delete(d.Wants, me)
	open := ceilMS(v.now + int64(grace))
	for _, it := range items {
		rest := it.Used
		for _, s := range it.Stamps {
			d.loosen(it.Key, loose{ceilMS(s.At + shift + int64(it.Per)), s.N})
			rest -= s.N
		}
		d.loosen(it.Key, loose{open + it.Per.Milliseconds(), rest})
	}
}
