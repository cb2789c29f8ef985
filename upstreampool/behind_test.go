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
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// TestBehind holds that what no client waits for lets pass what a client waits
// for, and is in order among itself.
func TestBehind(t *testing.T) {
	for _, tc := range []struct{ came, served string }{
		{"abc", "abc"},
		{"Aa", "aA"},
		{"ABab", "abAB"},
		{"aAbBc", "abcAB"},
		{"A", "A"},
	} {
		p := new(pool)
		names := make(map[*waiter]rune)
		for _, name := range tc.came {
			w := &waiter{behind: name < 'a'}
			names[w] = name
			p.enqueue(w, false)
		}
		if p.nWait != len(tc.came) {
			t.Errorf("%s: %d wait", tc.came, p.nWait)
		}
		var forth, back []rune
		for w := p.waitHead; w != nil; w = w.next {
			forth = append(forth, names[w])
		}
		for w := p.waitTail; w != nil; w = w.prev {
			back = append(back, names[w])
		}
		slices.Reverse(back)
		if string(forth) != tc.served || string(back) != tc.served {
			t.Errorf("%s are served as %s, and from behind as %s; want %s", tc.came, string(forth), string(back), tc.served)
		}
	}
}

// TestBehindTakesNoSlot holds that what no client waits for does not queue for a
// limit, where it would take the slot of a client's message: it hears when to come
// back.
func TestBehindTakesNoSlot(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p, func(st *SMTPTransport) {
		st.RatePerAccount = accounts.Rate{Count: 1, Per: 10 * time.Minute}
		st.MaxWait = caddy.Duration(time.Hour)
	}))
	a := testAccount("a@example.com")
	if err := deliver(u, a, "text\r\n", "to@example.org"); err != nil {
		t.Fatal(err)
	}
	_, err := u.begin(relay.Behind(context.Background()), a, "a@example.com", nil)
	reply, ok := errors.AsType[*relay.Reply](err)
	if !ok || !reply.Temporary() || reply.After < time.Minute {
		t.Errorf("with the rate used up: %v, to come back after %v", err, reply.After)
	}
}

// TestBehindStores holds that what no client waits for waits for its count to be stored,
// which takes nothing from others, where nothing else of the account was sent before, or
// not lately.
func TestBehindStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := quotaUpstream(t, &memory{files: make(map[string][]byte)}, 100)
		defer endUpstream(u)
		for i := range 3 {
			ac, c, _, err := u.acquire(relay.Behind(context.Background()), testAccount("a@example.com"), false)
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			ac.release(c, usage{sent: true, rcpts: 1}, true)
			time.Sleep(6 * time.Hour)
		}
	})
}

// TestMaxWaitOfCaller holds that a caller may wait for less than the upstream's
// max_wait, for a slot and for a connection.
func TestMaxWaitOfCaller(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p, func(st *SMTPTransport) {
		st.MaxConnsPerAccount = 1
		st.MaxWait = caddy.Duration(time.Hour)
	}))
	a := testAccount("a@example.com")
	held, err := u.begin(context.Background(), a, "a@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Abort()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tx, err := u.begin(relay.WithMaxWait(ctx, 10*time.Millisecond), a, "a@example.com", nil)
	if err == nil {
		tx.Abort()
		t.Fatal("a second connection where one is allowed")
	}
	if ctx.Err() != nil || !errors.Is(err, relay.ReplyNoConnection) {
		t.Errorf("without a connection: %v after %v", err, ctx.Err())
	}
}
