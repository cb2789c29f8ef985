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
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/spool/illness"
)

// mailboxOf is whose mail an account sends.
func mailboxOf(a *accounts.Account) string { return cmp.Or(a.Mailbox, a.Name) }

// disowned returns why a message, or a report about it, must not leave as its
// account: a name that was given to another mailbox gets none of the old one's mail.
// What was kept when the mailbox was not noted is the account's own where its sender,
// a report's, or the account's name says so.
func (e *engine) disowned(t *Transport, m *message) (why string) {
	a, ok := t.account(m.env.Account)
	if !ok {
		return ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now, owners, whose := mailboxOf(a), []string{m.mailbox}, fmt.Sprintf("it is mail of mailbox '%s'", m.mailbox)
	if m.mailbox == "" {
		owners, whose = []string{m.env.From, m.env.Fallback, m.env.Account}, "its file does not say which mailbox's mail it is"
	}
	if slices.ContainsFunc(owners, func(owner string) bool { return strings.EqualFold(owner, now) }) {
		return ""
	}
	return fmt.Sprintf("%s, and account '%s' %s'%s' now: a release sends it as that", whose, m.env.Account, illness.WhyOwner, now)
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
