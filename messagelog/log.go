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

package messagelog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/internal/loggers"
)

const (
	// maxQueued and maxQueuedOctets bound what waits for the disk.
	maxQueued       = 8192
	maxQueuedOctets = 16 << 20
	// retryAfter is when a directory that could not be opened is tried again.
	retryAfter = 2 * time.Second
	// syncAfter bounds what a loss of power may take; a killed process loses
	// only what was not written yet.
	syncAfter = time.Second
	// tidyAfter is how often age is looked at when nothing comes.
	tidyAfter = 10 * time.Minute
	// closeTimeout bounds how long an end waits for the disk.
	closeTimeout = 10 * time.Second
)

// ErrNotOpen is about a log whose directory is not open.
var ErrNotOpen = errors.New("the message log is not open")

var (
	logsMu sync.Mutex
	logs   = make(map[string]*Log) // by directory
)

// Log is a directory of transactions, shared by the configurations that name it.
type Log struct {
	dir    string
	logs   loggers.Current
	logger *zap.Logger // of the configuration in force
	gens   generation.Stack[*Config]
	slots  chan struct{} // of searches
	wake   chan struct{}
	done   chan struct{}

	dropped, written atomic.Uint64

	mu      sync.Mutex
	queue   []*Entry
	octets  int
	added   uint64        // entries that were queued, ever
	settled uint64        // of these: written or lost
	moved   chan struct{} // closed when settled, store or err change
	store   *store        // nil: not open
	hash    *hasher
	last    *Config // what is in force, or was last
	err     error   // why the last write or opening failed
	closing bool
}

// Attach puts a configuration in force, and opens the log in the background if it
// is the first that names the directory. Detach takes it back and, after the last
// one, waits for what is queued.
func Attach(c *Config, logger *zap.Logger) (l *Log, detach func()) {
	logsMu.Lock()
	defer logsMu.Unlock()
	l = logs[c.dir]
	if l == nil {
		l = &Log{
			dir: c.dir, slots: make(chan struct{}, 2), wake: make(chan struct{}, 1),
			done: make(chan struct{}), moved: make(chan struct{}),
		}
		l.logger = l.logs.Logger()
		logs[c.dir] = l
	}
	c.logger = logger
	l.gens.Attach(c, func(first bool) {
		l.logs.Use(c.logger)
		l.set(func() { l.last = c })
		if first {
			go l.run()
		}
	})
	l.kick() // the bounds may be others
	return l, func() { l.detach(c) }
}

func (l *Log) detach(c *Config) {
	logsMu.Lock()
	over := false
	l.gens.Detach(c, func(now *Config, last bool) {
		if over = last; !last {
			l.logs.Use(now.logger)
			l.set(func() { l.last = now })
		}
	})
	if over {
		delete(logs, l.dir)
	}
	logsMu.Unlock()
	if !over {
		return
	}
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.kick()
	select {
	case <-l.done:
	case <-time.After(closeTimeout):
		l.logger.Error("the disk of the message log does not answer", zap.String("directory", l.dir))
	}
}

func (l *Log) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Add keeps an entry, which is the log's from then on. It never waits: an entry
// that finds the queue full is dropped and counted. The log fills in Outcome
// and QueueID, which takes a look at the reply that no client should wait for.
func (l *Log) Add(e *Entry) {
	n := e.octets()
	l.mu.Lock()
	fits := !l.closing && len(l.queue) < maxQueued && l.octets+n <= maxQueuedOctets
	if fits {
		l.queue = append(l.queue, e)
		l.octets += n
		l.added++
	}
	l.mu.Unlock()
	if !fits {
		l.drop(1)
		return
	}
	l.kick()
}

func (l *Log) drop(n int) {
	l.dropped.Add(uint64(n)) //nolint:gosec // a length
	droppedTotal.Add(float64(n))
}

// run is the writer.
func (l *Log) run() {
	defer close(l.done)
	var st *store
	idle, syncing := time.NewTimer(tidyAfter), time.NewTimer(syncAfter)
	defer idle.Stop()
	syncing.Stop()
	defer syncing.Stop()
	for {
		if st == nil {
			st = l.open()
		}
		closing := l.pass(st)
		if closing {
			l.close(st)
			return
		}
		wait := tidyAfter
		if st == nil {
			wait = retryAfter
		}
		if st != nil && st.dirty {
			syncing.Reset(syncAfter)
		}
		idle.Reset(wait)
		select {
		case <-l.wake:
		case <-idle.C:
		case <-syncing.C:
			st.sync()
		}
	}
}

// open opens the directory, or notes why it cannot.
func (l *Log) open() *store {
	st, err := openStore(l.dir, l.logger)
	var hash *hasher
	if err == nil {
		st.trim(l.config().bounds(), time.Now(), 0, 0)
		// For those that were hashed before, whatever is in force now.
		if hash, err = loadHasher(l.dir, false); err != nil {
			l.logger.Warn("recipients of the message log that are hashed cannot be found", zap.Error(err))
			err = nil
		}
	}
	l.set(func() { l.store, l.hash = st, hash })
	l.fail(err)
	return st
}

// set changes what others look at, and wakes those who wait for it.
func (l *Log) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.moved)
	l.moved = make(chan struct{})
}

// fail notes how the last write went, and says so when that changes.
func (l *Log) fail(err error) {
	before := error(nil)
	l.set(func() { before, l.err = l.err, err })
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		l.logger.Error("the message log cannot be written; mail goes on without it",
			zap.String("directory", l.dir), zap.Error(err), zap.String("remedy", "see to the directory and its disk; it is tried again by itself"))
	case err == nil && before != nil:
		l.logger.Info("the message log is written again", zap.String("directory", l.dir), zap.Uint64("dropped", l.dropped.Load()))
	}
}

// pass writes what is queued. It reports whether the log is to end.
func (l *Log) pass(st *store) (closing bool) {
	l.mu.Lock()
	closing = l.closing
	if st == nil && !closing {
		l.mu.Unlock()
		return false // what is queued waits for the directory
	}
	batch := l.queue
	l.queue, l.octets = nil, 0
	hash := l.hash
	l.mu.Unlock()

	if st != nil {
		st.trim(l.config().bounds(), time.Now(), 0, 0)
	}
	if len(batch) == 0 {
		return closing
	}
	err := ErrNotOpen
	if st != nil {
		err = l.write(st, batch, hash)
	}
	if err != nil {
		l.drop(len(batch))
	} else {
		l.written.Add(uint64(len(batch)))
	}
	l.set(func() { l.settled += uint64(len(batch)) })
	l.fail(err)
	return closing
}

func (l *Log) write(st *store, batch []*Entry, hash *hasher) error {
	cfg := l.config()
	if cfg.HashRecipients && hash == nil {
		var err error
		// An address that is to be hashed is not written otherwise.
		if hash, err = loadHasher(l.dir, true); err != nil {
			return err
		}
		l.set(func() { l.hash = hash })
	}
	records := make([]record, 0, len(batch))
	for _, e := range batch {
		e.Outcome = e.judge()
		if e.Code/100 == 2 {
			e.QueueID = queueID(strings.Split(e.Reply, "\n"))
		}
		e.bound()
		if cfg.HashRecipients {
			hash.entry(e)
		}
		line, err := appendRecord(nil, e)
		if err != nil {
			return err
		}
		records = append(records, record{e.Time, line})
	}
	return st.write(records, cfg.bounds(), time.Now())
}

// config is what is in force, or was last.
func (l *Log) config() *Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *Log) close(st *store) {
	l.set(func() { l.store, l.err = nil, ErrNotOpen })
	if st == nil {
		return
	}
	if err := st.close(); err != nil {
		l.logger.Warn("closing the message log", zap.Error(err))
	}
}

// flush waits until what has been added is on disk, or lost.
func (l *Log) flush(ctx context.Context) (*store, *hasher, error) {
	l.mu.Lock()
	want := l.added
	l.mu.Unlock()
	for {
		l.mu.Lock()
		st, hash, err, settled, moved := l.store, l.hash, l.err, l.settled, l.moved
		l.mu.Unlock()
		switch {
		case st == nil && err != nil:
			return nil, nil, err
		case st != nil && settled >= want:
			return st, hash, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			if st == nil {
				return nil, nil, ErrNotOpen
			}
			return st, hash, nil // a slow disk: what is there is found
		}
	}
}

// Status is how a log stands.
type Status struct {
	// Directory is where it lies.
	Directory string `json:"directory"`
	// Count and Octets are what it holds; Oldest is when its oldest ended.
	Count  int        `json:"count"`
	Octets int64      `json:"octets"`
	Oldest *time.Time `json:"oldest,omitempty"`
	// Dropped is how many were not kept since the process began.
	Dropped uint64 `json:"dropped"`
	// Unclear counts files and records that were not understood.
	Unclear int `json:"unclear,omitempty"`
	// Error is why it is not written at the moment.
	Error string `json:"error,omitempty"`
}

// Status returns how the log stands.
func (l *Log) Status() Status {
	l.mu.Lock()
	st, err := l.store, l.err
	l.mu.Unlock()
	s := Status{Directory: l.dir, Dropped: l.dropped.Load()}
	if err != nil {
		s.Error = err.Error()
	}
	if st == nil {
		return s
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s.Unclear = st.unclear
	for _, seg := range st.segments {
		if seg.count > 0 && s.Oldest == nil {
			first := seg.first
			s.Oldest = &first
		}
		s.Count += seg.count
		s.Octets += seg.size
	}
	return s
}
