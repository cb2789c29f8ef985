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

package choice

import (
	"strings"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

const (
	// closedFor is how long a closed way is not tried: an administrator may
	// open it.
	closedFor = time.Hour
	// maxFacts bounds what is remembered.
	maxFacts = 100_000
)

// closings are what providers say where a way is closed to a mailbox, whatever
// credentials it has, in lower case. Microsoft adds "for the Mailbox" or "for
// the Tenant"
// (https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission).
var closings = []string{
	"smtpclientauthentication is disabled",
}

// closing reports whether a refusal says that the way is closed.
func closing(said string) bool {
	said = strings.ToLower(said)
	for _, c := range closings {
		if strings.Contains(said, c) {
			return true
		}
	}
	return false
}

// fact is that an upstream is closed to a mailbox.
type fact struct {
	said  string
	until time.Time
}

// facts are those of this process.
var facts = struct {
	sync.Mutex
	closed map[string]fact
}{closed: make(map[string]fact)}

func factKey(upstream string, a *accounts.Account) string {
	box := a.Mailbox
	if box == "" {
		box = a.Name
	}
	return upstream + "\x00" + strings.ToLower(box)
}

// learn remembers that an upstream is closed to the mailbox, or that it is not.
func learn(upstream string, a *accounts.Account, said string, closed bool) {
	facts.Lock()
	defer facts.Unlock()
	key := factKey(upstream, a)
	if !closed {
		delete(facts.closed, key)
		return
	}
	now := time.Now()
	if len(facts.closed) >= maxFacts {
		for k, f := range facts.closed {
			if now.After(f.until) {
				delete(facts.closed, k)
			}
		}
		if len(facts.closed) >= maxFacts {
			return // the next message meets the refusal again
		}
	}
	facts.closed[key] = fact{said: said, until: now.Add(closedFor)}
}

// closed returns what an upstream said when it closed itself to the mailbox.
func closed(upstream string, a *accounts.Account) (string, bool) {
	facts.Lock()
	defer facts.Unlock()
	f, ok := facts.closed[factKey(upstream, a)]
	return f.said, ok && time.Now().Before(f.until)
}
