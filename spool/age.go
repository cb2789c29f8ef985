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
	"time"

	"github.com/caddymail/mailgateway/spool/internal/store"
)

// startGrace is how long mail that grew old while nothing ran is tried before it is
// given up: a host's network, accounts and provider come back one after the other.
const startGrace = 15 * time.Minute

// expiry is when a message is given up: it is tried once more then, and not again.
// The lock is held.
func (e *engine) expiry(m *message) time.Time {
	at, grace := m.since.Add(e.giveUpAfter), e.started.Add(min(e.giveUpAfter, startGrace))
	if grace.After(at) {
		return grace
	}
	return at
}

// expired reports whether no attempt may follow that of now.
func (e *engine) expired(m *message, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !now.Before(e.expiry(m))
}

// trim lets a message wait no longer than it may. Once its time is over it waits
// for what keeps it from being given up. The lock is held.
func (e *engine) trim(m *message, now time.Time) {
	if at := e.expiry(m); now.Before(at) && m.next.After(at) {
		m.next = at
	}
}

// trimAll does that with another configuration's age.
func (e *engine) trimAll(giveUpAfter time.Duration) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.giveUpAfter = giveUpAfter
	for _, m := range e.all {
		if at := e.expiry(m); m.next.After(at) {
			m.next = later(at, now)
		}
		e.arrange(m, now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// relate ties the times of a message that was read to this process's clock, which
// goes on evenly when the host's is set. How old it is says the spool's own clock, where
// that was kept. When it is tried next says the host's, or the spool's if that is
// earlier: a host's clock that was ahead, or is behind, puts nothing off.
func (m *message) relate(written, now time.Time, spent *store.Spent) {
	ahead := max(written.Sub(now), 0)
	m.since = now.Add(-max(now.Sub(m.env.Created), 0))
	ran := time.Duration(0)
	if spent != nil {
		m.since, ran = now.Add(-spent.Age), spent.Since
	}
	for _, at := range []*time.Time{&m.next, &m.asked} {
		if !at.IsZero() {
			*at = now.Add(min(at.Sub(now)-ahead, at.Sub(written)-ran))
		}
	}
}

// tie does that for times that this process has from another's lines.
func (m *message) tie(now time.Time) {
	for _, at := range []*time.Time{&m.next, &m.asked} {
		if !at.IsZero() {
			*at = now.Add(at.Sub(now))
		}
	}
}
