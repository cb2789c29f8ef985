// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package tokenstore

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// byteLocks takes the locks of records where the storage is a directory on a file
// system of this machine: each is a byte of one file, locked through the system,
// which lets go of it with the process.
//
// certmagic's own locks are made for file systems of other machines: a file each,
// which is created, synced, written again every five seconds and removed, a
// goroutine that is left asleep, and ten seconds after a kill in which no process
// may refresh. A process that is stopped keeps its locks, and a refresh by another
// waits for it: the token that it may have sent is not sent a second time.
type byteLocks struct {
	storage *certmagic.FileStorage

	mu   sync.Mutex
	held map[int64]struct{}
	// file is open while something is held, so that a directory that was replaced
	// is noticed.
	file *filelock.Bytes
}

// newByteLocks returns nil where the storage is not known to be this machine's.
func newByteLocks(s *certmagic.FileStorage) *byteLocks {
	if !filelock.HasBytes || !filelock.OnThisMachine(s.Path) {
		return nil
	}
	return &byteLocks{storage: s, held: make(map[int64]struct{})}
}

// lock takes a lock. It waits no longer than ctx.
func (l *byteLocks) lock(ctx context.Context, name string) error {
	at := filelock.Place(name)
	return filelock.Wait(ctx, func() (bool, error) { return l.try(at) })
}

func (l *byteLocks) try(at int64) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[at]; ok {
		return false, nil // the system takes two locks of one open file for one
	}
	if l.file == nil {
		f, err := filelock.OpenBytesIn(filepath.Join(l.storage.Path, "locks"), "tokens.bytes")
		if err != nil {
			return false, err
		}
		l.file = f
	}
	ok, err := l.file.Try(at, false)
	if ok {
		l.held[at] = struct{}{}
	}
	l.rest()
	return ok, err
}

// unlock gives it back.
func (l *byteLocks) unlock(name string) error {
	at := filelock.Place(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[at]; !ok {
		return nil
	}
	delete(l.held, at)
	err := l.file.Free(at)
	l.rest()
	return err
}

// rest closes the file if nothing is held.
func (l *byteLocks) rest() {
	if len(l.held) == 0 {
		_ = l.file.Close()
		l.file = nil
	}
}
