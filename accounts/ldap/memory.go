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

package ldap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"sync"
	"time"
)

const (
	// wrongFor is how long a wrong password is not asked for again, while its entry says
	// that the password is the same. Directories lock an entry after a few wrong ones: a
	// device that keeps an old one, and tries it every minute, must not do that to its owner.
	wrongFor = 10 * time.Minute
	// rightFor is how long it is known which password was right the last time. It is asked
	// for all the same, before those of which nothing is known.
	rightFor = 24 * time.Hour
	// maxRemembered of each are remembered.
	maxRemembered = 10_000
)

type digest [sha256.Size]byte

// memory remembers passwords for a time, as keyed digests.
type memory struct {
	key  [32]byte
	keep time.Duration

	mu    sync.Mutex
	until map[digest]time.Time
}

func newMemory(keep time.Duration) *memory {
	m := &memory{keep: keep, until: make(map[digest]time.Time)}
	_, _ = rand.Read(m.key[:])
	return m
}

// digest is that of a password, and of which one of whom it was tried for.
func (m *memory) digest(stamp, password string) (d digest) {
	h := hmac.New(sha256.New, m.key[:])
	_, _ = io.WriteString(h, stamp+":"+password) // a stamp has no colon
	h.Sum(d[:0])
	return d
}

func (m *memory) has(d digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.until[d]
	return ok && time.Now().Before(until)
}

func (m *memory) forget(d digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, d)
}

func (m *memory) add(d digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now()
	if _, ok := m.until[d]; !ok && len(m.until) >= maxRemembered {
		for old, until := range m.until {
			if !at.Before(until) {
				delete(m.until, old)
			}
		}
		for old := range m.until {
			if len(m.until) < maxRemembered {
				break
			}
			delete(m.until, old)
		}
	}
	m.until[d] = at.Add(m.keep)
}
