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

// Package store is the directory of a spool: a file each message, in shards, within
// bounds, durable when Commit says so; and the Keeper, which copies a body while
// nothing says yet whether it is needed. It knows no queue and no time of delivery.
// Nothing of it outlives the spool. It imports internal/seal and the rooms beside it.
package store

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
)

// TestClaim holds that two spools of one configuration have no directory together, that
// another configuration's may have it, and that nothing is remembered of one that is
// over.
func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, end := context.WithCancel(t.Context())
		next, endNext := context.WithCancel(t.Context())
		for _, err := range []error{Claim(now, "/a", "one"), Claim(now, "/b", "two"), Claim(next, "/a", "other")} {
			if err != nil {
				t.Error(err)
			}
		}
		if err := Claim(now, "/a", "three"); err == nil || !strings.Contains(err.Error(), "'one'") {
			t.Errorf("a directory that is taken: %v", err)
		}
		end()
		synctest.Wait()
		if err := Claim(next, "/a", "three"); err == nil {
			t.Error("the end of one configuration gives back another's")
		}
		endNext()
		synctest.Wait()
		claims.Lock()
		defer claims.Unlock()
		if len(claims.of) > 0 {
			t.Errorf("%d configurations are remembered", len(claims.of))
		}
	})
}
