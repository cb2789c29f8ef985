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

package store

import (
	"testing"
	"time"
)

// TestIDsGoOn holds that an id is behind all that were met, though the host's clock was
// set back since, and that no id of no time keeps others from being made.
func TestIDsGoOn(t *testing.T) {
	was := lastID.Load()
	defer lastID.Store(was)
	ahead := NewID(time.Now().Add(24 * time.Hour))
	lastID.Store(0) // another process
	passID(ahead)
	for range 3 {
		if id := NewID(time.Now()); id <= ahead {
			t.Errorf("%s does not come behind %s", id, ahead)
		} else {
			ahead = id
		}
	}
	for _, id := range []string{"ffffffffffffffffffffffff", "gggggggggggggggggggggggg"} {
		passID(id)
		if next := NewID(time.Now()); next <= ahead || next > "08" {
			t.Errorf("after %s: %s", id, next)
		}
	}
}
