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

package storelock_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/filelock"
	. "github.com/caddymail/mailgateway/internal/storelock"
)

// locker is a storage's lock that tells of the contexts it is called with.
type locker struct {
	held bool
	err  error
}

func (l *locker) Lock(ctx context.Context, _ string) error {
	if err := errors.Join(ctx.Err(), l.err); err != nil {
		return err
	}
	l.held = true
	return nil
}

func (l *locker) Unlock(ctx context.Context, _ string) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("it may take for ever")
	}
	if ctx.Err() == nil {
		l.held = false
	}
	return ctx.Err()
}

func TestLock(t *testing.T) {
	l := new(locker)
	ctx, cancel := context.WithCancel(t.Context())
	unlock, err := Lock(ctx, l, "x", time.Minute)
	if err != nil || !l.held {
		t.Fatal(err)
	}
	cancel() // the work was given up; the lock is given back all the same
	if err := unlock(); err != nil || l.held {
		t.Errorf("held %v: %v", l.held, err)
	}
	if _, err := Lock(ctx, l, "x", time.Minute); !errors.Is(err, context.Canceled) || l.held {
		t.Errorf("with an ended context: %v", err)
	}
	l.err = errors.New("no storage")
	if _, err := Lock(t.Context(), l, "x", time.Minute); !errors.Is(err, l.err) {
		t.Errorf("without a storage: %v", err)
	}
}

// TestFiles holds that many short locks of files exclude each other, and leave
// nothing behind that would touch a later one.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if !filelock.HasBytes || !filelock.OnThisMachine(dir) {
		t.Skip("the directory is not known to be of this machine")
	}
	files := func() *certmagic.FileStorage { return &certmagic.FileStorage{Path: filepath.Join(dir, "storage")} }
	var (
		wg sync.WaitGroup
		mu sync.Mutex // is never waited for
		n  int
	)
	for range 4 {
		wg.Go(func() {
			for range 25 {
				unlock, err := Lock(t.Context(), files(), "x", time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if !mu.TryLock() {
					t.Error("two have the lock")
					return
				}
				n++
				mu.Unlock()
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n != 100 {
		t.Errorf("%d times locked", n)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if m := strings.Count(string(stacks), "keepLockfileFresh("); m != 0 {
		t.Errorf("%d goroutines are left, which write to whatever lock has the name", m)
	}
	left, err := filepath.Glob(filepath.Join(dir, "storage", "locks", "*.lock"))
	if err != nil || left != nil {
		t.Errorf("left: %v %v", left, err)
	}

	unlock, err := Lock(t.Context(), files(), "x", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Lock(short, files(), "x", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that is held: %v", err)
	}
	other, err := Lock(t.Context(), files(), "y", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, unlock := range []func() error{unlock, other} {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Lock(short, files(), "x", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an ended context: %v", err)
	}
}
