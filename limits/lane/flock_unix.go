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
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// flockLanes are for files: the system lets go of a process's locks with the
// process.
type flockLanes struct {
	dir  string
	mine *os.File
}

func openFlock(dir string) (Lanes, int, error) {
	l := &flockLanes{dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, "lanes"), 0o700); err != nil {
		return nil, 0, err
	}
	for n := range most {
		f, err := filelock.Try(l.lane(n))
		if err != nil {
			return nil, 0, err
		}
		if f != nil {
			l.mine = f
			return l, n, nil
		}
	}
	return nil, 0, fmt.Errorf("%d processes share %s", most, dir)
}

func (l *flockLanes) lane(n int) string {
	return filepath.Join(l.dir, "lanes", strconv.Itoa(n)+".lock")
}

func (l *flockLanes) Lock(ctx context.Context, shard int) (func(), error) {
	name := filepath.Join(l.dir, strconv.Itoa(shard))
	if err := os.MkdirAll(name, 0o700); err != nil {
		return nil, err
	}
	name = filepath.Join(name, "lock")
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		f, err := filelock.Try(name)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("locking %s: %w", name, ctx.Err())
		}
	}
}

func (l *flockLanes) Dead(_ context.Context, n int) (bool, error) {
	f, err := filelock.Try(l.lane(n))
	if err != nil || f == nil {
		return false, err
	}
	return true, f.Close()
}

func (l *flockLanes) Release() { _ = l.mine.Close() }
