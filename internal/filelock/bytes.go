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

package filelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// HasBytes reports whether bytes can be locked here.
const HasBytes = true

// Bytes locks single bytes of a file, which may lie beyond its end. As with the
// lock of a whole file, the system lets go of a process's with the process.
// It may be closed while others use it, for whom it is os.ErrClosed from then on.
type Bytes struct {
	f *os.File

	// A descriptor that is closed may be another file's at once.
	mu     sync.RWMutex
	closed bool
}

// OpenBytes opens the file for locking. It is made if it is not there.
func OpenBytes(name string) (*Bytes, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the caller's own path
	if err != nil {
		return nil, err
	}
	return &Bytes{f: f}, nil
}

// Try locks the byte and reports whether it did; not if another process holds it.
// One that is locked shared may be locked so by several.
func (b *Bytes) Try(at int64, shared bool) (bool, error) {
	kind := int16(unix.F_WRLCK)
	if shared {
		kind = unix.F_RDLCK
	}
	_, err := b.control(setLock, kind, at, 1)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// Free lets go of the byte.
func (b *Bytes) Free(at int64) error {
	_, err := b.control(setLock, unix.F_UNLCK, at, 1)
	return err
}

// Held reports whether another process holds one of n bytes; of all from there on
// if n is 0.
func (b *Bytes) Held(at, n int64) (bool, error) {
	kind, err := b.control(getLock, unix.F_WRLCK, at, n)
	return err == nil && kind != unix.F_UNLCK, err
}

func (b *Bytes) control(command int, kind int16, at, n int64) (int16, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return 0, fmt.Errorf("locking a byte of %s: %w", b.f.Name(), os.ErrClosed)
	}
	lock := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: n}
	for {
		err := unix.FcntlFlock(b.f.Fd(), command, &lock)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("locking a byte of %s: %w", b.f.Name(), err)
		}
		return lock.Type, nil
	}
}

// Close lets go of all bytes.
func (b *Bytes) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.f.Close()
}
