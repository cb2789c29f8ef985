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

package spool

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/spool/illness"
)

// state is what a message counts as.
type state uint8

const (
	uncounted state = iota
	idle
	sending
	held
)

// tally is what a spool has, by state.
type tally struct {
	count  [held + 1]int
	octets int64
	held   map[string]int // by why, in the words of package illness
}

// add queues a message. The lock is held.
func (e *engine) add(m *message, now time.Time) {
	e.all[m.env.ID] = m
	l, ok := e.lanes[m.env.Account]
	if !ok {
		l = newLane(m.env.Account)
		e.lanes[l.account] = l
	}
	m.lane = l
	l.count++
	e.tally.octets += m.size
	if n := len(e.arrived); n > 0 && byArrival(m, e.arrived[n-1]) {
		e.unsorted = true
	}
	e.arrived = append(e.arrived, m)
	e.trim(m, now)
	e.arrange(m, now)
}

// arrange puts a message in its place. Every change of one that nobody has for itself
// ends here. The lock is held.
func (e *engine) arrange(m *message, now time.Time) {
	l := m.lane
	if l == nil {
		return
	}
	l.remove(m)
	delete(e.doubtful, m)
	delete(e.unsaid, m)
	delete(e.sealed, m)
	e.tally.count[m.state]--
	if m.state == held {
		e.tally.held[m.heldAs]--
	}
	switch {
	case m.gone:
		m.state = uncounted
		e.unlink(m)
	case m.held != "":
		m.state, m.heldAs = held, illness.HeldAs(m.held)
		e.tally.held[m.heldAs]++
	case m.trying:
		m.state = sending
	default:
		m.state = idle
		l.insert(m, e.expiry(m), now)
		if m.open > 0 {
			e.doubtful[m] = true
		}
	}
	if m.told && len(m.owed) > 0 && !m.gone {
		e.unsaid[m] = true
	}
	if m.sealed && !m.gone {
		e.sealed[m] = true
	}
	e.tally.count[m.state]++
	e.settle(l, now)
}

// occupied notes that somebody has a message for itself: it is neither tried nor
// changed meanwhile. The lock is held.
func (e *engine) occupied(m *message) {
	m.trying = true
	e.arrange(m, time.Now())
}

// free ends that. The lock is held.
func (e *engine) free(m *message) {
	m.trying = false
	e.arrange(m, time.Now())
}

// unlink forgets a message that is gone. The lock is held.
func (e *engine) unlink(m *message) {
	delete(e.all, m.env.ID)
	m.lane.count--
	m.lane = nil
	e.tally.octets -= m.size
	e.past++
	for len(e.arrived) > 0 && e.arrived[0].lane == nil {
		e.arrived[0], e.arrived = nil, e.arrived[1:]
		e.past--
	}
	if e.past > 64 && e.past > len(e.arrived)/2 {
		e.arrived = slices.DeleteFunc(e.arrived, func(m *message) bool { return m.lane == nil })
		e.past = 0
	}
}

// inOrder returns all messages in the order in which they came, and some that are gone.
// The lock is held.
func (e *engine) inOrder() []*message {
	if e.unsorted {
		slices.SortFunc(e.arrived, func(a, b *message) int { return strings.Compare(a.env.ID, b.env.ID) })
		e.unsorted = false
	}
	return e.arrived
}

// oldest returns the message that came first, of all or of those that are not held. The
// lock is held.
func (e *engine) oldest(heldToo bool) *message {
	for _, m := range e.inOrder() {
		if m.lane != nil && (heldToo || m.state != held) {
			return m
		}
	}
	return nil
}

// Filter chooses messages; what is empty chooses all.
type Filter struct {
	Account string
	// State is `waiting`, `sending` or `held`.
	State string
	// After is the id of the message behind which the list begins.
	After string
	// Limit is the most that are listed; 0 is no limit.
	Limit int
}

// looked is how many messages are looked at under the lock at a time.
const looked = 1000

// List returns kept messages of the process, oldest first, and the id behind which
// there are more; empty if there are none.
func List(f Filter) (list []Message, next string) {
	list = []Message{}
	for _, e := range running() {
		list = append(list, e.list(f)...)
	}
	slices.SortFunc(list, func(a, b Message) int { return cmp.Compare(a.ID, b.ID) })
	if f.Limit > 0 && len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].ID
	}
	return list, next
}

// Messages returns all kept messages of an account in a state.
func Messages(account, state string) []Message {
	list, _ := List(Filter{Account: account, State: state})
	return list
}

// list returns one message more than the limit, if there are so many.
func (e *engine) list(f Filter) (list []Message) {
	name := e.name()
	for after, over := f.After, false; !over; {
		e.mu.Lock()
		all := e.inOrder()
		i, found := slices.BinarySearchFunc(all, after, func(m *message, id string) int { return strings.Compare(m.env.ID, id) })
		if found {
			i++
		}
		part := all[i:min(i+looked, len(all))]
		for _, m := range part {
			if m.lane == nil || f.Account != "" && m.env.Account != f.Account {
				continue
			}
			if v := m.view(name); f.State == "" || v.State == f.State {
				list = append(list, v)
			}
			if f.Limit > 0 && len(list) > f.Limit {
				break
			}
		}
		if over = len(part) < looked || f.Limit > 0 && len(list) > f.Limit; !over {
			after = part[len(part)-1].env.ID
		}
		e.mu.Unlock()
	}
	return list
}
