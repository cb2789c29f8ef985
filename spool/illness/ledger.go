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

package illness

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// Why messages are held, or what is in these reasons: by that they are told apart. They
// stand in journals, those of earlier versions too.
const (
	WhyOperator  = "held by an operator"
	WhyPoison    = "the process has died three times while it was sent, or reported"
	WhyUnwritten = "and its file cannot be written"
	WhyOwner     = "has mailbox "
)

// HeldAs sorts such a reason.
func HeldAs(why string) string {
	switch {
	case why == WhyOperator:
		return HeldByOperator
	case why == WhyPoison:
		return HeldPoison
	case strings.HasSuffix(why, WhyUnwritten):
		return HeldUnwritten
	case strings.Contains(why, WhyOwner):
		return HeldOwner
	}
	return HeldDamaged
}

const (
	gaveUpFor = time.Hour      // that an account's mail was given up
	untoldFor = 24 * time.Hour // that nobody was told
)

// Ledger remembers what befell the mail of accounts, for as long as the process runs.
type Ledger struct {
	mu     sync.Mutex
	gaveUp map[string]time.Time
	untold map[string]untold
}

// untold is the last failed message of an account of which no mail could tell.
type untold struct {
	at  time.Time
	to  string // the address that was to be told; empty: none may be
	why string
}

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{gaveUp: make(map[string]time.Time), untold: make(map[string]untold)}
}

// GaveUp notes that a message was given up.
func (l *Ledger) GaveUp(account string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gaveUp[account] = at
}

// Untold notes that a message failed and that no mail tells of it: none reached this
// address, or, where it is empty, none may be sent.
func (l *Ledger) Untold(account, to, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.untold[account] = untold{time.Now(), to, why}
}

// Told notes that a report of the account was delivered.
func (l *Ledger) Told(account string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.untold[account].to != "" {
		delete(l.untold, account)
	}
}

// Recent forgets what is over and returns the accounts that a message was given up of
// lately. The function returns the address that is told of an account's failed mail now;
// empty if none is configured.
func (l *Ledger) Recent(f *Facts, now time.Time, reports func(account string) string) map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.GaveUp, f.Untold = make(map[string]GivenUpMail), make(map[string]UntoldMail)
	maps.DeleteFunc(l.gaveUp, func(_ string, at time.Time) bool { return now.Sub(at) > gaveUpFor })
	maps.DeleteFunc(l.untold, func(account string, u untold) bool {
		// Who was not reached is no longer who is told: what was wrong is mended.
		to := reports(account)
		return now.Sub(u.at) > untoldFor || u.to != "" && to != "" && to != u.to
	})
	for account, at := range l.gaveUp {
		f.GaveUp[account] = GivenUpMail{at, reports(account) != ""}
	}
	for account, u := range l.untold {
		f.Untold[account] = UntoldMail{u.at, u.why}
	}
	return maps.Clone(l.gaveUp)
}
