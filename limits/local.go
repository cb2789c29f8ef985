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
	"context"
	"math"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits/journal"
	"github.com/caddymail/mailgateway/limits/lane"
	"github.com/caddymail/mailgateway/limits/legacy"
)

const (
	shardCount   = 64
	storeTimeout = 20 * time.Second
	// shutTimeout bounds the wait for the last write.
	shutTimeout = 5 * time.Second
	// retryAfter is the pause after a write that failed.
	retryAfter = time.Second
	// complainEvery bounds the log lines about writes that fail.
	complainEvery = 10 * time.Second
)

// Config is what a configuration says of an upstream's limits.
type Config struct {
	// Limits are those of each mailbox.
	Limits accounts.Limits
	// Storage keeps the counts; nil keeps them in memory only.
	Storage certmagic.Storage
	// Lender says what may be lent where other nodes lend for the same
	// mailboxes; the counts are then its to keep, and Storage is not used.
	Lender Lender
	Logger *zap.Logger
}

// Local is the Limiter of processes that share a storage, on one machine as a
// rule. It belongs to an upstream and outlives its configurations.
type Local struct {
	name   string
	set    atomic.Pointer[Config]
	closed atomic.Bool
	epoch  atomic.Uint64 // of the right to lend: Forget begins the next
	until  atomic.Int64  // slots are lent until then
	legacy atomic.Pointer[map[string]legacy.Counts]
	shards [shardCount]shard

	laneMu sync.Mutex
	lanes  lane.Lanes
	lane   int
	files  *files        // journals, where the storage has them
	place  journal.Place // what tests have of it

	sharing sharing

	complained atomic.Int64
	writers    sync.WaitGroup
}

// NewLocal returns the limiter of the upstream of that name.
func NewLocal(upstream string, c Config) *Local {
	l := &Local{name: upstream, lane: -1}
	for i := range l.shards {
		l.shards[i].i = i
		l.shards[i].mailboxes = make(map[string]*mailbox)
	}
	l.Configure(c)
	return l
}

// Configure puts another configuration in force, and opens a limiter that was
// closed.
func (l *Local) Configure(c Config) {
	if l.closed.Load() {
		l.writers.Wait()
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Lender != nil {
		c.Storage = nil
	}
	prev := l.set.Swap(&c)
	l.closed.Store(false)
	if prev != nil && prev.Lender != nil && prev.Lender != c.Lender {
		l.writers.Go(func() { prev.Lender.Release(l) })
	}
	if c.Lender != nil {
		c.Lender.Adopt(l)
	}
	if prev != nil && directory(prev.Storage) != directory(c.Storage) {
		l.move()
	}
	l.each(func(m *mailbox) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.refresh()
		m.dispatch(Now())
	})
}

func (l *Local) current() *Config { return l.set.Load() }

// valid reports whether the process may lend what it has stored ahead.
func (l *Local) valid(now int64) bool {
	if lender := l.current().Lender; lender != nil {
		return now < lender.Until() && !l.closed.Load()
	}
	return now < l.until.Load()
}

// Close ends the lending. What is stored is exact afterwards, but for messages
// that are still under way. Wait returns when it is.
func (l *Local) Close() {
	l.closed.Store(true)
	l.each(func(m *mailbox) {
		m.mu.Lock()
		m.fail(ErrClosed)
		m.stopTimer()
		m.mu.Unlock()
	})
	for i := range l.shards {
		l.shards[i].stop() // no writer begins from here on
	}
	l.laneMu.Lock()
	l.files.stop()
	l.laneMu.Unlock()
	l.writers.Go(func() {
		whole := true
		for i := range l.shards {
			sh := &l.shards[i]
			if _, err := sh.flush(l, final); err != nil {
				l.complain(err)
				whole = false
			}
		}
		l.leave(whole)
		if lender := l.current().Lender; lender != nil {
			lender.Release(l)
		}
	})
}

// Wait returns when everything is stored and no goroutine is left.
func (l *Local) Wait() { l.writers.Wait() }

// Shut closes the limiter of an upstream that is gone, and waits for its last
// write: the storage may be closed after this. One that hangs must not hold up
// Caddy, which has its configuration locked meanwhile.
func (l *Local) Shut() {
	l.Close()
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		l.Wait()
	}()
	t := time.NewTimer(shutTimeout)
	defer t.Stop()
	select {
	case <-stored:
	case <-t.C:
		l.current().Logger.Warn("the storage does not answer, what is counted is written in the background", zap.String("upstream", l.name))
	}
}

// leave gives the lane back. Whole says that each shard's file has all that is counted.
func (l *Local) leave(whole bool) {
	l.until.Store(0)
	l.laneMu.Lock()
	lanes, files := l.lanes, l.files
	l.lanes, l.lane, l.files = nil, -1, nil
	l.laneMu.Unlock()
	for i := range l.shards {
		l.shards[i].unload(false)
	}
	if files != nil {
		if err := files.leave(whole); err != nil {
			l.complain(err) // it is folded, to no change, by the next
		}
	}
	if lanes != nil {
		lanes.Release()
	}
}

// move begins again at another storage, with what is counted.
func (l *Local) move() {
	l.leave(false)
	l.movePlaces()
	for i := range l.shards {
		l.shards[i].unload(true)
	}
}

// directory tells storages apart. What is not known to be another place is taken
// for the same: each configuration has a value of its own.
func directory(s certmagic.Storage) string {
	if f, ok := s.(*certmagic.FileStorage); ok {
		return f.Path
	}
	if s == nil {
		return "-"
	}
	return ""
}

// hold is what this process has of the storage.
type hold struct {
	lanes lane.Lanes
	lane  int
	files *files // nil where there are no journals
}

// claim takes a lane, once.
func (l *Local) claim(ctx context.Context) (hold, error) {
	l.laneMu.Lock()
	defer l.laneMu.Unlock()
	if l.lanes != nil && l.until.Load() != math.MaxInt64 && !l.valid(Now()) {
		// Another process may have taken this one for dead and its counts
		// for what it left.
		l.lanes.Release()
		l.lanes = nil
		for i := range l.shards {
			l.shards[i].unload(false)
		}
	}
	if l.lanes != nil {
		return hold{l.lanes, l.lane, l.files}, nil
	}
	set := l.current()
	if l.legacy.Load() == nil {
		old, err := legacy.Read(ctx, set.Storage, set.Logger, l.name)
		if err != nil {
			return hold{}, err
		}
		l.legacy.Store(&old)
	}
	lanes, n, err := lane.Open(ctx, set.Storage, l.dir(), Now, &l.until)
	if err != nil {
		return hold{}, err
	}
	if l.files, err = openFiles(ctx, l, lanes, n); err != nil {
		lanes.Release()
		return hold{}, err
	}
	l.lanes, l.lane = lanes, n
	return hold{lanes, n, l.files}, nil
}

func (l *Local) dir() string {
	return path.Join("smtp", "limits", certmagic.StorageKeys.Safe(l.name))
}

func (l *Local) complain(err error) {
	now := Now()
	last := l.complained.Load()
	if last != 0 && now-last < int64(complainEvery) || !l.complained.CompareAndSwap(last, now) {
		return
	}
	l.current().Logger.Error("storing limits failed: messages beyond what is stored ahead are refused",
		zap.String("upstream", l.name), zap.Error(err))
}

func (l *Local) each(f func(*mailbox)) {
	for i := range l.shards {
		for _, m := range l.shards[i].list() {
			f(m)
		}
	}
}

// shard returns the part of the mailboxes that the name belongs to. It is the
// same in every process.
func (l *Local) shard(name string) *shard {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return &l.shards[(h^h>>16)%shardCount]
}
