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

package upstreampool

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// memory is a storage that counts its writes. It stands for any: what a file
// system adds to it is not this package's matter, and synctest can't wait for it.
type memory struct {
	certmagic.Storage
	mu     sync.Mutex
	locks  sync.Mutex
	files  map[string][]byte
	writes int
	err    error
}

func (m *memory) Store(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if !strings.Contains(key, "/lanes/") { // signs of life
		m.writes++
	}
	m.files[key] = append([]byte(nil), value...)
	return nil
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append([]byte(nil), b...), nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, key)
	return nil
}

func (m *memory) List(_ context.Context, prefix string, _ bool) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.files {
		if strings.HasPrefix(k, prefix+"/") {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (m *memory) Lock(context.Context, string) error {
	m.locks.Lock() //nolint:staticcheck // Unlock is the other method
	return nil
}

func (m *memory) Unlock(context.Context, string) error {
	m.locks.Unlock()
	return nil
}

// copy is what a machine that lost its power would find.
func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &memory{files: make(map[string][]byte)}
	for k, v := range m.files {
		c.files[k] = v
	}
	return c
}

func quotaUpstream(t *testing.T, m *memory, limit int64) *upstream {
	t.Helper()
	u, _ := limited(t, func(s *settings) {
		s.storage = m
		s.maxWait = time.Second
		s.messages = accounts.Rate{Count: limit, Per: day}
	})
	return u
}

// spend sends until the quota is used up and returns how many messages went.
func spend(t *testing.T, u *upstream, name string, most int) int {
	t.Helper()
	for n := range most {
		ac, c, _, err := u.acquire(t.Context(), testAccount(name), false)
		if errors.Is(err, relay.ReplyLimitsNotStored) {
			return n
		}
		if err != nil {
			if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Code != 451 || r.Enhanced != [3]int{4, 7, 1} {
				t.Fatal(err)
			}
			return n
		}
		ac.release(c, usage{sent: true, rcpts: 1}, true)
	}
	return most
}

func TestQuotaSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{files: make(map[string][]byte)}
		u := quotaUpstream(t, m, 2000)
		if n := spend(t, u, "a", 700); n != 700 {
			t.Fatal(n)
		}
		endUpstream(u) // in order: nothing is lost, nothing is added

		u = quotaUpstream(t, m, 2000)
		spend(t, u, "b", 10) // the file is rewritten while `a` is silent
		endUpstream(u)

		u = quotaUpstream(t, m, 2000)
		if n := spend(t, u, "a", 5000); n != 1300 {
			t.Errorf("%d messages after 700 of 2000", n)
		}
		endUpstream(u)

		time.Sleep(day + day/96 + 2*time.Second)
		u = quotaUpstream(t, m, 2000)
		if n := spend(t, u, "a", 5000); n != 2000 {
			t.Errorf("%d messages a day later", n)
		}
		endUpstream(u)
	})
}

// TestQuotaAfterCrash takes the storage away at any moment while an account
// sends: the sum over both lives never passes the limit, and what the crash
// costs is not more than a lead.
func TestQuotaAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2000
		m := &memory{files: make(map[string][]byte)}
		u := quotaUpstream(t, m, limit)
		defer endUpstream(u)
		sent := 0
		for range 15 {
			// Bursts of 9 in a second, then silence.
			sent += spend(t, u, "a", 9)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			after := quotaUpstream(t, m.copy(), limit)
			rest := spend(t, after, "a", 5000)
			endUpstream(after)
			if sent+rest > limit {
				t.Fatalf("%d messages before the crash, %d after it", sent, rest)
			}
			if sent+rest < limit-limit/100 {
				t.Errorf("a crash cost %d messages", limit-sent-rest)
			}
		}
		// An account that stopped sending has no lead in the file.
		time.Sleep(time.Minute)
		synctest.Wait()
		after := quotaUpstream(t, m.copy(), limit)
		if rest := spend(t, after, "a", 5000); sent+rest != limit {
			t.Errorf("%d and %d", sent, rest)
		}
		endUpstream(after)
	})
}

func TestQuotaWritesFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{files: make(map[string][]byte)}
		u := quotaUpstream(t, m, 1_000_000)
		begin := time.Now()
		for time.Since(begin) < 10*time.Minute {
			spend(t, u, "a", 5)
			time.Sleep(100 * time.Millisecond)
		}
		m.mu.Lock()
		writes := m.writes
		m.mu.Unlock()
		if writes > 30 {
			t.Errorf("%d writes in ten minutes", writes)
		}
		// A storage that fails is tried again.
		m.mu.Lock()
		m.err, m.files = errors.New("disk full"), make(map[string][]byte)
		m.mu.Unlock()
		spend(t, u, "a", 5)
		time.Sleep(time.Minute)
		m.mu.Lock()
		m.err = nil
		m.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(m.copy().files) == 0 {
			t.Error("never written again")
		}
		endUpstream(u)
	})
}

func TestQuotaFileIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{files: make(map[string][]byte)}
		u := quotaUpstream(t, m, 100)
		spend(t, u, "a", 10)
		endUpstream(u)
		for k := range m.files {
			m.files[k] = []byte("{")
		}
		u = quotaUpstream(t, m, 100)
		if n := spend(t, u, "a", 200); n != 100 {
			t.Error(n)
		}
		endUpstream(u)
	})
}
