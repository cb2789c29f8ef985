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

// Package counters counts what became of each account's messages. It outlives
// configurations, and ends with the process.
package counters

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Counters are what became of one account's messages since the process
// started. They are kept for the admin API: an account is never a label.
type Counters struct {
	// Accepted, Deferred and Refused count final replies 2yz, 4yz and 5yz;
	// Aborted are messages whose client did not wait for one.
	Accepted uint64 `json:"accepted"`
	Deferred uint64 `json:"deferred"`
	Refused  uint64 `json:"refused"`
	Aborted  uint64 `json:"aborted"`
	// Recipients and Bytes are those of accepted messages.
	Recipients uint64 `json:"recipients"`
	Bytes      uint64 `json:"bytes"`
	// Last is when the last message ended.
	Last time.Time `json:"last"`
}

// tally is one account's counters as they are counted.
type tally struct {
	accepted, deferred, refused, aborted atomic.Uint64
	recipients, bytes                    atomic.Uint64
	last                                 atomic.Int64
}

// maxTallies bounds the accounts of a shard that are counted. Only accounts
// that were in the directory are; those deleted elsewhere than here stay.
const maxTallies = 1 << 14

// tallies are the process's counters: they outlive configurations.
var tallies struct {
	seed   maphash.Seed
	shards [64]tallyShard
}

type tallyShard struct {
	mu sync.RWMutex
	m  map[string]*tally
}

func init() { tallies.seed = maphash.MakeSeed() }

func shardOf(account string) *tallyShard {
	return &tallies.shards[maphash.String(tallies.seed, account)%uint64(len(tallies.shards))]
}

func tallyOf(account string, create bool) *tally {
	shard := shardOf(account)
	shard.mu.RLock()
	t := shard.m[account]
	shard.mu.RUnlock()
	if t != nil || !create {
		return t
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if t = shard.m[account]; t != nil {
		return t
	}
	if shard.m == nil {
		shard.m = make(map[string]*tally)
	}
	if len(shard.m) >= maxTallies {
		for name := range shard.m { // any one: a bound, not a policy
			delete(shard.m, name)
			break
		}
	}
	t = new(tally)
	shard.m[account] = t
	return t
}

// Count counts a message of an account that ended with code, 0 if nobody waited for
// its reply.
func Count(account string, now time.Time, code, recipients int, size int64) {
	t := tallyOf(account, true)
	switch code / 100 {
	case 2:
		t.accepted.Add(1)
		t.recipients.Add(uint64(max(0, recipients)))
		t.bytes.Add(uint64(max(0, size)))
	case 4:
		t.deferred.Add(1)
	case 5:
		t.refused.Add(1)
	default:
		t.aborted.Add(1)
	}
	t.last.Store(now.UnixNano())
}

// Forget drops the counters of an account that is gone.
func Forget(account string) {
	shard := shardOf(account)
	shard.mu.Lock()
	delete(shard.m, account)
	shard.mu.Unlock()
}

// Of returns what became of the account's messages; false if it has sent none since
// the process started.
func Of(account string) (Counters, bool) {
	t := tallyOf(account, false)
	if t == nil {
		return Counters{}, false
	}
	return Counters{
		Accepted: t.accepted.Load(), Deferred: t.deferred.Load(), Refused: t.refused.Load(), Aborted: t.aborted.Load(),
		Recipients: t.recipients.Load(), Bytes: t.bytes.Load(), Last: time.Unix(0, t.last.Load()),
	}, true
}
