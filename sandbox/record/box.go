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

package record

import (
	"maps"
	"sync"
	"time"
)

const maxWindow = 1 << 16

// Box is one mailbox's account of itself, behind its own lock.
type Box struct {
	Name string

	mu     sync.Mutex
	stats  MailboxStats
	recent window // messages accepted in the last minute
	logins window
}

// window is the times of events within the last minute, oldest first.
type window struct {
	times []int64 // unix nanoseconds
	head  int
}

func (w *window) expire(now int64) {
	for w.head < len(w.times) && now-w.times[w.head] >= int64(time.Minute) {
		w.head++
	}
	if w.head > 64 && w.head*2 > len(w.times) {
		w.times = append(w.times[:0], w.times[w.head:]...)
		w.head = 0
	}
}

func (w *window) len() int { return len(w.times) - w.head }

func (w *window) add(now int64) {
	if w.len() < maxWindow {
		w.times = append(w.times, now)
	}
}

// Join counts one more connection.
func (m *Box) Join() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.join()
}

func (m *Box) join() {
	m.stats.Conns++
	m.stats.ConnsTotal++
	m.stats.ConnsPeak = max(m.stats.ConnsPeak, m.stats.Conns)
}

// Leave counts one connection less.
func (m *Box) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Conns--
}

// What stands against a login.
type Obstacle int

const (
	None Obstacle = iota
	TooManyLogins
	TooManyConns
)

// Login counts a connection as the mailbox's, unless there were that many logins
// within a minute or there are that many connections; 0 is no limit.
func (m *Box) Login(perMinute, conns int) Obstacle {
	now := time.Now().UnixNano()
	m.mu.Lock()
	defer m.mu.Unlock()
	if perMinute > 0 {
		m.logins.expire(now)
		if m.logins.len() >= perMinute {
			return TooManyLogins
		}
		m.logins.add(now)
	}
	if conns > 0 && m.stats.Conns >= conns {
		return TooManyConns
	}
	m.join()
	return None
}

// Over reports whether the mailbox has more connections than that, and counts it
// as limited then.
func (m *Box) Over(conns int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stats.Conns <= conns {
		return false
	}
	m.stats.Limited++
	return true
}

// Exceeds reports whether n recipients more are more than the mailbox may have in
// all, and counts it as limited then.
func (m *Box) Exceeds(n, limit int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stats.Recipients+uint64(n) <= uint64(limit) {
		return false
	}
	m.stats.Limited++
	return true
}

// Throttle returns how long a message has to wait so that no more than perMinute
// are accepted within a minute, and counts it as limited if it has to.
func (m *Box) Throttle(perMinute int) time.Duration {
	now := time.Now().UnixNano()
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &m.recent
	w.expire(now)
	if w.len() < perMinute {
		return 0
	}
	m.stats.Limited++
	return time.Duration(w.times[len(w.times)-perMinute] + int64(time.Minute) - now)
}

func (m *Box) snapshot() MailboxStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.stats
	st.TokenPosts = maps.Clone(st.TokenPosts)
	return st
}
