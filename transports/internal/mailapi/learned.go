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

package mailapi

import "time"

// strikes is what Answer.Strikes says.
func (p *place) strikes() int {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.b.forgive(time.Now())
	return p.b.strikes
}

// forgive forgets what was asked long ago: a mailbox that sent nothing since has not
// shown that the wait was too short. The caller holds the lock.
func (b *box) forgive(now time.Time) {
	if now.Sub(b.held) > maxDoubled {
		b.strikes = 0
	}
}

// standing takes note of an answer that tells how the mailbox stands.
func (p *place) standing(v Verdict) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	switch {
	case v.Outcome.Mailbox:
		p.b.refused = v.Reply.Error()
	case v.Outcome.Sent:
		p.b.refused = ""
	}
}

// learn takes note of what an answer says of the mailbox.
func (p *place) learn(out Outcome) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	now := time.Now()
	switch {
	case out.Sent:
		p.b.strikes = 0
	case out.Strike && !p.b.held.After(now):
		// Requests that were under way together are refused together.
		p.b.forgive(now)
		p.b.strikes++
	}
	if out.Hold > 0 {
		held := &p.b.held
		if out.HoldAll {
			held = &p.l.held
		}
		if until := now.Add(out.Hold); until.After(*held) {
			*held = until
		}
	}
}
