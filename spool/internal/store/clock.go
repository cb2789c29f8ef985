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

package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

// clockInterval is how often the clock is written while messages wait for it: a process
// that is killed loses no more of it.
const clockInterval = time.Minute

// clock is how long the spool has run, in this process and those before it. It stands
// in the file that they lock. The host's clock may be wrong at a start, by days; this
// one cannot be: what a host was off for is no age of its mail.
type clock struct {
	slate disk.Slate // nil: the system has none, and the messages no age but by the host's clock
	epoch string
	base  time.Duration
	from  time.Time // when it showed base
	wrote time.Time
}

func (c *clock) read(now time.Time) record.Reading {
	if c.slate == nil {
		return record.Reading{}
	}
	return record.Reading{Epoch: c.epoch, Ran: c.base + now.Sub(c.from)}
}

func (c *clock) write(now time.Time) error {
	r := c.read(now)
	c.wrote = now
	// It has one length, so that nothing of an earlier one stays behind it.
	return c.slate.WriteSlate(fmt.Appendf(nil, "%s %020d\n", r.Epoch, r.Ran.Milliseconds()))
}

// startClock goes on where the last process was, or where the messages say that it was:
// their file may be newer than the lock's.
func (s *Store) startClock(lock disk.Lock, found []Found) error {
	slate, ok := lock.(disk.Slate)
	if !ok {
		return nil
	}
	b, err := slate.ReadSlate()
	if err != nil {
		return fmt.Errorf("reading the spool's clock: %w", err)
	}
	now := time.Now()
	c := clock{slate: slate, from: now, wrote: now}
	line, _, _ := strings.Cut(string(b), "\n")
	if r, err := record.ParseReading(line); err == nil {
		c.epoch, c.base = r.Epoch, r.Ran
		for _, st := range found {
			if _, at, known := record.Age(st.Env, st.Lines); known && at.Epoch == c.epoch {
				c.base = max(c.base, at.Ran)
			}
		}
	} else {
		var epoch [4]byte
		_, _ = rand.Read(epoch[:]) // never fails
		c.epoch = hex.EncodeToString(epoch[:])
		// It is there before a message is that refers to it.
		if err := c.write(now); err != nil {
			return fmt.Errorf("writing the spool's clock: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = c
	return nil
}

// Clock returns what the spool's clock shows; zero if there is none.
func (s *Store) Clock() record.Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.read(time.Now())
}

// KeepClock writes the clock, if it is time to. It returns when it is so next.
func (s *Store) KeepClock(now time.Time) (next time.Time, err error) {
	s.mu.Lock()
	c, ill := s.clock, s.ill != nil
	if c.slate == nil || ill {
		s.mu.Unlock()
		return now.Add(time.Hour), nil
	}
	if next = c.wrote.Add(clockInterval); next.After(now) {
		s.mu.Unlock()
		return next, nil
	}
	s.clock.wrote = now
	s.mu.Unlock()
	return now.Add(clockInterval), c.write(now)
}

// stopClock writes it for the next process.
func (s *Store) stopClock() {
	s.mu.Lock()
	c, ill := s.clock, s.ill != nil
	s.clock = clock{}
	s.mu.Unlock()
	if c.slate != nil && !ill {
		_ = c.write(time.Now()) // or it is late by a minute at most
	}
}

// Spent is the time that a message has spent in the spool, by the spool's clock.
type Spent struct {
	Age   time.Duration
	Since time.Duration // its journal's last line
}

// spent returns nil where the message's file does not say.
func (s *Store) spent(env *record.Envelope, lines []record.Line) *Spent {
	age, at, known := record.Age(env, lines)
	if !known {
		return nil
	}
	now := s.Clock()
	if now.Epoch != at.Epoch {
		return &Spent{Age: age} // it comes from another directory
	}
	since := max(now.Ran-at.Ran, 0)
	spent := &Spent{age + since, since}
	if n := len(lines); n > 0 && lines[n-1].Clock == (record.Reading{}) {
		spent.Since = 0 // a line of an earlier version is behind it
	}
	return spent
}

// passID has all ids that are made from now on come behind one that was met: the order
// of mail is theirs, whatever the host's clock says.
func passID(id string) {
	var b [8]byte
	if _, err := hex.Decode(b[1:], []byte(id[:14])); err != nil {
		return
	}
	at := int64(binary.BigEndian.Uint64(b[:])) //nolint:gosec // 56 bits
	if at > farFuture {
		return
	}
	for last := lastID.Load(); at > last && !lastID.CompareAndSwap(last, at); {
		last = lastID.Load()
	}
}

// farFuture is no time of an id that was ever made, in microseconds.
const farFuture = 1 << 55

// errNoClock is for the log.
var errNoClock = errors.New("the age of mail is judged by the host's clock")
