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

import (
	"slices"
	"strings"
)

// Filter narrows List. An empty field matches every account.
type Filter struct {
	// State is `active` or `paused`.
	State string
	// Upstream is the upstream's name.
	Upstream string
	// Label is `KEY`, which matches any value, or `KEY=VALUE`.
	Label string
	// Source is what Account.Source says, or its first word.
	Source string
	// Match is asked for whatever the other fields let through.
	Match func(*Account) bool
}

func (f *Filter) matches(a *Account) bool {
	switch f.State {
	case "":
	case "paused":
		if !a.Paused {
			return false
		}
	case "active":
		if a.Paused {
			return false
		}
	default:
		return false
	}
	if f.Upstream != "" && a.Upstream != f.Upstream {
		return false
	}
	if f.Label != "" {
		key, value, exact := strings.Cut(f.Label, "=")
		v, ok := a.Labels[key]
		if !ok || exact && v != value {
			return false
		}
	}
	if f.Source != "" && a.Source != f.Source && !strings.HasPrefix(a.Source, f.Source+" ") {
		return false
	}
	return f.Match == nil || f.Match(a)
}

// List returns up to limit accounts in the order of their folded names, from
// the one that follows the name after. next is to be the next page's after; it
// is empty on the last page. A limit of 0 or less means no limit. Pages hold
// together while accounts come and go: what is there all the time is listed
// once.
func (d *Directory) List(f Filter, after string, limit int) (page []*Account, next string) {
	lists := make([][]*Account, len(d.indexes))
	after = FoldName(after)
	for i, x := range d.indexes {
		all := x.All()
		if after != "" {
			n, found := slices.BinarySearchFunc(all, after, func(a *Account, name string) int {
				return strings.Compare(a.Key(), name)
			})
			if found {
				n++
			}
			all = all[n:]
		}
		lists[i] = all
	}
	for {
		// The least name of all sources, the first source's account
		// for it.
		var a *Account
		for _, l := range lists {
			if len(l) > 0 && (a == nil || l[0].Key() < a.Key()) {
				a = l[0]
			}
		}
		if a == nil {
			return page, ""
		}
		for i, l := range lists {
			if len(l) > 0 && l[0].Key() == a.Key() {
				lists[i] = l[1:]
			}
		}
		if !f.matches(a) {
			continue
		}
		if limit > 0 && len(page) == limit {
			return page, page[limit-1].Name
		}
		page = append(page, a)
	}
}
