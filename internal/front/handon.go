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

package front

import "sync/atomic"

// handsOn reports whether sessions are sent to other nodes. It is the process's:
// a reload changes nothing about it.
var handsOn atomic.Bool

// HandsOn reports whether sessions are sent to other nodes.
func HandsOn() bool { return handsOn.Load() }

// HandOn ends the sessions of all servers at their next boundary, idle ones at
// once, and those that come later when they begin. It lasts until it is called
// with false, or the process ends. It reports whether that is a change.
func HandOn(on bool, servers []*Attachment) (changed bool) {
	changed = handsOn.Swap(on) != on
	if !on {
		return changed
	}
	for _, at := range servers {
		for _, s := range at.Sessions() {
			s.Drain()
		}
	}
	return changed
}
