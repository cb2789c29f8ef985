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

// maxHidden bounds the hidden accounts that Problems reports, and the mailboxes
// whose accounts disagree.
const maxHidden = 100

// Problems are the records that are not in use, in the order of sources: the
// bad ones, and those that an earlier source has an account for. At the end are
// the accounts of one mailbox that have different refresh tokens.
func (d *Directory) Problems() []Problem {
	var all []Problem
	hidden := 0
	for i, s := range d.sources {
		all = append(all, s.Problems()...)
		if i == 0 || hidden > maxHidden {
			continue
		}
		for _, a := range d.indexes[i].All() {
			// Not Lookup: this must not read a storage ten thousand times.
			first, _, _ := d.get(a.Name)
			if first == nil || first == a || first.Source == a.Source {
				continue
			}
			if hidden++; hidden > maxHidden {
				all = append(all, Problem{Source: s.Name(), Message: "more accounts are hidden by those of earlier sources"})
				break
			}
			all = append(all, Problem{
				Source: s.Name(), Account: a.Name, Field: "name",
				Message: "hidden by the account of the same name from " + first.Source,
			})
		}
	}
	return append(all, d.seedProblems()...)
}

// seedProblems are accounts of one mailbox whose records have different refresh
// tokens. They share one grant, and the token that was set last counts for
// all of them: most likely the others are forgotten ones.
func (d *Directory) seedProblems() []Problem {
	type mailbox struct{ upstream, name string }
	first := make(map[mailbox]*Account)
	var all []Problem
	for _, x := range d.indexes {
		for _, a := range x.All() {
			if a.RefreshToken == "" {
				continue
			}
			if inUse, _, _ := d.get(a.Name); inUse != a {
				continue
			}
			m := mailbox{a.Upstream, FoldName(a.Mailbox)}
			f := first[m]
			switch {
			case f == nil:
				first[m] = a
			case f.RefreshToken == a.RefreshToken:
			case len(all) == maxHidden:
				return append(all, Problem{Source: a.Source, Message: "more accounts have another refresh token than others of their mailbox"})
			default:
				all = append(all, Problem{
					Source: a.Source, Account: a.Name, Field: "refresh_token",
					Message: "differs from that of account '" + f.Name + "', which has the same mailbox '" + a.Mailbox + "': accounts of one mailbox share one consent, and the token that was set last counts for all",
				})
			}
		}
	}
	return all
}
