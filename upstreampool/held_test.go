// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package upstreampool

import (
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// TestHeldConnection asks transactions whose clients do nothing whether others
// need what they hold.
func TestHeldConnection(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p, func(tr *SMTPTransport) { tr.MaxConnsPerAccount = 1 }))
	begin := func(a *accounts.Account) *transaction {
		tx, err := u.begin(t.Context(), a, "a@b.test", nil)
		if err == nil {
			err = tx.Rcpt(t.Context(), "c@d.test", nil)
		}
		if err != nil {
			t.Error(err)
		}
		return tx
	}
	await := func(tx relay.Holder, want bool) {
		t.Helper()
		for i := 0; tx.Wanted() != want; i++ {
			if i == 10_000 {
				t.Fatalf("wanted is %v for ten seconds, want %v", !want, want)
			}
			time.Sleep(time.Millisecond) // nothing says that another waits
		}
	}
	a := testAccount("a@example.com")
	held := begin(a)
	if held.Wanted() {
		t.Error("nobody waits, and the provider is there")
	}
	second := make(chan *transaction)
	go func() { second <- begin(a) }()
	await(held, true)
	held.Abort()
	tx := <-second
	await(tx, false)
	p.dropAll()
	await(tx, true)
	tx.Abort()
	if tx.Wanted() {
		t.Error("a transaction that is over holds something")
	}
}
