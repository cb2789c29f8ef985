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
	"io"
	"testing"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// holding is a transaction of which only Wanted is used.
type holding struct {
	relay.Transaction
	wanted bool
}

func (h *holding) Wanted() bool { return h.wanted }

// watched is a body of which only Watch is used.
type watched struct {
	io.Reader
	h relay.Holder
}

func (w *watched) Watch(h relay.Holder) { w.h = h }

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
	body, h := new(watched), new(holding)
	relay.Watch(keptBody{store.NewKeeper(nil, nil, body), body}, h)
	if body.h != relay.Holder(h) {
		t.Error("the body is not told what is held")
	}
}
