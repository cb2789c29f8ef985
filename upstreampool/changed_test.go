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
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// read is an account as a source reads it.
func read(t *testing.T, name, secret string, mod ...func(*accounts.Record)) *accounts.Account {
	t.Helper()
	r := accounts.Record{Name: name, Secret: secret, Upstream: "x"}
	for _, m := range mod {
		m(&r)
	}
	a, err := accounts.Compile(r, "test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestRecordOfBefore has a message come with the record that an account had before
// its credentials were changed: it does not bring them back.
func TestRecordOfBefore(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p))
	before, after := read(t, "a@a.test", "old-secret"), read(t, "a@a.test", "new-secret")
	for i, a := range []*accounts.Account{before, after, before, after, before} {
		if err := deliver(u, a, "x"); err != nil {
			t.Fatal(err)
		}
		if want := min(i+1, 2); p.dialed() != want {
			t.Errorf("message %d: %d logins, want %d", i, p.dialed(), want)
		}
	}
	for i, m := range p.got() {
		if i > 0 && !strings.HasSuffix(m.user, b64("\x00a@a.test\x00new-secret")) {
			t.Errorf("message %d left with %q", i, m.user)
		}
	}
}

// TestAccountsFollowed holds that no connection stays open that no account may use:
// idle ones are closed at once, one that carries a message behind it.
func TestAccountsFollowed(t *testing.T) {
	type lookup = func(string) (*accounts.Account, bool)
	one := read(t, "one@a.test", "s", func(r *accounts.Record) { r.Mailbox = "box@a.test" })
	two := read(t, "two@a.test", "s", func(r *accounts.Record) { r.Mailbox = "box@a.test" })
	as := func(m func(*accounts.Record)) lookup {
		return func(name string) (*accounts.Account, bool) {
			if name == one.Name {
				return read(t, name, "s", func(r *accounts.Record) { r.Mailbox = "box@a.test" }, m), true
			}
			return nil, true
		}
	}
	for name, tc := range map[string]struct {
		known  lookup
		stays  bool
		shares bool
		again  bool // what is opened behind the change stays
	}{
		"unchanged":      {known: as(func(*accounts.Record) {}), stays: true},
		"removed":        {known: func(string) (*accounts.Account, bool) { return nil, true }},
		"not known":      {known: func(string) (*accounts.Account, bool) { return nil, false }, stays: true},
		"paused":         {known: as(func(r *accounts.Record) { r.Paused = true })},
		"other password": {known: as(func(r *accounts.Record) { r.Secret = "other" }), again: true},
		"other mailbox":  {known: as(func(r *accounts.Record) { r.Mailbox = "another@a.test" })},
		"other upstream": {known: as(func(r *accounts.Record) { r.Upstream = "y" })},
		"removed, shared": {known: func(name string) (*accounts.Account, bool) {
			return map[string]*accounts.Account{two.Name: two}[name], true
		}, shares: true, stays: true},
		"other source_ip":  {known: as(func(r *accounts.Record) { r.SourceIP = "127.0.0.1" }), again: true},
		"limits, not more": {known: as(func(r *accounts.Record) { r.Limits = &accounts.Limits{MaxConns: 1} }), stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			u := start(t, testSettings(t, p))
			follow := func() { u.eachPool(func(p *pool) { p.follow(tc.known) }) }
			if tc.shares {
				if err := deliver(u, two, "x"); err != nil {
					t.Fatal(err)
				}
			}
			if err := deliver(u, one, "x"); err != nil {
				t.Fatal(err)
			}
			check := func(what string) {
				t.Helper()
				if tc.stays {
					if n := u.count(); n.Idle != 1 || p.count("QUIT") != 0 {
						t.Errorf("%s: connections %+v, %d times QUIT", what, n, p.count("QUIT"))
					}
					return
				}
				for deadline := time.Now().Add(10 * time.Second); u.conns.Load() > 0; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("%s: connections %+v", what, u.count())
					}
				}
			}
			follow()
			check("idle")
			// And while a message is under way.
			a := one
			if tc.again {
				a, _ = tc.known(one.Name)
			}
			tx, err := u.begin(t.Context(), a, "from@a.test", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Rcpt(t.Context(), "to@b.test", nil); err != nil {
				t.Fatal(err)
			}
			follow()
			if _, err := tx.Data(t.Context(), strings.NewReader("x")); err != nil {
				t.Error(err)
			}
			if tc.again {
				if n := u.count(); n.Idle != 1 {
					t.Errorf("behind the change: connections %+v", n)
				}
				return
			}
			check("busy")
			if len(p.got()) < 2 {
				t.Errorf("%d messages", len(p.got()))
			}
		})
	}
}
