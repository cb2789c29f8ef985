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

// Package window counts what was sent under one limit of a rate: it lends nothing, and
// knows neither clock nor lock.
package window

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

const (
	// exactSlots is the limit up to which every event has its own stamp.
	exactSlots = 1024
	// CoarseSlots is the number of stamps that a larger limit is kept with.
	CoarseSlots = 96
)

// Window counts events so that no stretch of time as long as the period ever
// has more than the limit, wherever between the two commands the provider
// counts: an event takes its slot before it is sent, holds it until its answer
// is known, and occupies it for one full period from then. The events that hold
// a slot without a stamp are the same for all windows of an account; the
// caller counts them and passes their number as held.
type Window struct {
	Rate accounts.Rate // changed by Configure alone
	gran int64         // stamps are rounded up to multiples of it; 0: exact

	// Of a limit that other nodes lend for too, Share is what this one may use.
	Shared bool
	Share  int64

	sum int64 // events in stamps

	stamps []Stamp // a ring, oldest at head
	head   int
	n      int

	// What other processes have counted, as last read. They lend against
	// the same limit.
	Others *Window
}

// Stamp says that N events occupy their slots until one period after At.
type Stamp struct{ At, N int64 }

// Configure sets the limit. What has been counted stays counted.
func (w *Window) Configure(r accounts.Rate) {
	w.Rate = r
	w.gran = 0
	if r.Count > exactSlots || r.Per >= time.Hour {
		w.gran = int64(r.Per) / CoarseSlots
	}
}

// Expire forgets what is over.
func (w *Window) Expire(now int64) {
	per := int64(w.Rate.Per)
	for w.n > 0 {
		s := &w.stamps[w.head]
		if s.At+per > now {
			return
		}
		w.sum -= s.N
		w.head++
		if w.head == len(w.stamps) {
			w.head = 0
		}
		w.n--
	}
}

// Used returns the number of slots that stamps occupy.
func (w *Window) Used(now int64) int64 {
	w.Expire(now)
	if w.Others == nil {
		return w.sum
	}
	w.Others.Expire(now)
	return w.sum + w.Others.sum
}

// Free returns the number of slots that can be taken now.
func (w *Window) Free(now, held int64) int64 {
	return max(0, w.mine()-w.Used(now)-held)
}

// mine is what this process may use of the limit.
func (w *Window) mine() int64 {
	if w.Shared {
		return min(w.Rate.Count, w.Share)
	}
	return w.Rate.Count
}

// When returns the earliest time at which k slots can be free, assuming that
// the events that hold slots end now: never earlier than the truth allows, so
// a wait beyond it is certain to be in vain.
func (w *Window) When(now, k, held int64) int64 {
	// Each full window before the kth event costs a period.
	laps := (k - 1) / w.Rate.Count
	k -= laps * w.Rate.Count
	later := laps * int64(w.Rate.Per)
	need := k - (w.Rate.Count - w.Used(now) - held)
	if need <= 0 {
		return now + later
	}
	theirs := w.Others
	if theirs == nil {
		theirs = new(Window)
	}
	for i, j := 0, 0; i < w.n || j < theirs.n; {
		var s Stamp
		if j >= theirs.n || i < w.n && w.at(i).At <= theirs.at(j).At {
			s = *w.at(i)
			i++
		} else {
			s = *theirs.at(j)
			j++
		}
		if need -= s.N; need <= 0 {
			return s.At + int64(w.Rate.Per) + later
		}
	}
	return now + int64(w.Rate.Per) + later
}

// Len returns the number of stamps.
func (w *Window) Len() int { return w.n }

// First returns the time of the oldest stamp, of which there is one.
func (w *Window) First() int64 { return w.at(0).At }

// at returns the ith stamp, oldest first.
func (w *Window) at(i int) *Stamp { return &w.stamps[(w.head+i)%len(w.stamps)] }

// add stamps n events.
func (w *Window) add(at, n int64) {
	if n <= 0 {
		return
	}
	at = w.coarse(at)
	w.sum += n
	if w.n > 0 {
		if last := w.at(w.n - 1); at <= last.At {
			last.N += n
			return
		}
	}
	if w.n == len(w.stamps) {
		grown := make([]Stamp, max(4, 2*len(w.stamps)))
		for i := range w.n {
			grown[i] = w.stamps[(w.head+i)%len(w.stamps)]
		}
		w.stamps, w.head = grown, 0
	}
	w.stamps[(w.head+w.n)%len(w.stamps)] = Stamp{at, n}
	w.n++
}

// coarse rounds the time of a stamp up.
func (w *Window) coarse(at int64) int64 {
	if w.gran > 0 {
		at += w.gran - 1
		at -= at % w.gran
	}
	return at
}

// Merge stamps n events of another count, which may be older than the last. An
// event of the future is one of now: the clock was set back.
func (w *Window) Merge(now, at, n int64) { w.Insert(now, min(at, now), n) }

// Insert stamps n events, at whatever time. Of the future are those that another node
// may still send.
func (w *Window) Insert(now, at, n int64) {
	if n <= 0 || at+int64(w.Rate.Per) <= now {
		return
	}
	at = w.coarse(at)
	if w.n == 0 || at >= w.at(w.n-1).At {
		w.add(at, n)
		return
	}
	all := make([]Stamp, 0, w.n+1)
	w.Each(func(s Stamp) { all = append(all, s) })
	i, _ := slices.BinarySearchFunc(all, at, func(s Stamp, at int64) int { return cmp.Compare(s.At, at) })
	all = slices.Insert(all, i, Stamp{at, n})
	w.Clear()
	for _, s := range all {
		w.add(s.At, s.N)
	}
}

// Clear forgets every stamp.
func (w *Window) Clear() { w.sum, w.head, w.n = 0, 0, 0 }

// Each calls f for every stamp, oldest first.
func (w *Window) Each(f func(Stamp)) {
	for i := range w.n {
		f(*w.at(i))
	}
}

// Room is what a layer's windows begin with, in one place of memory.
type Room struct {
	list    [2]*Window
	windows [2]Window
	stamps  [2][4]Stamp
}

// Reconfigure returns the windows of rates. One whose period stays keeps its count whatever
// becomes of the number.
func Reconfigure(have []*Window, rates [2]accounts.Rate) []*Window {
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
		same = have[i].Rate == want[i]
	}
	if same {
		return have
	}
	room := new(Room)
	windows := room.list[:0]
	for i, r := range want {
		var w *Window
		for _, h := range have {
			if h.Rate.Per == r.Per {
				w = h
			}
		}
		if w == nil {
			w = &room.windows[i]
			w.stamps = room.stamps[i][:]
			w.Configure(r)
			w.Inherit(have)
		}
		w.Configure(r)
		windows = append(windows, w)
	}
	return windows
}

// Inherit takes over what the longest of other windows knows.
func (w *Window) Inherit(others []*Window) {
	var from *Window
	for _, o := range others {
		if from == nil || o.Rate.Per > from.Rate.Per {
			from = o
		}
	}
	if from != nil {
		from.Each(func(s Stamp) { w.add(s.At, s.N) })
	}
}
