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
	"cmp"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// epoch is the zero of the clock. Its wall time makes readings comparable
// across restarts; its monotonic reading keeps steps of the system clock from
// freeing or blocking slots.
var epoch = time.Now()

// Now returns nanoseconds since 1970 on a scale that never jumps.
func Now() int64 { return epoch.UnixNano() + int64(time.Since(epoch)) }

const (
	// exactSlots is the limit up to which every event has its own stamp.
	exactSlots = 1024
	// coarseSlots is the number of stamps that a larger limit is kept with.
	coarseSlots = 96
)

// window counts events so that no stretch of time as long as the period ever
// has more than the limit, wherever between the two commands the provider
// counts: an event takes its slot before it is sent, holds it until its answer
// is known, and occupies it for one full period from then. The events that hold
// a slot without a stamp are the same for all windows of an account; layer
// counts them and passes their number as held.
type window struct {
	rate accounts.Rate
	gran int64 // stamps are rounded up to multiples of it; 0: exact

	// Of a limit that other nodes lend for too, share is what this one may use.
	shared bool
	share  int64

	sum int64 // events in stamps

	stamps []stamp // a ring, oldest at head
	head   int
	n      int

	// What other processes have counted, as last read. They lend against
	// the same limit.
	others *window
}

// stamp says that n events occupy their slots until one period after at.
type stamp struct{ at, n int64 }

// configure sets the limit. What has been counted stays counted.
func (w *window) configure(r accounts.Rate) {
	w.rate = r
	w.gran = 0
	if r.Count > exactSlots || r.Per >= time.Hour {
		w.gran = int64(r.Per) / coarseSlots
	}
}

func (w *window) expire(now int64) {
	per := int64(w.rate.Per)
	for w.n > 0 {
		s := &w.stamps[w.head]
		if s.at+per > now {
			return
		}
		w.sum -= s.n
		w.head++
		if w.head == len(w.stamps) {
			w.head = 0
		}
		w.n--
	}
}

// used returns the number of slots that stamps occupy.
func (w *window) used(now int64) int64 {
	w.expire(now)
	if w.others == nil {
		return w.sum
	}
	w.others.expire(now)
	return w.sum + w.others.sum
}

// free returns the number of slots that can be taken now.
func (w *window) free(now, held int64) int64 {
	return max(0, w.mine()-w.used(now)-held)
}

// mine is what this process may use of the limit.
func (w *window) mine() int64 {
	if w.shared {
		return min(w.rate.Count, w.share)
	}
	return w.rate.Count
}

// when returns the earliest time at which k slots can be free, assuming that
// the events that hold slots end now: never earlier than the truth allows, so
// a wait beyond it is certain to be in vain.
func (w *window) when(now, k, held int64) int64 {
	// Each full window before the kth event costs a period.
	laps := (k - 1) / w.rate.Count
	k -= laps * w.rate.Count
	later := laps * int64(w.rate.Per)
	need := k - (w.rate.Count - w.used(now) - held)
	if need <= 0 {
		return now + later
	}
	theirs := w.others
	if theirs == nil {
		theirs = new(window)
	}
	for i, j := 0, 0; i < w.n || j < theirs.n; {
		var s stamp
		if j >= theirs.n || i < w.n && w.at(i).at <= theirs.at(j).at {
			s = *w.at(i)
			i++
		} else {
			s = *theirs.at(j)
			j++
		}
		if need -= s.n; need <= 0 {
			return s.at + int64(w.rate.Per) + later
		}
	}
	return now + int64(w.rate.Per) + later
}

// at returns the ith stamp, oldest first.
func (w *window) at(i int) *stamp { return &w.stamps[(w.head+i)%len(w.stamps)] }

// add stamps n events.
func (w *window) add(at, n int64) {
	if n <= 0 {
		return
	}
	at = w.coarse(at)
	w.sum += n
	if w.n > 0 {
		if last := w.at(w.n - 1); at <= last.at {
			last.n += n
			return
		}
	}
	if w.n == len(w.stamps) {
		grown := make([]stamp, max(4, 2*len(w.stamps)))
		for i := range w.n {
			grown[i] = w.stamps[(w.head+i)%len(w.stamps)]
		}
		w.stamps, w.head = grown, 0
	}
	w.stamps[(w.head+w.n)%len(w.stamps)] = stamp{at, n}
	w.n++
}

// coarse rounds the time of a stamp up.
func (w *window) coarse(at int64) int64 {
	if w.gran > 0 {
		at += w.gran - 1
		at -= at % w.gran
	}
	return at
}

// merge stamps n events of another count, which may be older than the last. An
// event of the future is one of now: the clock was set back.
func (w *window) merge(now, at, n int64) { w.insert(now, min(at, now), n) }

// insert stamps n events, at whatever time. Of the future are those that another node
// may still send.
func (w *window) insert(now, at, n int64) {
	if n <= 0 || at+int64(w.rate.Per) <= now {
		return
	}
	at = w.coarse(at)
	if w.n == 0 || at >= w.at(w.n-1).at {
		w.add(at, n)
		return
	}
	all := make([]stamp, 0, w.n+1)
	w.each(func(s stamp) { all = append(all, s) })
	i, _ := slices.BinarySearchFunc(all, at, func(s stamp, at int64) int { return cmp.Compare(s.at, at) })
	all = slices.Insert(all, i, stamp{at, n})
	w.clear()
	for _, s := range all {
		w.add(s.at, s.n)
	}
}

// clear forgets every stamp.
func (w *window) clear() { w.sum, w.head, w.n = 0, 0, 0 }

// each calls f for every stamp, oldest first.
func (w *window) each(f func(stamp)) {
	for i := range w.n {
		f(*w.at(i))
	}
}
