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

// stall watches a transaction whose client does nothing for it. It holds a
// connection to the provider meanwhile, and a crashed device does so until
// command_timeout, one that says NOOP for longer. Nobody minds unless others
// wait for that connection.
type stall struct {
	// ended reports whether a transaction that does not get on must end; nil
	// while there is none that holds anything.
	ended func() bool
	// patience is how long it may do nothing before that is asked; zero for
	// ever.
	patience time.Duration
	// body says that a message is being read: each read is for its progress.
	body bool
	// since is when it got on, or was asked for, last.
	since time.Time
}

// progress notes that the transaction gets on.
func (s *stall) progress(ended func() bool, patience time.Duration) {
	if patience > 0 {
		s.ended, s.patience, s.since = ended, patience, time.Now()
	}
}

// begin is for a read that may last until by. It returns how long it is not to
// be asked whether that is too long.
func (s *stall) begin(now, by time.Time) (time.Time, error) {
	if s.ended == nil {
		return by, nil
	}
	if s.body {
		s.since = now // what was before is not the client's doing
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
	s.since = now
	return earlier(now.Add(s.patience), by), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
