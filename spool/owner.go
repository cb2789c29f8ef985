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
	"cmp"
	"fmt"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
)

// mailboxOf is whose mail an account sends.
func mailboxOf(a *accounts.Account) string { return cmp.Or(a.Mailbox, a.Name) }

// disowned returns why a message, or a report about it, must not leave as its
// account: a name that was given to another mailbox gets none of the old one's mail.
func (e *engine) disowned(t *Transport, m *message) (why string) {
	a, ok := t.account(m.env.Account)
	if !ok {
		return ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := mailboxOf(a); m.mailbox != "" && !strings.EqualFold(m.mailbox, now) {
		return fmt.Sprintf("it is mail of mailbox '%s', and account '%s' has mailbox '%s' now: a release sends it as that", m.mailbox, m.env.Account, now)
	}
	return ""
}

// mailboxNow is whose mail a message's account sends now; empty if it is not there.
func (e *engine) mailboxNow(m *message) string {
	t, ok := e.gens.Current()
	if !ok {
		return ""
	}
	a, ok := t.account(m.env.Account)
	if !ok {
		return ""
	}
	return mailboxOf(a)
}
