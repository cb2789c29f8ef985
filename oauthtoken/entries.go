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

package oauthtoken

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// grantToken is an access token with what the hit path needs to judge it.
// It is immutable. Times are Unix nanoseconds of the wall clock: a machine
// that slept must find its tokens expired.
type grantToken struct {
	token *oauth2.Token
	// seed is the configured seed that the token belongs to.
	seed string
	// soft is when it is no longer lent without trying to get another,
	// refreshAt when to refresh ahead.
	soft, refreshAt  int64
	obtained, expiry int64
	// nudged says that a hit has asked for the refresh ahead.
	nudged *atomic.Bool
}

// entry is one account's state. Readers load cur; everything else is under mu.
type entry struct {
	// What the hit path touches stands together, in one cache line.
	hash    uint64
	subject string
	cur     atomic.Pointer[grantToken]
	used    atomic.Int64 // Unix nanoseconds

	mu     sync.Mutex
	flight *flight
	// rec is the newest record known, without its access token.
	rec *record
	// unsaved is a rotated record that the store did not take; pending is
	// the access token that waits for it.
	unsaved *record
	pending *tokenResponse
	// lastErr is what the last refresh failed with, blockUntil when the
	// next may be tried, failures how many there were in a row.
	lastErr    *Error
	lastErrAt  time.Time
	blockUntil time.Time
	failures   int
	// rejected is the digest of the last access token that was refused.
	rejected   [32]byte
	rejectedAt time.Time
	// failedSeed is the seed of that refresh.
	failedSeed string
	// failedUnder is the configuration that it ran under.
	failedUnder *Provider
	// again lets the next refresh ask in spite of a sticky refusal.
	again  bool
	state  state
	gone   bool // forgotten, or the manager was given back
	warned time.Time

	// of the schedule, under its lock
	due   int64
	index int
}
