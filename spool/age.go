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
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// relate ties the times of a message that was read to this process's clock, which
// goes on evenly when the host's is set. What was written under a clock that was
// ahead is as far from now as it was then.
func (m *message) relate(written, now time.Time) {
	ahead := max(written.Sub(now), 0)
	for _, at := range []*time.Time{&m.next, &m.asked} {
		if !at.IsZero() {
			*at = now.Add(at.Sub(now) - ahead)
		}
	}
	m.since = now.Add(-max(now.Sub(m.env.Created), 0))
}
