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

import "slices"

// ConnCounts are numbers of connections by state.
type ConnCounts struct {
	Idle    int `json:"idle"`
	Busy    int `json:"busy"`
	Opening int `json:"opening"`
}

// live returns the upstreams that are configured or have connections, in the
// order of their names.
func live() []*upstream {
	upstreamsMu.Lock()
	defer upstreamsMu.Unlock()
	list := make([]*upstream, 0, len(upstreams))
	for _, u := range upstreams {
		if u.current.Load() != nil || u.conns.Load() > 0 {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b *upstream) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return list
}

func (u *upstream) count() ConnCounts {
	var n ConnCounts
	u.eachAccount(func(ac *account) {
		ac.mu.Lock()
		n.Idle += ac.nIdle
		n.Opening += ac.dialing
		n.Busy += ac.conns - ac.nIdle - ac.dialing
		ac.mu.Unlock()
	})
	return n
}
