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

// Package pace watches whether a transaction gets on that holds a connection to the
// provider.
package pace

import (
	"fmt"
	"os"
	"time"
)

// ErrStalled says that a transaction is to end, since it does not get on. It is a
// timeout as well.
var ErrStalled = fmt.Errorf("the transaction does not get on: %w", os.ErrDeadlineExceeded)

const (
	// octetsWanted is how many octets of a message must come within the patience. A
	// modem of 2,400 baud is faster.
	octetsWanted = 8 << 10
	// rcptShare is what each recipient adds to the time for all of them, as a part of
	// the patience.
	rcptShare = 10
)

// Watch watches a transaction whose client does nothing for it. It holds a
// connection to the provider meanwhile, and a crashed device does so until
// command_timeout, one that says NOOP for longer, and one that sends an octet now
// and then until body_timeout. Nobody minds unless others wait for that connection.
type Watch struct {
	// ended reports whether a transaction that does not get on must end; nil
	// while there is none that holds anything.
	ended func() bool
	// patience is how long it may do nothing before that is asked; zero for
	// ever.
	patience time.Duration
	// since is when it got on, or was asked for, last. What is not the client's
	// doing moves it on.
	since time.Time

	// body says that a message is being read, octets is what has come of it since
	// then, and read is when the last of them came.
	body   bool
	octets int
	read   time.Time
}

// Progress notes that recipients came, n of them, whose answers took from began to now.
func (w *Watch) Progress(ended func() bool, patience time.Duration, began time.Time, n int) {
	if patience <= 0 {
		return
	}
	now := time.Now()
	if w.ended == nil {
		w.ended, w.patience, w.since = ended, patience, now
		return
	}
	w.since = earlier(w.since.Add(now.Sub(began)+time.Duration(n)*patience/rcptShare), now)
}

// Hold notes that something is held from now on which others may wait for.
func (w *Watch) Hold(ended func() bool, patience time.Duration) {
	if patience > 0 {
		w.ended, w.patience, w.since, w.read, w.octets = ended, patience, time.Now(), time.Time{}, 0
	}
}

// StartBody notes that the message begins.
func (w *Watch) StartBody() { w.body, w.octets, w.read = true, 0, time.Time{} }

// EndBody notes that the message has come to its end.
func (w *Watch) EndBody() { w.body = false }

// End notes that the transaction holds nothing any longer.
func (w *Watch) End() { w.ended = nil }

// Got notes that n octets were read.
func (w *Watch) Got(n int) {
	if w.ended == nil || !w.body {
		return
	}
	w.read = time.Now()
	if w.octets += n; w.octets >= octetsWanted {
		w.octets, w.since = 0, w.read
	}
}

// Begin is for a read that may last until by. It returns how long it is not to
// be asked whether that is too long.
func (w *Watch) Begin(now, by time.Time) (time.Time, error) {
	if w.ended == nil {
		return by, nil
	}
	if w.body {
		// What was since the last read is not the client's doing.
		if w.read.IsZero() {
			w.since = now
		} else {
			w.since = w.since.Add(now.Sub(w.read))
		}
		w.read = now
	}
	return w.Expired(now, by)
}

// Expired asks whether the transaction may go on, unless it got on within the read, and
// returns until when.
func (w *Watch) Expired(now, by time.Time) (time.Time, error) {
	if next := w.since.Add(w.patience); next.After(now) {
		return earlier(next, by), nil
	}
	if w.ended() {
		return now, ErrStalled
	}
	w.since, w.octets = now, 0
	return earlier(now.Add(w.patience), by), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
