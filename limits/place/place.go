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

// Package place is the connections of mailboxes as places in a file that all
// processes on one storage have open: a place is a byte, and the process that has a
// connection holds its lock. The system lets go of it with the process, so that a
// killed one leaves its places free. To take a place is no I/O but a call into the
// system's memory.
//
// A process that has no place and needs one holds a second byte, which says so:
// that the mailbox wants one.
//
// It has no locks of its own, and imports internal/filelock. The file's name and
// where a mailbox's places begin in it are the same in all versions.
package place

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/filelock"
)

const (
	bits      = 16 // connections of one mailbox
	most      = 1 << bits
	wantsFrom = int64(1) << 61
)

// Shared reports whether connections are shared by the processes on a storage.
func Shared(st certmagic.Storage) (*certmagic.FileStorage, bool) {
	f, ok := st.(*certmagic.FileStorage)
	return f, ok && filelock.HasBytes
}

// File is the file of an upstream's connections.
type File struct{ bytes *filelock.Bytes }

// Open opens the file in a directory, which is made.
func Open(dir string) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	b, err := filelock.OpenBytes(filepath.Join(dir, "connections.lock"))
	if err != nil {
		return nil, err
	}
	return &File{b}, nil
}

// Close gives everything back that the process holds.
func (f *File) Close() error { return f.bytes.Close() }

// first returns where a mailbox's places begin. Mailboxes that have it in common,
// one pair in many millions, share their places.
func first(mailbox string) int64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(mailbox) {
		h = (h ^ uint64(mailbox[i])) * 1099511628211
	}
	return int64(h>>20) << bits //nolint:gosec // 60 bits
}

// Take takes free places of a mailbox's limit until n are held, and returns those
// that are then, which may be fewer.
func (f *File) Take(mailbox string, held []int64, n, limit int) ([]int64, error) {
	from := first(mailbox)
	for at := from; at < from+int64(min(limit, most)) && len(held) < n; at++ {
		if slices.Contains(held, at) {
			continue
		}
		ok, err := f.bytes.Try(at, false)
		if err != nil {
			return held, err
		}
		if ok {
			held = append(held, at)
		}
	}
	return held, nil
}

// Free gives one place back.
func (f *File) Free(at int64) error { return f.bytes.Free(at) }

func want(mailbox string) int64 { return wantsFrom + first(mailbox)>>bits }

// Want lets other processes see that this one has no connection of the mailbox. It
// reports whether they do.
func (f *File) Want(mailbox string) bool {
	ok, _ := f.bytes.Try(want(mailbox), true)
	return ok
}

// Unwant ends Want.
func (f *File) Unwant(mailbox string) { _ = f.bytes.Free(want(mailbox)) }

// Wanted reports whether another process has no connection of the mailbox.
func (f *File) Wanted(mailbox string) bool {
	held, err := f.bytes.Held(want(mailbox), 1)
	return err == nil && held
}

// AnyWanted reports whether another process has no connection of some mailbox.
func (f *File) AnyWanted() (bool, error) { return f.bytes.Held(wantsFrom, 0) }
