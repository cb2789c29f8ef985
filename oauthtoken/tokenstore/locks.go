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
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// fileLocks takes the locks of a certmagic.FileStorage on a file system of this
// machine. They are certmagic's own, so that programs which lock through it and
// this one exclude each other: a file that exists, with the time in it, which is
// brought up to date every lockFresh and is stale after twice that.
//
// What certmagic does beside that is for file systems of other machines. It
// syncs the file, which says nothing that has to outlive a crash of the system,
// and leaves a goroutine asleep for each lock, for five seconds beyond its end.
// Here one timer keeps all of them fresh. A lock that another holds is waited
// for by certmagic.
type fileLocks struct {
	storage *certmagic.FileStorage

	mu    sync.Mutex
	held  map[string]*fileLock // by name
	timer *time.Timer          // runs while held is not empty
}

// lockFresh is certmagic's.
const lockFresh = 5 * time.Second

type fileLock struct {
	path    string
	created time.Time
	foreign bool // certmagic took it, and keeps it
}

// lockContent is a lock file of certmagic.
type lockContent struct {
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newFileLocks(s *certmagic.FileStorage) *fileLocks {
	return &fileLocks{storage: s, held: map[string]*fileLock{}}
}

func (l *fileLocks) path(name string) string {
	return filepath.Join(l.storage.Path, "locks", certmagic.StorageKeys.Safe(name)+".lock")
}

// lock takes a lock. It waits no longer than ctx.
func (l *fileLocks) lock(ctx context.Context, name string) error {
	k := &fileLock{path: l.path(name), created: time.Now()}
	err := k.create()
	if errors.Is(err, fs.ErrExist) {
		k.foreign = true
		err = l.storage.Lock(ctx, name)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		l.timer = time.AfterFunc(lockFresh, l.refresh)
	}
	l.held[name] = k
	return nil
}

// unlock gives it back.
func (l *fileLocks) unlock(ctx context.Context, name string) error {
	l.mu.Lock()
	k := l.held[name]
	delete(l.held, name)
	if len(l.held) == 0 && l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.mu.Unlock()
	if k == nil || k.foreign {
		return l.storage.Unlock(ctx, name)
	}
	// A process that was stopped for long finds its lock broken; the file is
	// another's then.
	if f, c, err := k.open(); err == nil {
		_ = f.Close()
		if !c.Created.Equal(k.created) {
			return nil
		}
	}
	if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// refresh brings the times in the files up to date.
func (l *fileLocks) refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return
	}
	now := time.Now()
	for _, k := range l.held {
		if !k.foreign && now.Sub(k.created) >= lockFresh/2 {
			k.keep(now)
		}
	}
	l.timer.Reset(lockFresh)
}

// create makes the file, if there is none.
func (k *fileLock) create() error {
	f, err := os.OpenFile(k.path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644) //nolint:gosec // as certmagic does: it holds nothing but times
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(k.path), 0o700); err == nil {
			f, err = os.OpenFile(k.path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644) //nolint:gosec // see above
		}
	}
	if err != nil {
		return err
	}
	err = k.write(f, k.created)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(k.path)
	}
	return err
}

// write writes the file's content at once: it has the same length each time, and
// who reads it never finds it empty.
func (k *fileLock) write(f *os.File, now time.Time) error {
	b, err := json.Marshal(lockContent{Created: k.created, Updated: now})
	if err != nil {
		return err
	}
	const size = 128
	padded := make([]byte, max(size, len(b)+1))
	for i := copy(padded, b); i < len(padded)-1; i++ {
		padded[i] = ' '
	}
	padded[len(padded)-1] = '\n'
	_, err = f.WriteAt(padded, 0)
	return err
}

// open reads the file at the lock's place.
func (k *fileLock) open() (*os.File, lockContent, error) {
	var c lockContent
	f, err := os.OpenFile(k.path, os.O_RDWR, 0)
	if err != nil {
		return nil, c, err
	}
	if err := json.NewDecoder(io.LimitReader(f, 2048)).Decode(&c); err != nil {
		_ = f.Close()
		return nil, c, err
	}
	return f, c, nil
}

// keep brings the file up to date, if it is still this lock's.
func (k *fileLock) keep(now time.Time) {
	f, c, err := k.open()
	if err != nil {
		return
	}
	if c.Created.Equal(k.created) {
		_ = k.write(f, now)
	}
	_ = f.Close()
}
