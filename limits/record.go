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
	"time"

	"github.com/caddymail/mailgateway/limits/internal/window"
	"github.com/caddymail/mailgateway/limits/record"
)

// counts returns what is stored of a layer.
func (l *layer) counts(now int64) record.Counts {
	return record.Counts{Messages: storedStamps(l.msgs, now), Recipients: storedStamps(l.rcpts, now)}
}

func storedStamps(windows []*window.Window, now int64) map[string][][2]int64 {
	var all map[string][][2]int64
	for _, w := range windows {
		if w.Expire(now); w.Len() == 0 {
			continue
		}
		if all == nil {
			all = make(map[string][][2]int64)
		}
		list := make([][2]int64, 0, w.Len())
		w.Each(func(s window.Stamp) { list = append(list, [2]int64{record.Millis(s.At), s.N}) })
		all[w.Rate.Per.String()] = list
	}
	return all
}

// add counts what was stored.
func (l *layer) add(c *record.Counts, now int64) {
	addStamps(l.msgs, c.Messages, now)
	addStamps(l.rcpts, c.Recipients, now)
}

func addStamps(windows []*window.Window, stored map[string][][2]int64, now int64) {
	for _, w := range windows {
		key := storedPeriod(stored, w.Rate.Per)
		for _, list := range [][][2]int64{stored[key], stored[record.AnyPeriod]} {
			for _, s := range list {
				w.Merge(now, s[0]*int64(time.Millisecond), s[1])
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
func (l *layer) see(c *record.Counts, reserved, reservedRcpts, now int64) {
	seeStamps(l.msgs, c.Messages, now)
	seeStamps(l.rcpts, c.Recipients, now)
	l.theirMsgs, l.theirRcpts = reserved, reservedRcpts
}

func seeStamps(windows []*window.Window, stored map[string][][2]int64, now int64) {
	for _, w := range windows {
		w.Others = nil
		theirs := new(window.Window)
		theirs.Configure(w.Rate)
		addStamps([]*window.Window{theirs}, stored, now)
		if theirs.Len() > 0 {
			w.Others = theirs
		}
	}
}

// snapshot returns what has to be stored of the mailbox if its reservation grows
// so.
func (m *mailbox) snapshot(now, msgs, rcpts int64) *record.Record {
	r := &record.Record{Counts: m.all.counts(now)}
	r.Reserved = m.all.heldMsgs + m.ahead.left + msgs
	if m.countsRcpts() {
		r.ReservedRecipients = m.all.heldRcpts + m.ahead.rcpts + rcpts
	}
	for _, a := range m.list {
		if c := a.counts(now); !c.Empty() {
			if r.Accounts == nil {
				r.Accounts = make(map[string]record.Counts)
			}
			r.Accounts[a.name] = c
		}
	}
	r.Accounts = record.MergeCounts(r.Accounts, m.rest)
	for name := range m.imported {
		r.Imported = append(r.Imported, name)
	}
	return r
}

// restore adds a record of a process that has ended.
func (m *mailbox) restore(r *record.Record, now int64) {
	if r == nil {
		return
	}
	m.all.add(&r.Counts, now)
	m.rest = record.MergeCounts(m.rest, r.Accounts)
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
		f = new(record.Record)
	}
	m.all.see(&f.Counts, f.Reserved, f.ReservedRecipients, now)
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
		for _, list := range [][]*window.Window{l.msgs, l.rcpts} {
			for _, w := range list {
				w.Clear()
			}
		}
	}
	m.rest, m.imported = nil, nil
	m.ahead.left, m.ahead.rcpts = 0, 0
}
