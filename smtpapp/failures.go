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

package smtpapp

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

const (
	// maxTracked bounds the addresses and names whose failed logins are
	// remembered; the ones untouched for longest are forgotten first.
	maxTracked = 100_000
	// maxDelay bounds the delay of the answer to a failed login.
	maxDelay = 8 * time.Second
	// maxDelayed is the number of sessions that may wait at a time. Beyond
	// it the answer comes at once, and the ban has to do.
	maxDelayed = 10_000
)

// failureStore counts failed logins by client address and by account. It
// belongs to the process: a reload forgives nobody.
type failureStore struct {
	mu    sync.Mutex
	byKey map[string]*list.Element
	lru   list.List // of *failureEntry, the latest first
}

type failureEntry struct {
	key    string
	count  int
	since  time.Time // start of the window
	banned time.Time // until when
}

var (
	failures = &failureStore{byKey: make(map[string]*list.Element)}
	delayed  atomic.Int64
)

// add counts a failure and returns how many there are in the window. At
// max the key is banned, if ban is not zero.
func (f *failureStore) add(key string, now time.Time, window time.Duration, max int, ban time.Duration) (count int, banned bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entry(key)
	if now.Sub(e.since) > window {
		e.count, e.since = 0, now
	}
	e.count++
	if ban > 0 && e.count >= max {
		e.banned = now.Add(ban)
		return e.count, true
	}
	return e.count, false
}

func (f *failureStore) entry(key string) *failureEntry {
	if el, ok := f.byKey[key]; ok {
		f.lru.MoveToFront(el)
		return el.Value.(*failureEntry)
	}
	if f.lru.Len() >= maxTracked {
		last := f.lru.Back()
		f.lru.Remove(last)
		delete(f.byKey, last.Value.(*failureEntry).key)
	}
	e := &failureEntry{key: key}
	f.byKey[key] = f.lru.PushFront(e)
	return e
}

func (f *failureStore) banned(key string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	el, ok := f.byKey[key]
	return ok && now.Before(el.Value.(*failureEntry).banned)
}

// punish counts a failed login, and makes the client wait for the answer:
// longer with each failure of its address, and with each of the account's.
func (s *session) punish(g *generation, name string) {
	p := g.policy
	now := time.Now()
	n, _ := failures.add("account "+accounts.FoldName(name), now, p.authWindow, p.authMax, 0)
	if _, trusted := p.trusts(s.remote); !trusted && s.remote.IsValid() {
		m, banned := failures.add(addressKey(clientKey(s.remote)), now, p.authWindow, p.authMax, p.authBan)
		if banned && m == p.authMax {
			g.logBan(s, p.authBan)
		}
		n = max(n, m)
	}
	delay := min(p.authDelay<<min(n-1, 16), maxDelay)
	if delay <= 0 || delayed.Add(1) > maxDelayed {
		if delay > 0 {
			delayed.Add(-1)
		}
		return
	}
	defer delayed.Add(-1)
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.conn.Drained():
	case <-s.ctx.Done():
	}
}

func addressKey(p netip.Prefix) string { return "address " + p.String() }
