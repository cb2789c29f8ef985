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

package spool

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

const (
	maxAttempts  = 8                // deliveries at a time, of all accounts
	stopTimeout  = 10 * time.Second // for deliveries under way at the end
	lockInterval = time.Second      // between attempts to get the directory
)

// engines are the spools of the process by directory. They outlive
// configurations.
var (
	enginesMu sync.Mutex
	engines   = make(map[string]*engine)
)

// engine is one spool: its directory, and what is due when.
type engine struct {
	store  *store
	gens   generation.Stack[*Transport]
	logger *zap.Logger // of the first generation; each attempt has its own

	kick chan struct{} // something changed
	stop context.CancelFunc
	done chan struct{} // closed when nothing runs any more

	mu          sync.Mutex
	ready       bool // the directory is this process's, and read
	started     time.Time
	giveUpAfter time.Duration
	closing     bool
	lanes       map[string]*lane
	all         map[string]*message
	odd         []Oddity
	running     int
	// suspects is a lane whose next message may have killed the process; alone
	// says that it is at work, and nothing else.
	suspects *lane
	alone    bool
	draining *Draining // nil: it is not
	results  map[string]int64
	gaveUp   map[string]time.Time // by account: when a message was last given up
}

// lane is the messages of one account, in the order in which they came.
type lane struct {
	account string
	queue   []*message
	busy    bool
	until   time.Time // nothing is tried before: it was the account's trouble
}

func newEngine(fs disk.FS, dir string) *engine {
	return &engine{
		store: newStore(fs, dir),
		kick:  make(chan struct{}, 1),
		lanes: make(map[string]*lane), all: make(map[string]*message),
		results: make(map[string]int64), gaveUp: make(map[string]time.Time),
	}
}

// attachEngine puts a configuration in force, and begins the spool with the
// first.
func attachEngine(t *Transport) *engine {
	enginesMu.Lock()
	defer enginesMu.Unlock()
	e, ok := engines[t.dir]
	if !ok {
		e = newEngine(t.fs, t.dir)
		engines[t.dir] = e
	}
	e.attach(t)
	return e
}

func detachEngine(e *engine, t *Transport) {
	enginesMu.Lock()
	defer enginesMu.Unlock()
	e.gens.Detach(t, func(now *Transport, last bool) {
		if !last {
			e.configure(now)
			return
		}
		e.end()
		delete(engines, t.dir)
	})
}

func (e *engine) attach(t *Transport) {
	e.gens.Attach(t, func(first bool) {
		e.configure(t)
		if first {
			e.logger = t.logger
			e.begin()
			return
		}
		e.lookAgain()
	})
	e.wake()
}

// configure puts in force what is the spool's own of a configuration.
func (e *engine) configure(t *Transport) {
	e.store.configure(t.keys, t.bounds())
	e.trimAll(time.Duration(t.GiveUpAfter))
}

// begin reads the directory and starts the loop. Where another process still
// has the directory (an upgrade that starts the new one first), it waits for it
// and accepts nothing until then.
func (e *engine) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	e.stop, e.done = cancel, make(chan struct{})
	lock, err := e.open()
	if err != nil {
		e.logger.Warn("spool not ready", zap.String("dir", e.store.dir), zap.Error(err))
	}
	go e.run(ctx, lock)
}

// open takes and reads the directory.
func (e *engine) open() (io.Closer, error) {
	lock, found, odd, err := e.store.load()
	if err != nil {
		return nil, err
	}
	for _, o := range odd {
		e.logger.Error("file in the spool's directory left alone",
			zap.String("dir", e.store.dir), zap.String("file", o.Path), zap.String("reason", o.Why))
	}
	slices.SortFunc(found, func(a, b stored) int { return strings.Compare(a.env.ID, b.env.ID) })
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.odd, e.started = odd, now
	for _, st := range found {
		m := replay(st, now)
		if m.over() {
			// The provider has it; the process died before the removal.
			_ = e.store.remove(m.env, m.size)
			continue
		}
		if m.held != "" {
			e.logger.Error("spooled message held", zap.String("id", m.env.ID), zap.String("account", m.env.Account), zap.String("reason", m.held))
		}
		e.add(m)
	}
	e.ready = true
	return lock, nil
}

// lookAgain reads what could not be read before: its key may have come back.
func (e *engine) lookAgain() {
	e.mu.Lock()
	odd := e.odd
	e.mu.Unlock()
	if len(odd) == 0 {
		return
	}
	found, left := e.store.reread(odd)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.odd = left
	now := time.Now()
	for _, st := range found {
		if m := replay(st, now); m.over() {
			_ = e.store.remove(m.env, m.size)
		} else {
			e.add(m)
		}
	}
}

// add queues a message. The lock is held.
func (e *engine) add(m *message) {
	e.all[m.env.ID] = m
	l, ok := e.lanes[m.env.Account]
	if !ok {
		l = &lane{account: m.env.Account}
		e.lanes[m.env.Account] = l
	}
	l.queue = append(l.queue, m)
	e.trim(m, time.Now())
}

// take queues a message that has become durable.
func (e *engine) take(env *record.Envelope, size int64) {
	e.mu.Lock()
	e.add(replay(stored{env: env, size: size}, time.Now()))
	e.mu.Unlock()
	e.wake()
}

// mayKeep reports whether another message can be kept now.
func (e *engine) mayKeep() error {
	e.mu.Lock()
	ready, draining := e.ready && !e.closing, e.draining != nil
	e.mu.Unlock()
	switch {
	case !ready:
		return errAway
	case draining:
		return errDraining
	}
	return e.store.mayGrow()
}

func (e *engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// run starts what is due until ctx ends.
func (e *engine) run(ctx context.Context, lock io.Closer) {
	var attempts sync.WaitGroup
	defer close(e.done)
	defer func() {
		attempts.Wait()
		if lock != nil {
			_ = lock.Close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.kick:
		case <-timer.C:
		}
		if lock == nil {
			var err error
			if lock, err = e.open(); err != nil {
				timer.Reset(lockInterval)
				continue
			}
			e.logger.Info("spool ready", zap.String("dir", e.store.dir))
		}
		due, wait := e.due(time.Now())
		for _, l := range due {
			attempts.Go(func() {
				e.serve(ctx, l)
			})
		}
		timer.Reset(wait)
	}
}

// due returns the lanes to serve now, marked as busy, and when to look again.
func (e *engine) due(now time.Time) (due []*lane, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait = time.Hour
	if e.closing || e.store.illness() != nil || e.alone {
		return nil, wait
	}
	if e.suspects = e.suspect(now); e.suspects != nil {
		// The lanes at work end after their message.
		if e.running == 0 {
			e.suspects.busy, e.alone = true, true
			e.running++
			due = append(due, e.suspects)
		}
		return due, wait
	}
	for name, l := range e.lanes {
		if l.busy {
			continue
		}
		if len(l.queue) == 0 {
			delete(e.lanes, name)
			continue
		}
		m, at := e.first(l)
		switch {
		case m == nil:
		case at.After(now):
			wait = min(wait, at.Sub(now))
		case e.running >= maxAttempts:
			// The lane that ends next wakes the loop.
		default:
			l.busy = true
			e.running++
			due = append(due, l)
		}
	}
	return due, wait
}

// suspect returns a lane whose next message was under way when a process ended. It
// is tried alone, so that what dies of it is known: messages that were only under
// way beside it are not to be held for that.
func (e *engine) suspect(now time.Time) *lane {
	for _, l := range e.lanes {
		if l.busy {
			continue
		}
		if m, at := e.first(l); m != nil && m.open > 0 && !at.After(now) {
			return l
		}
	}
	return nil
}

// first returns the lane's next message, and when it is due. The lock is held.
func (e *engine) first(l *lane) (first *message, at time.Time) {
	for _, m := range l.queue {
		if m.held != "" || m.gone || m.trying {
			continue
		}
		if due := e.dueIn(l, m); first == nil || due.Before(at) {
			first, at = m, due
		}
		if !at.After(l.until) {
			break // nothing is earlier, and those in front go first
		}
	}
	return first, at
}

// dueIn is when a message of a lane is due. The account's trouble makes it wait, but
// not past the time at which it is given up.
func (e *engine) dueIn(l *lane, m *message) time.Time {
	due := m.due()
	if end := e.expiry(m); l.until.After(due) && (l.until.Before(end) || due.After(end)) {
		return l.until
	} else if l.until.After(due) {
		return end
	}
	return due
}

// serve tries what is due of one lane, one message after the other.
func (e *engine) serve(ctx context.Context, l *lane) {
	defer func() {
		e.mu.Lock()
		l.busy = false
		e.running--
		if e.suspects == l {
			e.suspects, e.alone = nil, false
		}
		e.mu.Unlock()
		e.wake()
	}()
	for first := true; ctx.Err() == nil; first = false {
		t, ok := e.gens.Current()
		if !ok {
			return
		}
		e.mu.Lock()
		m, at := e.first(l)
		if m == nil || at.After(time.Now()) || e.closing || !first && (e.suspects != nil || m.open > 0) {
			e.mu.Unlock()
			return
		}
		m.trying = true
		e.mu.Unlock()
		until := e.attempt(ctx, t, m)
		e.mu.Lock()
		m.trying = false
		if until.After(l.until) {
			l.until = until
		}
		e.mu.Unlock()
		if m.gone {
			e.unlink(m)
		}
		if e.store.illness() != nil {
			return
		}
	}
}

// end stops the spool: deliveries under way finish within stopTimeout when the
// process ends, and are cut off then; their messages lie on the disk. A reload
// does not wait.
func (e *engine) end() {
	e.mu.Lock()
	e.closing = true
	n := len(e.all)
	e.mu.Unlock()
	if n > 0 {
		e.logger.Info("spool closed with messages", zap.String("dir", e.store.dir), zap.Int("messages", n))
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		deadline := time.NewTimer(stopTimeout)
		defer deadline.Stop()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for e.busy() {
			select {
			case <-deadline.C:
				e.stop()
				<-e.done
				return
			case <-tick.C:
			}
		}
		e.stop()
		<-e.done
	}()
	if caddy.Exiting() {
		<-finished
	}
}

func (e *engine) busy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running > 0
}

// results are the values that count is called with.
var results = []string{"accepted", "sent", "refused", "deferred", "handed_over", "given_up", "held", "deleted"}

// count notes a result for the metrics.
func (e *engine) count(result string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.results[result]++
}

// unlink forgets a message that is gone.
func (e *engine) unlink(m *message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, m.env.ID)
	if l, ok := e.lanes[m.env.Account]; ok {
		l.queue = slices.DeleteFunc(l.queue, func(o *message) bool { return o == m })
	}
}
