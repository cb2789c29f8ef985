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
	breakerAfter  = 5 // connect failures in a row
	breakerPause  = time.Second
	breakerCap    = 30 * time.Second
	forgetRefusal = time.Minute // how long a refusal explains a wait
)

// adaptive is what an account learned from the provider: how many connections
// it gets, and how long to leave it alone after a refused login. It recovers by
// itself, and says nothing about any other account.
type adaptive struct {
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

func (d *adaptive) configure(limit int) { d.max = limit }

// forgive forgets everything: the credentials are others.
func (d *adaptive) forgive() { *d = adaptive{max: d.max} }

// limit returns the number of connections that the account may have now.
func (d *adaptive) limit(now int64) int {
	for d.lowered > 0 && now >= d.raiseAt {
		d.lowered++
		d.raiseAt += int64(d.pause)
		if d.lowered >= d.max {
			d.lowered, d.pause = 0, 0
		}
	}
	if d.lowered > 0 {
		return min(d.lowered, d.max)
	}
	return d.max
}

// lower says that the provider refused a connection while n others were open.
func (d *adaptive) lower(n int, now int64) {
	d.lowered = max(1, min(n, d.max))
	d.pause = min(max(raisePause, 2*d.pause), raiseCap)
	d.raiseAt = now + int64(d.pause)
}

// recoversAt returns when limit rises next, 0 for never.
func (d *adaptive) recoversAt(now int64) int64 {
	if d.lowered == 0 || d.raiseAt <= now {
		return 0
	}
	return d.raiseAt
}

// nextDial returns the earliest time of the next dial.
func (d *adaptive) nextDial(now int64) int64 { return max(d.dialAt, now) }

// refusal returns the reply for messages that would need a login while logins
// have to wait, or nil.
func (d *adaptive) refusal(now int64) *relay.Reply {
	if d.refused != nil && now < d.dialAt {
		return d.refused
	}
	return nil
}

// lastReply returns what went wrong lately, or nil.
func (d *adaptive) lastReply(now int64) *relay.Reply {
	if d.last != nil && now < d.lastAt+int64(forgetRefusal) {
		return d.last
	}
	return nil
}

// dialed notes a success. Pauses shrink instead of vanishing, so that a provider
// that refuses every other login is not met at full pace again.
func (d *adaptive) dialed(int64) {
	d.failures /= 2
	d.dialAt, d.refused, d.last = 0, nil, nil
}

// failed notes a failed dial while n connections are open.
func (d *adaptive) failed(err *smtpclient.Error, n int, now int64) {
	d.last, d.lastAt = err.Reply, now
	if err.Class == smtpclient.FailToken {
		// Whoever hands out tokens keeps a pace of its own, and knows at
		// once when a human has consented.
		return
	}
	limit := connectCap
	switch err.Class {
	case smtpclient.FailBusy:
		d.lower(n, now)
	case smtpclient.FailLogin, smtpclient.FailThrottled:
		limit = loginCap
	}
	pause := min(redialPause<<min(d.failures, 16), limit)
	d.failures++
	d.dialAt = now + int64(pause)
	d.refused = nil
	switch err.Class {
	case smtpclient.FailConnect, smtpclient.FailDown:
		// Whether the next message is worth a dial is the breaker's
		// decision unless other connections can carry it.
		if n == 0 {
			d.dialAt = 0
		}
	case smtpclient.FailLost:
		// Not a refusal: the next message waits for its turn.
	default:
		d.refused = err.Reply
	}
}

func (d *adaptive) calm(now int64) bool {
	return d.limit(now) == d.max && now >= d.dialAt && d.failures <= 1
}
