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

import "github.com/caddymail/mailgateway/relay"

// Wanted implements relay.Holder: others of the mailbox wait for a connection,
// or others of the upstream do and no more may be opened, or the provider has
// closed this one.
func (t *transaction) Wanted() bool {
	if t.done || t.c == nil {
		return false
	}
	// Within the body replies to chunks may be there already.
	if t.mailed && !t.inBody && !t.c.Silent() {
		return true
	}
	t.ac.mu.Lock()
	waiting := t.ac.nWait > 0
	t.ac.mu.Unlock()
	return waiting || t.up.nStarved.Load() > 0
}

// Interface guards
var _ relay.Holder = (*transaction)(nil)
