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
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/internal/loggers"
	"github.com/caddymail/mailgateway/internal/order"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

const (
	maxAttempts  = 8                // deliveries at a time, of all accounts
	stopTimeout  = 10 * time.Second // for deliveries under way at the end
	lockInterval = time.Second      // between attempts to get the directory
	openWait     = 5 * time.Second  // in which a start reads the messages before all else goes on
)

// errReading is why a spool is not ready whose directory has very many messages.
var errReading = errors.New("its messages are being read")

// engines are the spools of the process by directory. They outlive
// configurations.
var (
	enginesMu sync.Mutex
	engines   = make(map[string]*engine)
)

// engine is one spool: its directory, and what is due when.
type engine struct {
	store  *store.Store
	gens   generation.Stack[*Transport]
	logs   loggers.Current
	logger *zap.Logger // of the generation in force; each attempt has its own

	kick chan struct{} // something changed
	stop context.CancelFunc
	done chan struct{} // closed when nothing runs any more

	looking  sync.Mutex // held while files are read again
	steering sync.Mutex // held while an operator's wish is followed

	mu          sync.Mutex
	ready       bool  // the directory is this process's, and read
	unready     error // why it is not
	started     time.Time
	giveUpAfter time.Duration
	closing     bool
	lanes       map[string]*lane
	asleep      order.Heap[*lane] // those that have nothing to do now, by when they have
	waiting     order.Heap[*lane] // those that wait for their turn
	all         map[string]*message
	arrived     []*message // all of them in the order in which they came, and some that are gone
	unsorted    bool       // they are not in order
	past        int        // how many of them are gone
	tally       tally
	doubtful    map[*message]bool // what was under way when a process ended
	odd         []store.Oddity
	lookAt      time.Time // when these are read again by itself; zero: there are none
	mayLook     time.Time // not before, whoever asks
	running     int
	crowded     bool // lanes wait for a place among those that run
	keeping     int  // messages that are on their way to the disk
	// hands are those who write in the directory beside the attempts: it is not
	// given away before they end. None comes once closing is set.
	hands sync.WaitGroup
	// suspects is a lane whose next message may have killed the process; alone
	// says that it is at work, and nothing else.
	suspects *lane
	alone    bool
	draining *Draining // nil: it is not
	results  map[string]int64
	ledger   *illness.Ledger
	unsaid   map[*message]bool // a report of these could not be made yet
	sealed   map[*message]bool // the key of these is gone
}

func newEngine(t *Transport) *engine {
	s := store.New(t.fs, t.dir)
	if t.notes != "" {
		s.RememberIn(store.Note(t.notes, t.dir))
	}
	s.MentionIn(t.mention)
	s.Leave() // it is another's until it is read
	e := &engine{
		store: s,
		kick:  make(chan struct{}, 1),
		lanes: make(map[string]*lane), all: make(map[string]*message), doubtful: make(map[*message]bool),
		asleep:  order.New(func(a, b *lane) bool { return a.at.Before(b.at) }, func(l *lane) *order.Place { return &l.place }),
		waiting: order.New(func(a, b *lane) bool { return a.last.Before(b.last) }, func(l *lane) *order.Place { return &l.place }),
		results: make(map[string]int64), ledger: illness.NewLedger(), unsaid: make(map[*message]bool), sealed: make(map[*message]bool),
		tally: tally{held: make(map[string]int)},
	}
	e.logger = e.logs.Logger()
	return e
}

// attachEngine puts a configuration in force, and begins the spool with the
// first.
func attachEngine(t *Transport) *engine {
	enginesMu.Lock()
	defer enginesMu.Unlock()
	e, ok := engines[t.dir]
	if !ok {
		e = newEngine(t)
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
			if e.configure(now) {
				go e.tryAll()
			}
			return
		}
		e.end()
		delete(engines, t.dir)
	})
}

func (e *engine) attach(t *Transport) {
	e.gens.Attach(t, func(first bool) {
		rekeyed := e.configure(t)
		if first {
			e.begin()
			return
		}
		e.lookAgain()
		if rekeyed {
			go e.tryAll()
		}
	})
	e.wake()
}

// configure puts in force what is the spool's own of a configuration. It reports
// whether the keys are others than before.
func (e *engine) configure(t *Transport) (rekeyed bool) {
	e.logs.Use(t.logger)
	rekeyed = e.store.Configure(t.keys, t.bounds())
	e.trimAll(time.Duration(t.GiveUpAfter))
	return rekeyed
}

// begin reads the directory and starts the loop. Where another process still
// has the directory (an upgrade that starts the new one first), it waits for it
// and accepts nothing until then; nor while very many messages are read.
func (e *engine) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	e.stop, e.done = cancel, make(chan struct{})
	tried := make(chan struct{})
	go func() {
		lock := e.tryOpen()
		close(tried)
		e.run(ctx, lock)
	}()
	patience := time.NewTimer(openWait)
	defer patience.Stop()
	select {
	case <-tried:
	case <-patience.C:
		e.mu.Lock()
		if !e.ready && e.unready == nil {
			e.unready = errReading
			e.logger.Info("spool not ready", zap.String("dir", e.store.Dir()), zap.Error(errReading))
		}
		e.mu.Unlock()
	}
}

// tryOpen is open, and says why the spool is not ready when that is news. The lock is nil
// then.
func (e *engine) tryOpen() disk.Lock {
	lock, err := e.open()
	e.mu.Lock()
	was := e.unready
	e.unready = err
	e.mu.Unlock()
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		level := zap.ErrorLevel
		if errors.Is(err, disk.ErrLocked) {
			level = zap.WarnLevel // an upgrade's old process ends by itself
		}
		e.logger.Log(level, "spool not ready", zap.String("dir", e.store.Dir()), zap.Error(err))
	case err == nil && was != nil:
		e.logger.Info("spool ready", zap.String("dir", e.store.Dir()))
	}
	return lock
}

// open takes and reads the directory.
func (e *engine) open() (disk.Lock, error) {
	lock, found, odd, err := e.store.Load()
	if err != nil {
		return nil, err
	}
	for _, o := range odd {
		e.logger.Error("file in the spool's directory left alone",
			zap.String("dir", e.store.Dir()), zap.String("file", o.Path), zap.String("reason", o.Why))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = time.Now()
	e.takeUp(found, odd, e.started)
	e.ready = true
	return lock, nil
}

// takeUp queues messages that were read, in the order in which they came, and notes
// what could not be. The lock is held.
func (e *engine) takeUp(found []store.Found, odd []store.Oddity, now time.Time) {
	e.odd, e.lookAt = odd, time.Time{}
	if len(odd) > 0 {
		e.lookAt = now.Add(notePause)
	}
	for _, st := range found {
		if e.all[st.Env.ID] != nil {
			continue
		}
		m := replay(st, now)
		if m.over() {
			// The provider has it; the process died before the removal.
			if e.store.Remove(m.env, m.size) == nil || e.store.Illness() != nil {
				continue
			}
			m.next = now.Add(notePause)
		}
		if m.held != "" {
			e.logger.Error("spooled message held", zap.String("id", m.env.ID), zap.String("account", m.env.Account), zap.String("reason", m.held))
		}
		e.add(m, now)
	}
}

// lookAgain reads what could not be read before: its key may have come back, its disk,
// or a good copy; and forgets what is no longer there.
func (e *engine) lookAgain() {
	e.looking.Lock()
	defer e.looking.Unlock()
	e.mu.Lock()
	odd := e.odd
	if len(odd) == 0 || !e.ready || e.closing {
		e.mu.Unlock()
		return
	}
	e.hands.Add(1)
	e.mu.Unlock()
	defer e.hands.Done()
	start := time.Now()
	found, left := e.store.Reread(odd)
	now := time.Now()
	e.mu.Lock()
	e.takeUp(found, left, now)
	e.mayLook = now.Add(max(time.Second, lookShare*now.Sub(start)))
	e.mu.Unlock()
	if len(found) > 0 {
		e.wake()
	}
}

// lookShare is how many times as long as a look takes none is made because somebody
// asks.
const lookShare = 50

// lookIfAsked looks again for whoever wants to know what is wrong now.
func (e *engine) lookIfAsked() {
	e.mu.Lock()
	may := len(e.odd) > 0 && !time.Now().Before(e.mayLook)
	e.mu.Unlock()
	if may && e.store.Gone() == nil {
		e.lookAgain()
	}
}

// lookWhenDue does that for what may pass by itself, and returns when it is to be done
// next; zero if there is nothing.
func (e *engine) lookWhenDue(now time.Time) time.Time {
	e.mu.Lock()
	at := e.lookAt
	e.mu.Unlock()
	if at.IsZero() || at.After(now) {
		return at
	}
	e.lookAgain()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lookAt
}

// take queues a message that has become durable.
func (e *engine) take(env *record.Envelope, size int64) {
	now := time.Now()
	e.mu.Lock()
	e.add(replay(store.Found{Env: env, Size: size}, now), now)
	e.mu.Unlock()
	e.wake()
}

// mayKeep reports whether another message can be kept now.
func (e *engine) mayKeep() error {
	e.mu.Lock()
	err := e.accepts()
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return e.store.MayGrow()
}

// accepts reports whether messages are taken at all. The lock is held.
func (e *engine) accepts() error {
	switch {
	case !e.ready || e.closing:
		return store.ErrAway
	case e.draining != nil:
		return errDraining
	}
	return nil
}

// keep makes a message durable and queues it. Neither the end of the process nor
// that of a drain passes it by meanwhile.
func (e *engine) keep(k *store.Keeper) error {
	e.mu.Lock()
	if err := e.accepts(); err != nil {
		e.mu.Unlock()
		return err
	}
	e.keeping++
	e.hands.Add(1)
	e.mu.Unlock()
	defer e.hands.Done()
	err := k.Commit()
	if err == nil {
		e.take(k.Env, k.Size)
	}
	e.mu.Lock()
	e.keeping--
	e.mu.Unlock()
	return err
}

func (e *engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// run starts what is due until ctx ends.
func (e *engine) run(ctx context.Context, lock disk.Lock) {
	var attempts sync.WaitGroup
	defer close(e.done)
	defer func() {
		attempts.Wait()
		e.hands.Wait()
		e.store.Leave()
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
			if lock = e.tryOpen(); lock == nil {
				timer.Reset(lockInterval)
				continue
			}
		}
		look := e.lookWhenDue(time.Now())
		due, wait := e.due(time.Now())
		if !look.IsZero() {
			wait = min(wait, time.Until(look))
		}
		wait = min(wait, time.Until(e.keepClock()))
		for _, l := range due {
			attempts.Go(func() {
				e.serve(ctx, l)
			})
		}
		timer.Reset(wait)
	}
}

// keepClock writes the spool's clock while there are messages, and returns when to do
// so again.
func (e *engine) keepClock() (next time.Time) {
	now := time.Now()
	e.mu.Lock()
	empty := len(e.all) == 0
	e.mu.Unlock()
	if empty {
		return now.Add(time.Hour) // the next message wakes the loop
	}
	next, err := e.store.KeepClock(now)
	if err != nil {
		e.logger.Warn("the spool's clock was not written: after a crash its mail is younger than it is", zap.String("dir", e.store.Dir()), zap.Error(err))
	}
	return next
}

// end stops the spool: deliveries under way finish within stopTimeout when the
// process ends, and are cut off then; their messages lie on the disk. A reload
// does not wait.
func (e *engine) end() {
	e.mu.Lock()
	e.closing = true
	n := len(e.all)
	e.mu.Unlock()
	switch {
	case n > 0 && caddy.Exiting():
		e.logger.Info("spool closed with messages", zap.String("dir", e.store.Dir()), zap.Int("messages", n))
	case n > 0:
		e.logger.Warn("spool closed with messages, which are not sent: the configuration has no spool with its directory any more", zap.String("dir", e.store.Dir()), zap.Int("messages", n))
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
	return e.running > 0 || e.keeping > 0
}

// count notes a result for the metrics: one of gauges.Results.
func (e *engine) count(result string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.results[result]++
}
