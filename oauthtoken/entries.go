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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/internal/order"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
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

// scoped is what is known of one set of scopes of a grant. Readers load cur;
// what comes after used is under the entry's mu.
type scoped struct {
	cur  atomic.Pointer[grantToken]
	used atomic.Int64 // Unix nanoseconds

	key    string   // empty for the provider's own scopes
	scopes []string // nil for those

	// lastErr is what the last refresh failed with, blockUntil when to look
	// again, failures how many there were in a row.
	lastErr    *authserver.Error
	lastErrAt  time.Time
	blockUntil time.Time
	failures   int
	// refusals counts the times in a row that the server was asked and
	// refused, askAfter is when it is asked again.
	refusals int
	askAfter time.Time
	// rejected is the digest of the last access token that the upstream refused.
	rejected   [32]byte
	rejectedAt time.Time
	// failedSeed is the seed of the refresh that failed, failedUnder the
	// configuration that it ran under.
	failedSeed  string
	failedUnder *served
}

// entry is one grant's state: that of one mailbox at one provider.
type entry struct {
	// What the hit path touches stands together, in one cache line.
	hash    uint64
	subject string
	scoped  // of the provider's own scopes

	// more are the other sets of scopes; a new slice for each that is added.
	more atomic.Pointer[[]*scoped]

	mu     sync.Mutex
	flight *flight
	// rec is the newest record known, without its access tokens.
	rec *tokenstore.Record
	// unsaved is a rotated record that the store did not take; pending is
	// the access token that waits for it, of the scopes pendingFor, and
	// saveAfter when to try again.
	unsaved    *tokenstore.Record
	pending    *authserver.TokenResponse
	pendingFor string
	saveAfter  time.Time
	// lookedAt are the accounts whose records of an earlier version were
	// looked for.
	lookedAt map[string]bool
	// again lets the next refresh ask in spite of a sticky refusal.
	again  bool
	state  state
	gone   bool // forgotten, or the manager was given back
	warned time.Time

	// of the schedule, under its lock
	due   int64
	place order.Place
}

// maxScopeSets bounds the sets of scopes of one grant: transports name them,
// not clients.
const maxScopeSets = 16

// find returns what is known of a set of scopes, nil if nothing is.
func (e *entry) find(key string) *scoped {
	if key == "" {
		return &e.scoped
	}
	if more := e.more.Load(); more != nil {
		for _, s := range *more {
			if s.key == key {
				return s
			}
		}
	}
	return nil
}

// set is find, and begins to know it.
func (e *entry) set(q want) *scoped {
	if s := e.find(q.key); s != nil {
		return s
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.find(q.key); s != nil {
		return s
	}
	var more []*scoped
	if old := e.more.Load(); old != nil {
		more = slices.Clone(*old)
	}
	if len(more) >= maxScopeSets {
		more = more[1:]
	}
	s := &scoped{key: q.key, scopes: slices.Clone(q.scopes)}
	more = append(more, s)
	e.more.Store(&more)
	return s
}

// sets calls f for each set of scopes, the provider's own first, until f
// returns false.
func (e *entry) sets(f func(*scoped) bool) {
	if !f(&e.scoped) {
		return
	}
	if more := e.more.Load(); more != nil {
		for _, s := range *more {
			if !f(s) {
				return
			}
		}
	}
}

// lastUsed is when a token of any scopes was last asked for, in Unix nanoseconds.
func (e *entry) lastUsed() (at int64) {
	e.sets(func(s *scoped) bool { at = max(at, s.used.Load()); return true })
	return at
}

// refused reports whether the last answer was that a human is needed.
func (s *scoped) refused() bool { return s.lastErr != nil && s.lastErr.Class == authserver.ClassReauth }

// forget drops what the set has failed with.
func (s *scoped) forget() {
	s.lastErr, s.blockUntil, s.failures, s.failedSeed = nil, time.Time{}, 0, ""
	s.refusals, s.askAfter, s.failedUnder = 0, time.Time{}, nil
}
