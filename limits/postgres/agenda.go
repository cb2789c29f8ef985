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
	"container/heap"
	"time"
)

// agenda has the mailboxes that the worker is to look at, the one that waits
// longest first: where many wait, none is passed over.
type agenda struct {
	of    map[key]*appointment
	queue appointments
}

type appointment struct {
	k  key
	at time.Time
	i  int // in the queue
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
	if e := a.of[k]; e != nil {
		e.at = at
		heap.Fix(&a.queue, e.i)
		return
	}
	if a.of == nil {
		a.of = make(map[key]*appointment)
	}
	e := &appointment{k: k, at: at}
	a.of[k] = e
	heap.Push(&a.queue, e)
}

// take returns up to most mailboxes that are due, or how long it is until one is.
func (a *agenda) take(now time.Time, most int) (keys []key, next time.Duration) {
	for len(keys) < most && len(a.queue) > 0 && !a.queue[0].at.After(now) {
		e := heap.Pop(&a.queue).(*appointment)
		delete(a.of, e.k)
		keys = append(keys, e.k)
	}
	if len(a.queue) == 0 {
		return keys, time.Hour
	}
	return keys, a.queue[0].at.Sub(now)
}

// appointments are a heap by time.
type appointments []*appointment

func (a appointments) Len() int           { return len(a) }
func (a appointments) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a appointments) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].i, a[j].i = i, j
}

// Push implements heap.Interface.
func (a *appointments) Push(x any) {
	e := x.(*appointment)
	e.i = len(*a)
	*a = append(*a, e)
}

// Pop implements heap.Interface.
func (a *appointments) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return e
}

// Interface guard
var _ heap.Interface = (*appointments)(nil)
