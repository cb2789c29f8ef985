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
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// A mailbox's connections are places, and a place is a byte of a file that all
// processes on one storage of files have open: the process that has a connection
// holds the lock of its byte. The system lets go of it with the process, so that
// a killed one leaves its places free. To take a place is no I/O but a call into
// the system's memory, and is done under the mailbox's lock.
//
// A process that has no place and needs one holds a second byte, which says so.
// Those that have some look for it from time to time (share) and give one up.

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

// places is the file of an upstream's connections.
type places struct{ file *filelock.Bytes }

const (
	placeBits = 16 // connections of one mailbox
	maxPlaces = 1 << placeBits
	wantsFrom = int64(1) << 61
)

// placeOf returns where a mailbox's places begin. Mailboxes that have it in
// common, one pair in many millions, share their places.
func placeOf(mailbox string) int64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(mailbox) {
		h = (h ^ uint64(mailbox[i])) * 1099511628211
	}
	return int64(h>>20) << placeBits //nolint:gosec // 60 bits
}

func wantOf(mailbox string) int64 { return wantsFrom + placeOf(mailbox)>>placeBits }

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
	file atomic.Pointer[places]

	openMu sync.Mutex
	tried  int64

	// Mailboxes that hold a place or want one.
	mu        sync.Mutex
	mailboxes map[*mailbox]struct{}
	timer     *time.Timer
	armed     bool
}

// sharesPlaces reports whether connections are shared by the processes on a
// storage.
func sharesPlaces(st certmagic.Storage) (*certmagic.FileStorage, bool) {
	f, ok := st.(*certmagic.FileStorage)
	return f, ok && filelock.HasBytes
}

func openPlaces(dir string) (*places, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	b, err := filelock.OpenBytes(filepath.Join(dir, "connections.lock"))
	if err != nil {
		return nil, err
	}
	return &places{b}, nil
}

// openPlaces opens the file of the connections, if there is to be one. One that
// cannot be opened is tried again at most once in a retryAfter.
func (l *Local) openPlaces() *places {
	if p := l.sharing.file.Load(); p != nil {
		return p
	}
	st, ok := sharesPlaces(l.current().Storage)
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
	p, err := openPlaces(st.Filename(l.dir()))
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
		_ = old.file.Close()
	}
}

// cover takes places, of those that all processes have together, until the mailbox
// has n. It reports whether it does: what is open may have none of its own, if they
// were all taken when a reload brought it here.
func (m *mailbox) cover(p *places, n int) (bool, error) {
	from, limit := placeOf(m.name), int64(min(m.maxConns(), maxPlaces))
	for at := from; at < from+limit && len(m.conns.held) < n; at++ {
		if slices.Contains(m.conns.held, at) {
			continue
		}
		ok, err := p.file.Try(at, false)
		if err != nil {
			return false, err
		}
		if ok {
			m.conns.held = append(m.conns.held, at)
		}
	}
	return len(m.conns.held) >= n, nil
}

// takePlace takes a place for a connection. If that fails, wake is called when it
// is worth another try.
func (m *mailbox) takePlace(now int64) bool {
	c := &m.conns
	if c.n >= m.maxConns() {
		return false
	}
	if _, ok := sharesPlaces(m.set.Storage); !ok {
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
func (m *mailbox) wantPlace(p *places, now int64) {
	c := &m.conns
	c.wantUntil = now + int64(wantFor)
	if p != nil && c.n == 0 && !c.wants {
		c.wants, _ = p.file.Try(wantOf(m.name), true)
	}
	m.local.sharing.add(m.local, m)
}

func (m *mailbox) unwant(p *places) {
	if m.conns.wants && p != nil {
		_ = p.file.Free(wantOf(m.name))
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
		if err := p.file.Free(c.held[last]); err != nil {
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
		if wanted, err = p.file.Held(wantsFrom, 0); err != nil && !errors.Is(err, os.ErrClosed) {
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

func (m *mailbox) share(p *places, wanted bool) {
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
	case c.n == 0:
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
	if held, err := p.file.Held(wantOf(m.name), 1); err != nil || !held {
		return
	}
	c.yield = true
	m.wakeConns(true)
}

// wakeConns has those looked for that found no connection free, or all.
func (m *mailbox) wakeConns(all bool) {
	for _, a := range m.list {
		if a.wake != nil && (a.waits || all) {
			go a.wake()
			a.waits = false
		}
	}
}

// Yield implements Yielder.
func (a *account) Yield() bool {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	c := &a.m.conns
	if !c.yield || c.n == 0 {
		c.yield = false
		return false
	}
	c.yield, c.owes = false, true
	return true
}

// Interface guard
var _ Yielder = (*account)(nil)
