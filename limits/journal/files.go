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

package journal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/caddymail/mailgateway/limits/record"
)

// Files are a process's files of shards, with its journal.
type Files struct {
	Place
	lane int
	log  *Log

	written atomic.Int64 // size of the files since the journal was begun anew

	mu     sync.Mutex
	tails  map[int]*Tail
	hollow map[string]bool // files without a mailbox, which say that lines are over
}

// Open takes over what is left of the journal of a lane, which the caller holds.
func Open(ctx context.Context, p Place, lane int) (*Files, error) {
	if p.FS == nil {
		p.FS = OS{}
	}
	f := &Files{Place: p, lane: lane, tails: make(map[int]*Tail), hollow: make(map[string]bool)}
	all, err := List(f.FS, f.Dir())
	if err == nil && all[lane] != nil {
		err = f.Fold(ctx, lane, all[lane])
	}
	if err != nil {
		return nil, err
	}
	f.log = newLog(f.FS, f.Dir(), lane)
	return f, nil
}

// Lines are those that the journals of other living processes have of a shard, by
// lane. What an ended one left is in its files then; take gives its lane, or nil for
// one that lives.
func (f *Files) Lines(ctx context.Context, shard int, take func(lane int) (func(), error)) (map[int][]Line, error) {
	all, err := List(f.FS, f.Dir())
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := make(map[int][]Line)
	for n, segments := range all {
		if n == f.lane {
			continue
		}
		giveBack, err := take(n)
		if err != nil {
			return nil, err
		}
		if giveBack != nil {
			delete(f.tails, n)
			err := f.Fold(ctx, n, segments)
			giveBack()
			if err != nil {
				return nil, err
			}
			continue
		}
		tail := f.tails[n]
		if tail == nil {
			tail = NewTail(f.FS, f.Dir(), n, f.Log)
			f.tails[n] = tail
		}
		of, err := tail.Lines(segments, shard)
		if err != nil {
			return nil, err
		}
		lines[n] = append([]Line{}, of...) // not nil: it lives
	}
	return lines, nil
}

// Append stores what changed of a shard. Large reports whether the journal should be
// begun anew.
func (f *Files) Append(shard int, part *record.File) (large bool, err error) {
	part.Version = record.Version
	text, err := json.Marshal(part)
	if err != nil {
		return false, err
	}
	err = f.log.Append(shard, text)
	return f.log.Size() > max(cmp.Or(f.Most, 1<<20), f.written.Load()), err
}

// Write writes the file of a shard, which has all that the journal has of it.
func (f *Files) Write(ctx context.Context, shard int, all *record.File) error {
	all.Journal, all.Seq = f.log.Name(), f.log.Last()
	key, empty := record.Key(f.Key, shard, f.lane), len(all.Mailboxes) == 0
	f.mu.Lock()
	if delete(f.hollow, key); empty {
		f.hollow[key] = true
	}
	f.mu.Unlock()
	if empty && all.Seq == 0 {
		return record.Remove(ctx, f.Storage, key)
	}
	n, err := all.Store(ctx, f.Storage, key)
	if err == nil {
		err = f.Settle(shard)
	}
	f.written.Add(int64(n))
	return err
}

// Anew begins the journal anew: write writes all files, and reports whether all have
// been written.
func (f *Files) Anew(write func() bool) error {
	segments := f.log.Rotate()
	f.written.Store(0)
	if !write() {
		return nil
	}
	return f.log.Forget(segments)
}

// Close lets go of the journal. It is removed if the files have all that is in it.
func (f *Files) Close(whole bool) error {
	defer f.log.Close()
	if !whole {
		return nil
	}
	if err := f.log.Forget(f.log.Rotate()); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for key := range f.hollow {
		err = errors.Join(err, record.Remove(context.Background(), f.Storage, key))
	}
	return err
}
