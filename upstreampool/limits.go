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
	"math"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// limits are an account's limits as they are counted: the upstream's, narrowed
// by the account's own.
type limits struct {
	conns int // connections at a time

	// A message takes a slot of each. A limit of the account that has
	// another period than the upstream's is counted beside it.
	msgs  []*window
	rcpts []*window

	heldMsgs, heldRcpts int64 // under way: taken, not yet stamped
}

// What a limit is called in a reply.
const (
	whatRate       = "Message rate"
	whatMessages   = "Message quota"
	whatRecipients = "Recipient quota"
)

// longPeriod is the shortest period whose count is stored: what a restart could
// forget of a shorter one is over before it matters.
const longPeriod = 10 * time.Minute

// configure puts the limits in force. A window whose period stays keeps its
// count whatever becomes of the number.
func (l *limits) configure(s *settings, own *accounts.Limits) {
	l.conns = s.maxConnsPerAccount
	var none accounts.Limits
	if own == nil {
		own = &none
	}
	if own.MaxConns > 0 {
		l.conns = min(l.conns, own.MaxConns)
	}
	l.msgs = reconfigure(l.msgs, [...]accounts.Rate{s.rate, own.Rate, s.messages, own.Messages})
	l.rcpts = reconfigure(l.rcpts, [...]accounts.Rate{s.recipients, own.Recipients, {}, {}})
}

func reconfigure(have []*window, rates [4]accounts.Rate) []*window {
	var want []accounts.Rate
next:
	for _, r := range rates {
		if r.IsZero() {
			continue
		}
		for i := range want {
			if want[i].Per == r.Per {
				want[i].Count = min(want[i].Count, r.Count)
				continue next
			}
		}
		want = append(want, r)
	}
	same := len(want) == len(have)
	for i := 0; same && i < len(want); i++ {
		same = have[i].rate == want[i]
	}
	if same {
		return have
	}
	windows := make([]*window, 0, len(want))
	for _, r := range want {
		var w *window
		for _, h := range have {
			if h.rate.Per == r.Per {
				w = h
			}
		}
		if w == nil {
			w = new(window)
			w.configure(r)
			w.inherit(have)
		}
		w.configure(r)
		windows = append(windows, w)
	}
	return windows
}

// inherit takes over what the longest of other windows knows.
func (w *window) inherit(others []*window) {
	var from *window
	for _, o := range others {
		if from == nil || o.rate.Per > from.rate.Per {
			from = o
		}
	}
	if from != nil {
		from.each(func(s stamp) { w.add(s.at, s.n) })
	}
}

// open tells whether a message, with one recipient, can go now.
func (l *limits) open(now int64) bool {
	for _, w := range l.msgs {
		if w.free(now, l.heldMsgs) < 1 {
			return false
		}
	}
	for _, w := range l.rcpts {
		if w.free(now, l.heldRcpts) < 1 {
			return false
		}
	}
	return true
}

// free returns the number of messages that can go now.
func (l *limits) free(now int64) int64 {
	n := int64(math.MaxInt64)
	for _, w := range l.msgs {
		n = min(n, w.free(now, l.heldMsgs))
	}
	for _, w := range l.rcpts {
		n = min(n, w.free(now, l.heldRcpts))
	}
	return n
}

// when returns the earliest time at which the kth message from now can go, and
// the name of the limit that decides.
func (l *limits) when(now, k int64) (at int64, what string) {
	at = now
	for _, w := range l.msgs {
		if t := w.when(now, k, l.heldMsgs); t > at {
			at, what = t, whatMessages
			if w.rate.Per < longPeriod {
				what = whatRate
			}
		}
	}
	for _, w := range l.rcpts {
		if t := w.when(now, k, l.heldRcpts); t > at {
			at, what = t, whatRecipients
		}
	}
	return at, what
}

// hold takes a message's slots.
func (l *limits) hold() { l.heldMsgs++ }

// cancel gives the slots of a message back that was never sent.
func (l *limits) cancel() { l.heldMsgs-- }

// holdRcpts takes the slots of n recipients, or tells when that can be.
func (l *limits) holdRcpts(now, n int64) (at int64, ok bool) {
	at = now
	for _, w := range l.rcpts {
		at = max(at, w.when(now, n, l.heldRcpts))
	}
	if at > now {
		return at, false
	}
	l.heldRcpts += n
	return 0, true
}

// stamp ends a message that was sent, with the recipients that count, and tells
// whether a count changed that outlives the process.
func (l *limits) stamp(now, rcpts int64) (lasting bool) {
	l.heldMsgs--
	for _, w := range l.msgs {
		w.add(now, 1)
		lasting = lasting || w.rate.Per >= longPeriod
	}
	for _, w := range l.rcpts {
		w.add(now, rcpts)
		lasting = lasting || w.rate.Per >= longPeriod
	}
	return lasting
}

// empty tells whether nothing is counted.
func (l *limits) empty(now int64) bool {
	if l.heldMsgs != 0 || l.heldRcpts != 0 {
		return false
	}
	for _, w := range l.msgs {
		if w.expire(now); w.n > 0 {
			return false
		}
	}
	for _, w := range l.rcpts {
		if w.expire(now); w.n > 0 {
			return false
		}
	}
	return true
}

// lasts returns how long something stays counted, at least a moment.
func (l *limits) lasts(now int64) time.Duration {
	d := time.Minute
	for _, list := range [...][]*window{l.msgs, l.rcpts} {
		for _, w := range list {
			w.each(func(s stamp) { d = max(d, time.Duration(s.at-now)+w.rate.Per) })
		}
	}
	return d
}

// quotaReply says which limit is used up and until when.
func quotaReply(what string, at, now int64) *relay.Reply {
	return relay.ReplyQuota(what, time.Duration(at-now))
}
