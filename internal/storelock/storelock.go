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

// Package storelock locks a name in Caddy's storage for a short change of it.
package storelock

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// Lock locks a name. What gives it back does so whatever has become of ctx, within
// patience: a lock that stays would keep every other process out.
//
// A storage that is a directory of this machine is locked through the system.
// certmagic's own lock of files leaves a goroutine asleep for each time that it was
// taken, which after five seconds empties and writes anew whatever lock has the name
// by then. Of many short ones several do at a time: each finds the file empty that
// another is about to write, and says so as an error; who waits for the lock takes an
// empty file for a damaged one.
func Lock(ctx context.Context, storage certmagic.Locker, name string, patience time.Duration) (unlock func() error, err error) {
	if files, ok := storage.(*certmagic.FileStorage); ok && filelock.HasBytes && filelock.OnThisMachine(files.Path) {
		f, err := lockByte(ctx, filepath.Join(files.Path, "locks"), name)
		if err != nil {
			return nil, fmt.Errorf("locking: %w", err)
		}
		return f.Close, nil
	}
	if err := storage.Lock(ctx, name); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return storage.Unlock(ctx, name)
	}, nil
}

// lockByte locks the byte of a file that stands for the name until the file is
// closed. It is opened each time, so that users in one process exclude each other as
// those in two do.
func lockByte(ctx context.Context, dir, name string) (*filelock.Bytes, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := filelock.OpenBytesIn(dir, "names.bytes")
	if err != nil {
		return nil, err
	}
	at := filelock.Place(name)
	if err := filelock.Wait(ctx, func() (bool, error) { return f.Try(at, false) }); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
