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
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// warmPause is how long a token that was asked for ahead stays asked for.
const warmPause = 30 * time.Second

// warm fetches the token that the account's next connection will need. It is
// called at each login and costs nothing where connections are open already.
func (u *upstream) warm(a *accounts.Account) {
	s := u.current.Load()
	if s == nil || !s.OAuth() {
		return
	}
	ac := u.account(a, s)
	if !ac.warmable(clock()) || !u.dialer.Warm(&s.Settings, ac.credentials(), ac.done) {
		ac.done() // the message itself will fetch it
	}
}

// warmable reports whether a token has to be fetched, and notes that it is.
func (p *pool) warmable(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns > 0 || p.warmedAt != 0 && now-p.warmedAt < int64(warmPause) {
		return false
	}
	p.warmedAt = now
	return true
}
