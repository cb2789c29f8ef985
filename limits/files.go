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
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/limits/journal"
	"github.com/caddymail/mailgateway/limits/lane"
	"github.com/caddymail/mailgateway/limits/record"
)

// olderEvery is how often it is looked whether a process of a version without
// journals waits for the shards.
const olderEvery = 2 * time.Second

// files are a storage's on which shards are written by lines of a journal, and whole
// only now and then. There are none (nil) where processes are told apart by signs of
// life.
type files struct {
	*journal.Files
	local *Local
	lanes lane.Lanes

	compacting atomic.Bool

	mu      sync.Mutex
	watch   *time.Timer
	stopped bool
}

func openFiles(ctx context.Context, l *Local, lanes lane.Lanes, n int) (*files, error) {
	set := l.current()
	st, ok := set.Storage.(*certmagic.FileStorage)
	if !ok || l.until.Load() != math.MaxInt64 {
		return nil, nil
	}
	at := l.place
	at.Storage, at.Key, at.Log = st, l.dir(), set.Logger
	j, err := journal.Open(ctx, at, n)
	if err != nil {
		return nil, err
	}
	f := &files{Files: j, local: l, lanes: lanes}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = time.AfterFunc(olderEvery, f.look)
	return f, nil
}

// lines are those of a shard that other processes' journals have, by lane.
func (f *files) lines(ctx context.Context, shard int) (map[int][]journal.Line, error) {
	if f == nil {
		return nil, nil
	}
	return f.Lines(ctx, shard, f.lanes.Take)
}

// append stores what changed of a shard. Its caller is a writer.
func (f *files) append(shard int, part *record.File) error {
	large, err := f.Append(shard, part)
	if large && f.compacting.CompareAndSwap(false, true) {
		f.local.writers.Go(f.compact)
	}
	return err
}

func (f *files) compact() {
	defer f.compacting.Store(false)
	err := f.Anew(func() bool { return f.flush(whole) && !f.local.closed.Load() })
	if err != nil {
		f.local.complain(err)
	}
}

// flush writes the files of all shards, and reports whether it did.
func (f *files) flush(how manner) bool {
	all := true
	for i := range f.local.shards {
		if _, err := f.local.shards[i].flush(f.local, how); err != nil {
			f.local.complain(err)
			all = false
		}
	}
	return all
}

// look parts with all shards if a process waits for them that knows no journal.
func (f *files) look() {
	older, err := f.lanes.Older()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	if older && err == nil {
		f.local.writers.Go(func() { f.flush(parting) })
	}
	f.watch.Reset(olderEvery)
}

// stop ends the look for other processes.
func (f *files) stop() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.watch.Stop()
}

// leave lets go of the journal.
func (f *files) leave(whole bool) error {
	f.stop()
	return f.Close(whole)
}
