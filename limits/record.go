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

package limits

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const recordVersion = 2 // 1 counted accounts; legacy.go reads it

// file is what a process stores of a shard.
type file struct {
	Version   int                `json:"version"`
	Mailboxes map[string]*record `json:"mailboxes"`
}

// record is what is stored of a mailbox.
type record struct {
	counts
	// Reserved is what may have been sent since, or may be sent yet.
	Reserved           int64             `json:"reserved,omitempty"`
	ReservedRecipients int64             `json:"reserved_recipients,omitempty"`
	Accounts           map[string]counts `json:"accounts,omitempty"`
	// Imported are the accounts whose counts of version 1 are in here.
	Imported []string `json:"imported,omitempty"`
}

// counts are stamps by period, as time.Duration writes it. Each is a pair of
// milliseconds since 1970 and a number of events.
type counts struct {
	Messages   map[string][][2]int64 `json:"messages,omitempty"`
	Recipients map[string][][2]int64 `json:"recipients,omitempty"`
}

func (c *counts) empty() bool { return len(c.Messages) == 0 && len(c.Recipients) == 0 }

func (r *record) empty() bool {
	return r.counts.empty() && r.Reserved == 0 && r.ReservedRecipients == 0 && len(r.Accounts) == 0
}

func decodeFile(raw []byte) (*file, error) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Version != recordVersion {
		return nil, fmt.Errorf("unknown version %d", f.Version)
	}
	for name, r := range f.Mailboxes {
		if r == nil {
			return nil, errors.New("no record of mailbox " + name)
		}
	}
	return &f, nil
}

// stamped turns what was reserved into something that was sent at a time. Which
// of its accounts sent it is not known: it counts against each.
func (r *record) stamped(now int64) {
	msgs, rcpts := [2]int64{millis(now), r.Reserved}, [2]int64{millis(now), r.ReservedRecipients}
	r.Reserved, r.ReservedRecipients = 0, 0
	r.counts.stampAny(msgs, rcpts)
	for name, c := range r.Accounts {
		c.stampAny(msgs, rcpts)
		r.Accounts[name] = c
	}
}

func (c *counts) stampAny(msgs, rcpts [2]int64) {
	if msgs[1] > 0 {
		c.Messages = mergeStamps(c.Messages, map[string][][2]int64{anyPeriod: {msgs}})
	}
	if rcpts[1] > 0 {
		c.Recipients = mergeStamps(c.Recipients, map[string][][2]int64{anyPeriod: {rcpts}})
	}
}

// prune forgets stamps that are over.
func (r *record) prune(now int64) {
	pruneStamps(r.Messages, now)
	pruneStamps(r.Recipients, now)
	for name, c := range r.Accounts {
		pruneStamps(c.Messages, now)
		pruneStamps(c.Recipients, now)
		if c.empty() {
			delete(r.Accounts, name)
		}
	}
}

// longestKept is how long a stamp is kept of which the period is not known.
const longestKept = 32 * 24 * time.Hour

func pruneStamps(stored map[string][][2]int64, now int64) {
	for key, list := range stored {
		per, err := time.ParseDuration(key)
		if err != nil {
			per = longestKept
		}
		list = slices.DeleteFunc(list, func(s [2]int64) bool { return s[0]*int64(time.Millisecond)+int64(per) <= now })
		if stored[key] = list; len(list) == 0 {
			delete(stored, key)
		}
	}
}

// anyPeriod is the key of stamps that count against each limit.
const anyPeriod = ""

// millis rounds up: a stamp must not end early for having been stored.
func millis(at int64) int64 { return (at + int64(time.Millisecond) - 1) / int64(time.Millisecond) }

// counts returns what is stored of a layer.
func (l *layer) counts(now int64) counts {
	return counts{Messages: storedStamps(l.msgs, now), Recipients: storedStamps(l.rcpts, now)}
}

func storedStamps(windows []*window, now int64) map[string][][2]int64 {
	var all map[string][][2]int64
	for _, w := range windows {
		if w.expire(now); w.n == 0 {
			continue
		}
		if all == nil {
			all = make(map[string][][2]int64)
		}
		list := make([][2]int64, 0, w.n)
		w.each(func(s stamp) { list = append(list, [2]int64{millis(s.at), s.n}) })
		all[w.rate.Per.String()] = list
	}
	return all
}

// add counts what was stored.
func (l *layer) add(c *counts, now int64) {
	addStamps(l.msgs, c.Messages, now)
	addStamps(l.rcpts, c.Recipients, now)
}

func addStamps(windows []*window, stored map[string][][2]int64, now int64) {
	for _, w := range windows {
		key := storedPeriod(stored, w.rate.Per)
		for _, list := range [][][2]int64{stored[key], stored[anyPeriod]} {
			for _, s := range list {
				w.merge(now, s[0]*int64(time.Millisecond), s[1])
			}
		}
	}
}

// storedPeriod returns the key of the stamps that a limit with that period
// begins with: its own, or else those of the longest.
func storedPeriod(stored map[string][][2]int64, per time.Duration) string {
	if _, ok := stored[per.String()]; ok {
		return per.String()
	}
	best, longest := "none", time.Duration(0)
	for key := range stored {
		if d, err := time.ParseDuration(key); err == nil && d > longest {
			best, longest = key, d
		}
	}
	return best
}

// see replaces what other processes have counted.
func (l *layer) see(c *counts, reserved, reservedRcpts, now int64) {
	seeStamps(l.msgs, c.Messages, now)
	seeStamps(l.rcpts, c.Recipients, now)
	l.theirMsgs, l.theirRcpts = reserved, reservedRcpts
}

func seeStamps(windows []*window, stored map[string][][2]int64, now int64) {
	for _, w := range windows {
		w.others = nil
		theirs := new(window)
		theirs.configure(w.rate)
		addStamps([]*window{theirs}, stored, now)
		if theirs.n > 0 {
			w.others = theirs
		}
	}
}

// merge adds another process's record.
func (r *record) merge(o *record) {
	r.counts.merge(&o.counts)
	r.Reserved += o.Reserved
	r.ReservedRecipients += o.ReservedRecipients
	r.Accounts = mergeCounts(r.Accounts, o.Accounts)
	r.Imported = append(r.Imported, o.Imported...)
}

func (c *counts) merge(o *counts) {
	c.Messages = mergeStamps(c.Messages, o.Messages)
	c.Recipients = mergeStamps(c.Recipients, o.Recipients)
}

func mergeCounts(into, from map[string]counts) map[string]counts {
	for name, c := range from {
		if into == nil {
			into = make(map[string]counts)
		}
		have := into[name]
		have.merge(&c)
		into[name] = have
	}
	return into
}

func mergeStamps(into, from map[string][][2]int64) map[string][][2]int64 {
	for key, list := range from {
		if into == nil {
			into = make(map[string][][2]int64)
		}
		into[key] = append(into[key], list...)
	}
	return into
}

// snapshot returns what has to be stored of the mailbox if its reservation grows
// so.
func (m *mailbox) snapshot(now, msgs, rcpts int64) *record {
	r := &record{counts: m.all.counts(now)}
	r.Reserved = m.all.heldMsgs + m.ahead.left + msgs
	if m.countsRcpts() {
		r.ReservedRecipients = m.all.heldRcpts + m.ahead.rcpts + rcpts
	}
	for _, a := range m.list {
		if c := a.counts(now); !c.empty() {
			if r.Accounts == nil {
				r.Accounts = make(map[string]counts)
			}
			r.Accounts[a.name] = c
		}
	}
	r.Accounts = mergeCounts(r.Accounts, m.rest)
	for name := range m.imported {
		r.Imported = append(r.Imported, name)
	}
	return r
}

// restore adds a record of a process that has ended.
func (m *mailbox) restore(r *record, now int64) {
	if r == nil {
		return
	}
	m.all.add(&r.counts, now)
	m.rest = mergeCounts(m.rest, r.Accounts)
	for _, name := range r.Imported {
		m.markImported(name)
	}
	for _, a := range m.list {
		m.restoreAccount(a, now)
	}
}

// restoreAccount adds what was stored of the account's own limits.
func (m *mailbox) restoreAccount(a *account, now int64) {
	if c, ok := m.rest[a.name]; ok && len(a.msgs)+len(a.rcpts) > 0 {
		a.add(&c, now)
		delete(m.rest, a.name)
	}
	m.importAccount(a, now)
	m.seeOthers(now)
}

// seeOthers lets the limits count what other processes have stored.
func (m *mailbox) seeOthers(now int64) {
	f := m.foreign
	if f == nil {
		f = new(record)
	}
	m.all.see(&f.counts, f.Reserved, f.ReservedRecipients, now)
	for _, a := range m.list {
		c := f.Accounts[a.name]
		a.see(&c, f.Reserved, f.ReservedRecipients, now)
	}
}

// forgetCounts begins again, before what is stored is read again.
func (m *mailbox) forgetCounts() {
	layers := []*layer{&m.all}
	for _, a := range m.list {
		layers = append(layers, &a.layer)
	}
	for _, l := range layers {
		for _, list := range [][]*window{l.msgs, l.rcpts} {
			for _, w := range list {
				w.clear()
			}
		}
	}
	m.rest, m.imported = nil, nil
	m.ahead.left, m.ahead.rcpts = 0, 0
}
