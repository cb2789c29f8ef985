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

package password

import (
	"crypto/sha256"
	"sync"
	"time"
)

// The bounds of the cache of past successes: some 6 MiB when it is full.
const (
	maxCached   = 64 << 10
	cacheTTL    = 6 * time.Hour
	cacheShards = 64
)

type cacheKey [sha256.Size]byte

// success says which hash a password matched, for how long.
type success struct {
	expiry time.Time
	match  int
	fixed  bool // the expiry is not put off by use
}

// successCache remembers which checks succeeded. It holds keyed digests only.
// An entry lives as long as it is used: what makes it wrong (another hash,
// another password, no such account) makes it another key.
type successCache struct {
	ttl      time.Duration
	now      func() time.Time
	perShard int
	shards   [cacheShards]struct {
		sync.Mutex
		m map[cacheKey]success
	}
}

func (c *successCache) init(size int, ttl time.Duration, now func() time.Time) {
	c.ttl, c.now, c.perShard = ttl, now, max(size/cacheShards, 1)
}

// hit returns which hash the check succeeded with, or -1.
func (c *successCache) hit(key cacheKey) int {
	now := c.now()
	s := &c.shards[key[0]%cacheShards]
	s.Lock()
	defer s.Unlock()
	e, ok := s.m[key]
	if !ok {
		return -1
	}
	if now.After(e.expiry) {
		delete(s.m, key)
		return -1
	}
	if !e.fixed {
		e.expiry = now.Add(c.ttl)
		s.m[key] = e
	}
	return e.match
}

func (c *successCache) add(key cacheKey, match int) {
	c.put(key, success{expiry: c.now().Add(c.ttl), match: match})
}

// addFor remembers a success for so long, however often it is used.
func (c *successCache) addFor(key cacheKey, match int, ttl time.Duration) {
	c.put(key, success{expiry: c.now().Add(ttl), match: match, fixed: true})
}

func (c *successCache) put(key cacheKey, e success) {
	s := &c.shards[key[0]%cacheShards]
	s.Lock()
	defer s.Unlock()
	if s.m == nil {
		s.m = make(map[cacheKey]success)
	}
	if _, ok := s.m[key]; !ok && len(s.m) >= c.perShard {
		// One of a few that the map happens to name first goes, the
		// oldest of them: no list to keep, and near enough.
		var oldest cacheKey
		var when time.Time
		n := 0
		for k, old := range s.m {
			if n == 0 || old.expiry.Before(when) {
				oldest, when = k, old.expiry
			}
			if n++; n == 8 {
				break
			}
		}
		delete(s.m, oldest)
	}
	s.m[key] = e
}
