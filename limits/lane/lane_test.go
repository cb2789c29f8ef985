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

package lane

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"
)

// TestMain lets certmagic's locks go, which keep a goroutine for some seconds.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

var started = time.Now()

func now() int64 { return int64(time.Since(started)) + 1 }

// plain hides that a storage is made of files.
type plain struct{ certmagic.Storage }

// TestLanes checks that each process has a lane of its own, that one that lives is
// not taken for dead, and that a lane that was given back is the next one's.
func TestLanes(t *testing.T) {
	for name, wrap := range map[string]func(*certmagic.FileStorage) certmagic.Storage{
		"files":         func(f *certmagic.FileStorage) certmagic.Storage { return f },
		"signs of life": func(f *certmagic.FileStorage) certmagic.Storage { return plain{f} },
	} {
		t.Run(name, func(t *testing.T) {
			least := 0
			if l, n, err := openFlock(t.TempDir()); err == nil {
				l.Release()
				if name == "files" {
					least = n
				}
			}
			ctx := context.Background()
			st := wrap(&certmagic.FileStorage{Path: t.TempDir()})
			open := func(want int) Lanes {
				t.Helper()
				want += least
				var until atomic.Int64
				l, n, err := Open(ctx, st, "limits/up", now, &until)
				if err != nil || n != want {
					t.Fatalf("lane %d, want %d: %v", n, want, err)
				}
				if u := until.Load(); u != math.MaxInt64 && (u <= now() || u > now()+int64(DeadAfter)) {
					t.Fatalf("believed to live until %d, now %d", u, now())
				}
				return l
			}
			first, second := open(0), open(1)
			dead := func(l Lanes, lane int, want bool) {
				t.Helper()
				lane += least
				unlock, _, err := l.Lock(ctx, 7)
				if err != nil {
					t.Fatal(err)
				}
				defer unlock()
				if got, err := l.Dead(ctx, lane); got != want || err != nil {
					t.Fatalf("lane %d is dead: %v %v, want %v", lane, got, err, want)
				}
			}
			dead(second, 0, false)
			dead(first, 1, false)
			first.Release()
			dead(second, 0, true)
			third := open(0)
			dead(second, 0, false)
			third.Release()
			second.Release()
		})
	}
}

// TestLockWaits checks that a shard is one process's at a time, and that the wait
// ends with the context.
func TestLockWaits(t *testing.T) {
	st := &certmagic.FileStorage{Path: t.TempDir()}
	var until atomic.Int64
	open := func() Lanes {
		l, _, err := Open(t.Context(), st, "limits/up", now, &until)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := open(), open()
	defer a.Release()
	defer b.Release()
	unlock, _, err := a.Lock(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.Lock(ctx, 3); err == nil {
		t.Fatal("two processes have one shard")
	}
	other, _, err := b.Lock(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	other()
	got := make(chan error, 1)
	go func() {
		u, _, err := b.Lock(t.Context(), 3)
		if err == nil {
			u()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}
