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

package tokenstore

import (
	"slices"
	"time"
)

// Merge makes one record of the mailbox's and of an account's. The consent that is the
// less promising is kept as a spare.
func Merge(have, old *Record, account string) *Record {
	if have.RefreshToken == "" || have.RefreshToken == old.RefreshToken && old.Seq > have.Seq {
		n := old.Clone()
		n.Seeds = JoinSeeds(have.Seeds, n.Seeds)
		return n
	}
	if old.RefreshToken == "" || old.RefreshToken == have.RefreshToken {
		n := have.Clone()
		n.Seeds = JoinSeeds(old.Seeds, n.Seeds)
		return n
	}
	use, other, from := have, old, account
	if better(old, have) {
		use, other, from = old, have, have.Subject
	}
	n := use.Clone()
	n.Spares = append(n.Spares, Spare{Account: from, ClientID: other.ClientID, RefreshToken: other.RefreshToken, Seeds: other.Seeds})
	// The other's seeds are no new consent when its account shows them.
	n.Seeds = JoinSeeds(other.Seeds, n.Seeds)
	return n
}

// better reports whether a's consent is the more promising one.
func better(a, b *Record) bool {
	if (a.Failed == nil) != (b.Failed == nil) {
		return a.Failed == nil
	}
	at := func(r *Record) time.Time {
		if r.LastRefresh.After(r.Consent) {
			return r.LastRefresh
		}
		return r.Consent
	}
	return at(a).After(at(b))
}

// JoinSeeds puts older fingerprints before those that count.
func JoinSeeds(older, newer []string) []string {
	out := slices.DeleteFunc(slices.Clone(older), func(fp string) bool { return slices.Contains(newer, fp) })
	out = append(out, newer...)
	if len(out) > MaxSeeds {
		out = out[len(out)-MaxSeeds:]
	}
	return out
}
