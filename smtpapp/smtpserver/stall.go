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

package smtpserver

import "time"

const (
	// pace is how many octets of a message must come within the patience. A modem of
	// 2,400 baud is faster.
	pace = 8 << 10
	// rcptShare is what each recipient adds to the time for all of them, as a part of
	// the patience.
	rcptShare = 10
)

// stall watches a transaction whose client does nothing for it. It holds a
// connection to the provider meanwhile, and a crashed device does so until
// command_timeout, one that says NOOP for longer, and one that sends an octet now
// and then until body_timeout. Nobody minds unless others wait for that connection.
type stall struct {
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

// progress notes that recipients came, n of them, whose answers took from began to now.
func (s *stall) progress(ended func() bool, patience time.Duration, began time.Time, n int) {
	if patience <= 0 {
		return
	}
	now := time.Now()
	if s.ended == nil {
		s.ended, s.patience, s.since = ended, patience, now
		return
	}
	s.since = earlier(s.since.Add(now.Sub(began)+time.Duration(n)*patience/rcptShare), now)
}

// startBody notes that the message begins.
func (s *stall) startBody() { s.body, s.octets, s.read = true, 0, time.Time{} }

// got notes that n octets were read.
func (s *stall) got(n int) {
	if s.ended == nil || !s.body {
		return
	}
	s.read = time.Now()
	if s.octets += n; s.octets >= pace {
		s.octets, s.since = 0, s.read
	}
}

// begin is for a read that may last until by. It returns how long it is not to
// be asked whether that is too long.
func (s *stall) begin(now, by time.Time) (time.Time, error) {
	if s.ended == nil {
		return by, nil
	}
	if s.body {
		// What was since the last read is not the client's doing.
		if s.read.IsZero() {
			s.since = now
		} else {
			s.since = s.since.Add(now.Sub(s.read))
		}
		s.read = now
	}
	if next := s.since.Add(s.patience); next.After(now) {
		return earlier(next, by), nil
	}
	return s.expired(now, by)
}

// expired asks whether the transaction may go on, and returns until when.
func (s *stall) expired(now, by time.Time) (time.Time, error) {
	if s.ended() {
		return now, errStalled
	}
	s.since, s.octets = now, 0
	return earlier(now.Add(s.patience), by), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
