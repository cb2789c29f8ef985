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

package accounts

import (
	"testing"

	"github.com/caddymail/mailgateway/accounts/password"
)

// TestCredential changes an account after a login: the login holds exactly as
// long as the record is the same owner's and has the password that was given.
func TestCredential(t *testing.T) {
	one, two := bcryptHash(t, "one"), argonHash(t, "two", 64, 1)
	_, generated := password.Generate()
	record := Record{Name: "a@example.com", Mailbox: "a@example.com", PasswordHashes: []string{one, two, generated}}
	for name, tc := range map[string]struct {
		change func(x *Index)
		holds  bool
	}{
		"nothing": {func(*Index) {}, true},
		"read again": {func(x *Index) {
			x.Replace([]*Account{mustCompile(t, record)})
		}, true},
		"other fields": {func(x *Index) {
			r := record
			r.Senders, r.Upstream, r.PasswordHashes = []string{"*@example.com"}, "other", []string{two, generated}
			x.Set(mustCompile(t, r))
		}, true},
		"a password more": {func(x *Index) {
			r := record
			r.PasswordHashes = append([]string{bcryptHash(t, "new")}, record.PasswordHashes...)
			x.Set(mustCompile(t, r))
		}, true},
		"its password gone": {func(x *Index) {
			r := record
			r.PasswordHashes = []string{one, generated}
			x.Set(mustCompile(t, r))
		}, false},
		"no password": {func(x *Index) {
			r := record
			r.PasswordHashes = nil
			x.Set(mustCompile(t, r))
		}, false},
		"another mailbox": {func(x *Index) {
			r := record
			r.Mailbox = "bob@example.com"
			x.Set(mustCompile(t, r))
		}, false},
		"removed and made anew": {func(x *Index) {
			x.Delete(record.Name)
			x.Set(mustCompile(t, record))
		}, false},
		"removed and made anew by a file": {func(x *Index) {
			x.Replace(nil)
			x.Replace([]*Account{mustCompile(t, record)})
		}, false},
		"others come": {func(x *Index) {
			for i := range 100 {
				r := record
				r.Name = "other" + string(rune('a'+i%26)) + string(rune('a'+i/26))
				x.Set(mustCompile(t, r))
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, record)
			d := NewDirectory([]Source{m}, nil)
			for range 2 { // the second one out of the cache
				login, err := d.Authenticate(t.Context(), "A@example.com", "two")
				if err != nil {
					t.Fatal(err)
				}
				if !login.Credential.Holds(login.Account) {
					t.Error("does not hold at once")
				}
			}
			login, err := d.Authenticate(t.Context(), "a@example.com", "two")
			if err != nil {
				t.Fatal(err)
			}
			tc.change(&m.index)
			now, ok := d.Lookup("a@example.com")
			if !ok {
				t.Fatal("no such account")
			}
			if got := login.Credential.Holds(now); got != tc.holds {
				t.Errorf("holds %v, want %v", got, tc.holds)
			}
			if trusted := login.Trusted(); trusted.Holds(now) != (tc.holds || name == "its password gone" || name == "no password") {
				t.Errorf("without a password: holds %v", trusted.Holds(now))
			}
			if (Credential{}).Holds(now) {
				t.Error("the zero credential holds")
			}
		})
	}
}
