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

package spool

import (
	"testing"

	"github.com/caddymail/mailgateway/relay"
)

// holding is a transaction of which only Wanted is used.
type holding struct {
	relay.Transaction
	wanted bool
}

func (h *holding) Wanted() bool { return h.wanted }

// TestWantedBehind holds that what others wait for behind the spool ends a client
// that does nothing, as it does without a spool.
func TestWantedBehind(t *testing.T) {
	for _, want := range []bool{true, false} {
		var tx relay.Transaction = &transaction{tx: &holding{wanted: want}}
		if h, ok := tx.(relay.Holder); !ok || h.Wanted() != want {
			t.Errorf("wanted behind the spool: %t", want)
		}
	}
	if (&transaction{}).Wanted() {
		t.Error("a message that is kept holds nothing")
	}
}
