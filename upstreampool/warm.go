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
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// warmPause is how long a token that was asked for ahead stays asked for.
const warmPause = 30 * time.Second

// warm fetches the token that the account's next connection will need. It is
// called at each login and costs nothing where connections are open already.
func (u *upstream) warm(a *accounts.Account) {
	s := u.current.Load()
	if s == nil || !s.oauth() {
		return
	}
	ac := u.account(a, s)
	now := clock()
	skip := ac.conns > 0 || ac.warmedAt != 0 && now-ac.warmedAt < int64(warmPause)
	if !skip {
		ac.warmedAt = now
	}
	id := ac.id
	ac.mu.Unlock()
	if skip {
		return
	}
	select {
	case u.warming <- struct{}{}:
		go func() {
			defer func() { <-u.warming }()
			_, _ = fetchToken(context.Background(), s, id, s.tokens.Token) // whoever needs it will hear of a failure
			u.forget(ac)
		}()
	default: // the message itself will fetch it
	}
}
