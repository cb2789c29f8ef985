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

package postgres

import "github.com/caddymail/mailgateway/limits"

// clock is what a node knows of the engine's: it is at least ours plus early, and at
// most ours plus late.
type clock struct {
	known       bool
	early, late int64
}

// hear notes that the engine's time was now at some time since one of ours. What
// says less than is known already need not replace it; it does if the two cannot
// both be true. Another engine has taken over then, and what it has stored must not
// be read by the other one's clock.
func (c *clock) hear(began, now int64, replace bool) clock {
	heard := clock{known: true, early: now - limits.Now(), late: now - began}
	if replace || !c.known || heard.early > c.late || heard.late < c.early || heard.late-heard.early < c.late-c.early {
		*c = heard
	}
	return *c
}

// hear notes the engine's time, which it said after one of ours.
func (n *node) hear(began, now int64, replace bool) clock {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clock.hear(began, now, replace)
}
