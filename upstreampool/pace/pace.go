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

package pace

import (
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Pace of what adapts to the provider's refusals.
const (
	redialPause   = time.Second      // first pause after a failed dial or login
	connectCap    = 10 * time.Second // longest pause after connect failures
	loginCap      = 5 * time.Minute  // longest pause after refused logins
	raisePause    = time.Minute      // first pause before a lowered concurrency rises by one
	raiseCap      = 10 * time.Minute
	forgetRefusal = time.Minute // how long a refusal explains a wait
)

// Pace is what an account learned from the provider: how many connections
// it gets, and how long to leave it alone after a refused login. It recovers by
// itself, and says nothing about any other account.
type Pace struct {
	max     int
	lowered int // 0: not lowered
	raiseAt int64
	pause   time.Duration // between raises

	failures int // dials that failed in a row
	dialAt   int64
	refused  *relay.Reply // of a login, while dialAt is ahead
	last     *relay.Reply
	lastAt   int64
}

// Configure sets the number of connections that the limits allow.
func (p *Pace) Configure(limit int) { p.max = limit }

// Forgive forgets everything: the credentials are others.
func (p *Pace) Forgive() { *p = Pace{max: p.max} }

// Limit returns the number of connections that the account may have now.
func (p *Pace) Limit(now int64) int {
	for p.lowered > 0 && now >= p.raiseAt {
		p.lowered++
		p.raiseAt += int64(p.pause)
		if p.lowered >= p.max {
			p.lowered, p.pause = 0, 0
		}
	}
	if p.lowered > 0 {
		return min(p.lowered, p.max)
	}
	return p.max
}

// Lower says that the provider refused a connection while n others were open.
func (p *Pace) Lower(n int, now int64) {
	p.lowered = max(1, min(n, p.max))
	p.pause = min(max(raisePause, 2*p.pause), raiseCap)
	p.raiseAt = now + int64(p.pause)
}

// RecoversAt returns when limit rises next, 0 for never.
func (p *Pace) RecoversAt(now int64) int64 {
	if p.lowered == 0 || p.raiseAt <= now {
		return 0
	}
	return p.raiseAt
}

// NextDial returns the earliest time of the next dial.
func (p *Pace) NextDial(now int64) int64 { return max(p.dialAt, now) }

// Refusal returns the reply for messages that would need a login while logins
// have to wait, or nil.
func (p *Pace) Refusal(now int64) *relay.Reply {
	if p.refused != nil && now < p.dialAt {
		return p.refused
	}
	return nil
}

// LastReply returns what went wrong lately, or nil.
func (p *Pace) LastReply(now int64) *relay.Reply {
	if p.last != nil && now < p.lastAt+int64(forgetRefusal) {
		return p.last
	}
	return nil
}

// Dialed notes a success. Pauses shrink instead of vanishing, so that a provider
// that refuses every other login is not met at full pace again.
func (p *Pace) Dialed(int64) {
	p.failures /= 2
	p.dialAt, p.refused, p.last = 0, nil, nil
}

// Failed notes a failed dial while n connections are open.
func (p *Pace) Failed(err *smtpclient.Error, n int, now int64) {
	p.last, p.lastAt = err.Reply, now
	if err.Class == smtpclient.FailToken || err.Class == smtpclient.FailLimits {
		// The source of tokens keeps a pace of its own, and knows at
		// once when a human has consented. So does who lends connections.
		return
	}
	limit := connectCap
	switch err.Class {
	case smtpclient.FailBusy:
		p.Lower(n, now)
	case smtpclient.FailLogin, smtpclient.FailThrottled:
		limit = loginCap
	}
	pause := min(redialPause<<min(p.failures, 16), limit)
	p.failures++
	p.dialAt = now + int64(pause)
	p.refused = nil
	switch err.Class {
	case smtpclient.FailConnect, smtpclient.FailDown:
		// Whether the next message is worth a dial is the breaker's
		// decision unless other connections can carry it.
		if n == 0 {
			p.dialAt = 0
		}
	case smtpclient.FailLost:
		// Not a refusal: the next message waits for its turn.
	default:
		p.refused = err.Reply
	}
}

func (p *Pace) Calm(now int64) bool {
	return p.Limit(now) == p.max && now >= p.dialAt && p.failures <= 1
}
