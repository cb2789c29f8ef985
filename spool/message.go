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
	"fmt"
	"time"

	"github.com/caddymail/mailgateway/internal/order"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// message is what is remembered of a message while it lies on the disk.
type message struct {
	env      *record.Envelope
	size     int64
	attempts int
	mailbox  string    // whose it is; empty if nothing says so
	since    time.Time // by this process's clock
	next     time.Time
	asked    time.Time // the provider wants none before
	held     string    // why; empty: it is not
	reply    string    // the last word on it
	settled  map[int]bool
	sent     map[int]bool
	replies  map[int]string
	owed     map[int]bool // refused recipients that no report speaks of yet
	told     bool         // the event of these was emitted
	reportAt time.Time    // when that is tried again
	open     int          // attempts and reports in a row that the process did not survive
	lines    int          // of its journal
	lost     int64        // octets of its journal that cannot be read
	forgiven int64        // of these, by a release
	trying   bool         // somebody has it for itself
	gone     bool
	sealed   bool // with a key that is not there

	lane    *lane     // nil: it is not queued, or no longer
	dueAt   time.Time // as it is queued
	waits   bool      // until then
	state   state     // as it is counted
	heldAs  string    // the same, if it is held
	inQueue order.Place
	inEnds  order.Place
}

// tries is how often the message has been tried, with the time when its client
// waited.
func (m *message) tries() int {
	if m.env.Reply != "" {
		return m.attempts + 1
	}
	return m.attempts
}

// replay is what a message's journal says.
func replay(st store.Found, now time.Time) *message {
	m := &message{
		env: st.Env, size: st.Size, lines: len(st.Lines), lost: st.Lost, mailbox: st.Env.Mailbox, next: st.Env.First, asked: st.Env.Asked, reply: st.Env.Reply,
	}
	written := st.Env.Created
	for i := range st.Lines {
		m.apply(&st.Lines[i])
		written = st.Lines[i].At
	}
	m.relate(written, now, st.Spent)
	// Who has it already, or that it was held, may be among what is lost.
	if m.lost > m.forgiven && m.held == "" {
		m.held = fmt.Sprintf("its journal is damaged, %d octets of it cannot be read: a release sends it to all whom the rest does not name", m.lost)
	}
	if m.open >= poisonous && m.held == "" {
		m.held = illness.WhyPoison
	}
	return m
}

// apply takes a line of the journal into account.
func (m *message) apply(l *record.Line) {
	if !l.Next.IsZero() {
		m.next = l.Next
	}
	switch l.Event {
	case record.EventResult, record.EventSent, record.EventRelease:
		m.asked = l.Asked
	}
	for _, i := range l.Sent {
		set(&m.settled, i, true)
		set(&m.sent, i, true)
	}
	for _, i := range l.Refused {
		set(&m.settled, i, true)
	}
	for _, i := range l.Owed {
		set(&m.owed, i, true)
	}
	for _, i := range l.Reported {
		delete(m.owed, i)
		m.told = false
	}
	for i, r := range l.Replies {
		if r == "" {
			r = l.Replies[-1]
		}
		if i < 0 {
			m.reply = r
			continue
		}
		set(&m.replies, i, r)
	}
	m.open++
	if l.Event != record.EventTry && l.Event != record.EventReport {
		m.open = 0
	}
	switch l.Event {
	case record.EventTry:
		m.attempts++
	case record.EventHold:
		m.held = l.Why
	case record.EventRelease:
		m.held, m.forgiven = "", l.Lost
		m.mailbox = cmp.Or(l.Mailbox, m.mailbox)
	}
}

// set sets what most messages never have, and have no room for until then.
func set[V any](m *map[int]V, i int, v V) {
	if *m == nil {
		*m = make(map[int]V)
	}
	(*m)[i] = v
}

// finished reports whether nothing is left to send.
func (m *message) finished() bool { return len(m.settled) >= len(m.env.Rcpts) }

// over reports whether nothing is left to send or to say: its file can go.
func (m *message) over() bool { return m.finished() && len(m.owed) == 0 }

// left returns the recipients that have no result yet.
func (m *message) left() (left []int) {
	for i := range m.env.Rcpts {
		if !m.settled[i] {
			left = append(left, i)
		}
	}
	return left
}

// due is when the message is to be looked at next: for an attempt, or for a report.
func (m *message) due() time.Time {
	if len(m.owed) > 0 && (m.finished() || m.reportAt.Before(m.next)) {
		return m.reportAt
	}
	return m.next
}
