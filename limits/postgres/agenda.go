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

import (
	"time"

	"github.com/caddymail/mailgateway/internal/order"
)

// agenda has the mailboxes that the worker is to look at, the one that waits
// longest first: where many wait, none is passed over.
type agenda struct {
	of    map[key]*appointment
	queue order.Heap[*appointment]
}

type appointment struct {
	k     key
	at    time.Time
	place order.Place // in the queue
}

// newAgenda returns an empty one.
func newAgenda() agenda {
	return agenda{
		of: make(map[key]*appointment),
		queue: order.New(
			func(a, b *appointment) bool { return a.at.Before(b.at) },
			func(e *appointment) *order.Place { return &e.place },
		),
	}
}

// when returns when a mailbox is to be looked at.
func (a *agenda) when(k key) (at time.Time, ok bool) {
	if e := a.of[k]; e != nil {
		return e.at, true
	}
	return time.Time{}, false
}

// put has a mailbox looked at then, whatever was said before.
func (a *agenda) put(k key, at time.Time) {
	e := a.of[k]
	if e == nil {
		e = &appointment{k: k}
		a.of[k] = e
	}
	a.queue.Remove(e)
	e.at = at
	a.queue.Add(e)
}

// take returns up to most mailboxes that are due, or how long it is until one is.
func (a *agenda) take(now time.Time, most int) (keys []key, next time.Duration) {
	for {
		e, ok := a.queue.First()
		switch {
		case !ok:
			return keys, time.Hour
		case len(keys) == most || e.at.After(now):
			return keys, e.at.Sub(now)
		}
		a.queue.Remove(e)
		delete(a.of, e.k)
		keys = append(keys, e.k)
	}
}
