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

package limits

import (
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits/internal/window"
)

// layer is one set of limits as it is counted: a mailbox's, or those that an
// account of it has of its own.
type layer struct {
	// A message takes a slot of each.
	msgs  []*window.Window
	rcpts []*window.Window

	heldMsgs, heldRcpts int64 // under way: taken, not yet stamped

	// What other processes may send before they write again.
	theirMsgs, theirRcpts int64
}

// What a limit is called in a reply.
const (
	whatRate       = "Message rate"
	whatMessages   = "Message quota"
	whatRecipients = "Recipient quota"
)

// longPeriod tells a rate, which is over in a moment, from a quota.
const longPeriod = 10 * time.Minute

// configure puts limits in force. A window whose period stays keeps its count
// whatever becomes of the number.
func (l *layer) configure(to *accounts.Limits) {
	l.msgs = window.Reconfigure(l.msgs, [...]accounts.Rate{to.Rate, to.Messages})
	l.rcpts = window.Reconfigure(l.rcpts, [...]accounts.Rate{to.Recipients, {}})
}

// open reports whether a message, with one recipient, can go now.
func (l *layer) open(now int64) bool {
	for _, w := range l.msgs {
		if w.Free(now, l.heldMsgs+l.theirMsgs) < 1 {
			return false
		}
	}
	for _, w := range l.rcpts {
		if w.Free(now, l.heldRcpts+l.theirRcpts) < 1 {
			return false
		}
	}
	return true
}

// when returns the earliest time at which the kth message from now can go, and
// the name of the limit that decides.
func (l *layer) when(now, k int64) (at int64, what string) {
	at = now
	for _, w := range l.msgs {
		if t := w.When(now, k, l.heldMsgs+l.theirMsgs); t > at {
			at, what = t, whatMessages
			if w.Rate.Per < longPeriod {
				what = whatRate
			}
		}
	}
	for _, w := range l.rcpts {
		if t := w.When(now, k, l.heldRcpts+l.theirRcpts); t > at {
			at, what = t, whatRecipients
		}
	}
	return at, what
}

// each calls f for each limit, with what of it is under way here.
func (l *layer) each(f func(w *window.Window, held int64, rcpts bool)) {
	for _, w := range l.msgs {
		f(w, l.heldMsgs, false)
	}
	for _, w := range l.rcpts {
		f(w, l.heldRcpts, true)
	}
}

// ownWhen returns when a slot of what this node has of the limits is free
// again; now if that is not what a message waits for, or if it has none.
func (l *layer) ownWhen(now int64) int64 {
	at := now
	l.each(func(w *window.Window, held int64, _ bool) {
		if w.Shared && w.Share > 0 && w.Len() > 0 && w.Free(now, held) < 1 {
			at = max(at, w.First()+int64(w.Rate.Per))
		}
	})
	return at
}

// lacks reports whether other nodes have what keeps a message waiting.
func (l *layer) lacks(now int64) bool {
	lacks := false
	l.each(func(w *window.Window, held int64, _ bool) {
		lacks = lacks || w.Shared && w.Free(now, held) < 1 && w.Used(now)+held < w.Rate.Count
	})
	return lacks
}

// rcptsFree reports whether n recipients can be taken of what this node has.
func (l *layer) rcptsFree(now, n int64) bool {
	for _, w := range l.rcpts {
		if w.Free(now, l.heldRcpts+l.theirRcpts) < n {
			return false
		}
	}
	return true
}

// shareOf has the limits shared with other nodes, or not.
func (l *layer) shareOf(shared bool) {
	l.each(func(w *window.Window, _ int64, _ bool) { w.Shared = shared })
}

// rcptsWhen returns the earliest time at which n recipients can be taken.
func (l *layer) rcptsWhen(now, n int64) int64 {
	at := now
	for _, w := range l.rcpts {
		at = max(at, w.When(now, n, l.heldRcpts+l.theirRcpts))
	}
	return at
}

// stamp counts a message that was sent, with the recipients that count.
func (l *layer) stamp(now, rcpts int64) {
	for _, w := range l.msgs {
		w.Insert(now, now, 1)
	}
	for _, w := range l.rcpts {
		w.Insert(now, now, rcpts)
	}
}

// empty reports whether nothing is counted.
func (l *layer) empty(now int64) bool {
	if l.heldMsgs != 0 || l.heldRcpts != 0 {
		return false
	}
	for _, list := range [...][]*window.Window{l.msgs, l.rcpts} {
		for _, w := range list {
			if w.Expire(now); w.Len() > 0 {
				return false
			}
		}
	}
	return true
}

// lasts returns how long something stays counted, at least a moment.
func (l *layer) lasts(now int64) time.Duration {
	d := time.Minute
	for _, list := range [...][]*window.Window{l.msgs, l.rcpts} {
		for _, w := range list {
			w.Each(func(s window.Stamp) { d = max(d, time.Duration(s.At-now)+w.Rate.Per) })
		}
	}
	return d
}
