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

import "github.com/caddymail/mailgateway/accounts/password"

// Login is an account with what proved that a client may use it.
type Login struct {
	*Account
	// Credential is what let the client in.
	Credential Credential
}

// Credential is what a session that logged in is bound to: the account as it
// was, and the password's hash. The zero value is bound to
// nothing and holds for no account.
type Credential struct {
	identity identity
	hash     *password.Hash // nil if no password was asked for
}

// identity is whose record it is. It stays while the record is edited, but for
// another mailbox: that is another owner. A record that was removed and made
// anew is another one too, whatever it says.
type identity struct {
	key, mailbox string
	born         uint64
}

func (a *Account) identity() identity {
	return identity{key: a.Key(), mailbox: a.Mailbox, born: a.born.Load()}
}

// Trusted returns the credential of a client that sends as the account without
// a password: a certificate or a network says so, and the caller sees to it
// that this still holds.
func (a *Account) Trusted() Credential { return Credential{identity: a.identity()} }

func (a *Account) credential(h *password.Hash) Credential {
	return Credential{identity: a.identity(), hash: h}
}

// Holds reports whether the credential still opens the account: the record is
// the same owner's, and the password that was given is still one of it. It
// says nothing of whether the account is paused.
func (c Credential) Holds(a *Account) bool {
	if c.identity != a.identity() {
		return false
	}
	if c.hash == nil {
		return c.identity.key != ""
	}
	for _, h := range a.hashes {
		if h.Same(c.hash) {
			return true
		}
	}
	return false
}
