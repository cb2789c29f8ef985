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
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/limits/place"
)

// Where storages are files, a mailbox's connections are places (package place) that
// the processes on one storage share. They are taken under the mailbox's lock.
// Processes that have some look from time to time (share) for those that have none
// and give one up.

const (
	// lookEvery is how often processes look for each other.
	lookEvery = 100 * time.Millisecond
	// keepFor is how long a process keeps its first connection at least, so
	// that two processes do not spend their time with logins.
	keepFor = time.Second
	// makeWay is how long a place that was given up is left to the others.
	makeWay = 3 * lookEvery
	// wantFor is how long a place is wanted for after it was asked for.
	wantFor = 3 * lookEvery
)

// conns is what a mailbox holds of its connections. Its lock is the mailbox's.
type conns struct {
	n    int
	held []int64 // places
	// After a place was refused because others have it, its want is kept until
	// then; wants reports whether others can see it.
	wantUntil int64
	wants     bool
	// Another process has none: yield until the user asks, owes until a
	// connection is closed, then no place is taken until makeWay.
	yield, owes bool
	keepUntil   int64
	makeWay     int64
}

// sharing is what a Local knows of the places.
type sharing struct {
	file atomic.Pointer[place.File]

	openMu sync.Mutex
	tried  int64

	// Mailboxes that hold a place or want one.
	mu        sync.Mutex
	mailboxes map[*mailbox]struct{}
	timer     *time.Timer
	armed     bool
}

// openPlaces opens the file of the connections, if there is to be one. One that
// cannot be opened is tried again at most once in a retryAfter.
func (l *Local) openPlaces() *place.File {
	if p := l.sharing.file.Load(); p != nil {
		return p
	}
	st, ok := place.Shared(l.current().Storage)
	if !ok {
		return nil
	}
	s := &l.sharing
	s.openMu.Lock()
	defer s.openMu.Unlock()
	if p := s.file.Load(); p != nil {
		return p
	}
	now := Now()
	if s.tried != 0 && now-s.tried < int64(retryAfter) {
		return nil
	}
	s.tried = now
	p, err := place.Open(st.Filename(l.dir()))
	if err != nil {
		l.complain(err)
		return nil
	}
	s.tried = 0
	s.file.Store(p)
	return p
}

// movePlaces takes the connections that are open along to another storage, also
// those that were opened by a share of many nodes'. Where all places are taken
// there, they are beyond its limit until they are closed.
func (l *Local) movePlaces() {
	s := &l.sharing
	s.openMu.Lock()
	old := s.file.Swap(nil)
	s.tried = 0
	s.openMu.Unlock()
	p := l.openPlaces()
	l.each(func(m *mailbox) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.conns.held, m.conns.wants = nil, false
		if p != nil && m.conns.n > 0 {
			_, _ = m.cover(p, m.conns.n) // tried again when one is taken, or looked for
			s.add(l, m)
		}
	})
	if old != nil {
		_ = old.Close()
	}
}

// cover takes places, of those that all processes have together, until the mailbox
// has n. It reports whether it does: what is open may have none of its own, if they
// were all taken when a reload brought it here.
func (m *mailbox) cover(p *place.File, n int) (bool, error) {
	held, err := p.Take(m.name, m.conns.held, n, m.maxConns())
	m.conns.held = held
	return len(held) >= n, err
}

// takePlace takes a place for a connection. If that fails, the holders are woken
// when it is worth another try.
func (m *mailbox) takePlace(now int64) bool {
	c := &m.conns
	if c.n >= m.maxConns() {
		return false
	}
	if _, ok := place.Shared(m.set.Storage); !ok {
		c.n++
		return true
	}
	p := m.local.openPlaces() // open already, unless that has failed
	ok := false
	if p != nil && now >= c.makeWay {
		var err error
		if ok, err = m.cover(p, c.n+1); err != nil {
			m.local.complain(err)
		}
	}
	if !ok {
		m.wantPlace(p, now)
		return false
	}
	if c.n == 0 {
		c.keepUntil = now + int64(keepFor)
	}
	c.n++
	c.wantUntil = 0
	m.unwant(p)
	m.local.sharing.add(m.local, m)
	return true
}

// wantPlace lets other processes see that this one has no connection.
func (m *mailbox) wantPlace(p *place.File, now int64) {
	c := &m.conns
	c.wantUntil = now + int64(wantFor)
	if p != nil && c.n == 0 && !c.wants {
		c.wants = p.Want(m.name)
	}
	m.local.sharing.add(m.local, m)
}

func (m *mailbox) unwant(p *place.File) {
	if m.conns.wants && p != nil {
		p.Unwant(m.name)
	}
	m.conns.wants = false
}

// freePlace gives a place back.
func (m *mailbox) freePlace(now int64) {
	c := &m.conns
	c.n--
	if c.owes {
		c.owes, c.makeWay = false, now+int64(makeWay)
	}
	last := len(c.held) - 1
	if last < c.n {
		return // what is open lacks places as it is
	}
	if p := m.local.sharing.file.Load(); p != nil {
		if err := p.Free(c.held[last]); err != nil {
			m.local.complain(err)
		}
	}
	c.held = c.held[:last]
}

// add has a mailbox looked after.
func (s *sharing) add(l *Local, m *mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mailboxes == nil {
		s.mailboxes = make(map[*mailbox]struct{})
	}
	s.mailboxes[m] = struct{}{}
	s.arm(l)
}

// arm has the mailboxes looked after in a moment. The lock is held.
func (s *sharing) arm(l *Local) {
	switch {
	case s.armed:
	case s.timer == nil:
		s.timer = time.AfterFunc(lookEvery, l.share)
	default:
		s.timer.Reset(lookEvery)
	}
	s.armed = true
}

// share looks for processes that have no connection of a mailbox of which this
// one has some, and wakes who waits for a place here.
func (l *Local) share() {
	s := &l.sharing
	s.mu.Lock()
	list := make([]*mailbox, 0, len(s.mailboxes))
	for m := range s.mailboxes {
		list = append(list, m)
	}
	s.mu.Unlock()
	p := s.file.Load()
	wanted := false
	if p != nil {
		var err error
		// Closed, the storage is another's now: the next look is there.
		if wanted, err = p.AnyWanted(); err != nil && !errors.Is(err, os.ErrClosed) {
			l.complain(err)
		}
	}
	for _, m := range list {
		m.share(p, wanted)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	if len(s.mailboxes) > 0 {
		s.arm(l)
	}
}

func (m *mailbox) share(p *place.File, wanted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, c := Now(), &m.conns
	switch {
	case c.wantUntil != 0:
		if now >= c.wantUntil {
			c.wantUntil = 0
			m.unwant(p)
		}
		m.wakeConns(false)
	case c.n == 0 || p == nil:
		s := &m.local.sharing
		s.mu.Lock()
		delete(s.mailboxes, m)
		s.mu.Unlock()
		return
	}
	if p != nil && len(c.held) < c.n {
		_, _ = m.cover(p, c.n)
	}
	if !wanted || p == nil || c.n == 0 || c.owes || now < c.keepUntil {
		return
	}
	if p.Wanted(m.name) {
		c.yield = true
		m.wakeConns(true)
	}
}
