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

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package lane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// firstModern is the first lane of processes that know journals. Versions before
// them take the lowest that is free.
const firstModern = 500

// flockLanes are for files: the system lets go of a process's locks with the
// process.
//
// The processes that know journals take turns at a shard by the lock of its file
// "turn", and share that of its file "lock" for as long as they live. Versions
// before them take turns by "lock": one that begins waits there until the others
// have noticed it (Older), have written the files that it reads, and parted with the
// shard. While it lives all take turns by "lock".
type flockLanes struct {
	dir  string
	mine *os.File

	mu   sync.Mutex
	kept map[int]*os.File // the shared locks, by shard; nil after Release
}

func openFlock(dir string) (Lanes, int, error) {
	l := &flockLanes{dir: dir, kept: make(map[int]*os.File)}
	if err := os.MkdirAll(filepath.Join(dir, "lanes"), 0o700); err != nil {
		return nil, 0, err
	}
	for n := firstModern; n < most; n++ {
		f, err := filelock.Try(l.lane(n))
		if err != nil {
			return nil, 0, err
		}
		if f != nil {
			l.mine = f
			return l, n, nil
		}
	}
	return nil, 0, fmt.Errorf("%d processes share %s", most-firstModern, dir)
}

func (l *flockLanes) lane(n int) string {
	return filepath.Join(l.dir, "lanes", strconv.Itoa(n)+".lock")
}

func (l *flockLanes) Lock(ctx context.Context, shard int) (func(), bool, error) {
	dir := filepath.Join(l.dir, strconv.Itoa(shard))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	if !l.keeps(shard) {
		name := filepath.Join(dir, "lock")
		f, err := await(ctx, name, func() (*os.File, error) { return l.enter(shard, name) })
		if err != nil {
			return nil, false, err
		}
		if !l.keeps(shard) {
			return func() { _ = f.Close() }, false, nil
		}
	}
	name := filepath.Join(dir, "turn")
	f, err := await(ctx, name, func() (*os.File, error) { return filelock.Try(name) })
	if err != nil {
		return nil, false, err
	}
	return func() { _ = f.Close() }, true, nil
}

// enter tries to get the lock of a shard: alone while a process of an earlier version
// lives, else shared, to be kept. A process of one that claims its lane after it was
// looked for waits for the lock.
func (l *flockLanes) enter(shard int, name string) (*os.File, error) {
	older, err := l.older()
	if err != nil {
		return nil, err
	}
	if older {
		return filelock.Try(name)
	}
	f, err := filelock.TryShared(name)
	if f == nil || err != nil {
		return nil, err
	}
	if older, err = l.older(); older || err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil {
		return nil, errors.Join(os.ErrClosed, f.Close())
	}
	l.kept[shard] = f
	return f, nil
}

func (l *flockLanes) keeps(shard int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept[shard] != nil
}

func (l *flockLanes) Part(shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.kept[shard]; f != nil {
		_ = f.Close()
		delete(l.kept, shard)
	}
}

// await tries a lock until it has it.
func await(ctx context.Context, name string, try func() (*os.File, error)) (*os.File, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if f, err := try(); f != nil || err != nil {
			return f, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("locking %s: %w", name, ctx.Err())
		}
	}
}

func (l *flockLanes) Older() (bool, error) {
	l.mu.Lock()
	keeps := len(l.kept) > 0
	l.mu.Unlock()
	if !keeps {
		return false, nil
	}
	return l.older()
}

// older reports whether a process of an earlier version lives.
func (l *flockLanes) older() (bool, error) {
	entries, err := os.ReadDir(filepath.Join(l.dir, "lanes"))
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".lock")
		if n, err := strconv.Atoi(name); !ok || err != nil || n >= firstModern {
			continue
		}
		f, err := filelock.Try(filepath.Join(l.dir, "lanes", e.Name()))
		if f == nil || err != nil {
			return err == nil, err
		}
		if err := f.Close(); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (l *flockLanes) Dead(_ context.Context, n int) (bool, error) {
	giveBack, err := l.Take(n)
	if giveBack == nil || err != nil {
		return false, err
	}
	giveBack()
	return true, nil
}

func (l *flockLanes) Take(n int) (func(), error) {
	f, err := filelock.Try(l.lane(n))
	if f == nil || err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

func (l *flockLanes) Release() {
	l.mu.Lock()
	kept := l.kept
	l.kept = nil
	l.mu.Unlock()
	for _, f := range kept {
		_ = f.Close()
	}
	_ = l.mine.Close()
}
