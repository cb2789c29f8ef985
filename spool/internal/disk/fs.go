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

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// FS is what the spool needs of one. Tests put others in its place:
// some forget what was not synced, some are full.
type FS interface {
	// Mkdir makes a directory and those above it, where they are missing. Its own
	// name is durable once SyncDir of the one above it says so.
	Mkdir(path string) error
	// Create makes a new file, for reading and writing.
	Create(path string) (File, error)
	// Open opens a file for reading and writing.
	Open(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	Exists(path string) bool
	List(path string) ([]string, error)
	// Space returns the free and all octets of the disk beneath a directory.
	Space(path string) (free, total uint64, err error)
	// Lock takes the directory for this process. It returns ErrLocked if
	// another has it.
	Lock(path string) (Lock, error)
}

// Guard is an FS that says what is not of the spool though it has a name of its: it is
// named and left alone. Nothing is wrong with what is not there.
type Guard interface {
	CheckFile(path string) error
	CheckDir(path string) error
}

// ErrForeign is what a Guard says, and Open of such a file.
var ErrForeign = errors.New("it is none of the spool's")

// Lock is a directory that this process has, until it is closed.
type Lock interface {
	io.Closer
	// Held returns why the directory's path does not lead to what was locked any
	// more; nil if it does.
	Held() error
}

// Slate is a Lock on which a few octets can be written, for whoever locks the directory
// next.
type Slate interface {
	ReadSlate() ([]byte, error)
	// WriteSlate returns when they are durable. As many are written each time.
	WriteSlate(b []byte) error
}

// File is one file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// LockName is the file in a directory that a process holds.
const LockName = filelock.LockName

// ErrLocked is what Lock returns where another process has the directory.
var ErrLocked = filelock.ErrLocked

// OS is the operating system's file system.
type OS struct{}

// ErrMoved is what Held returns where something else has the directory's path, or
// nothing.
var ErrMoved = errors.New("the directory was moved, unmounted or replaced, or the file " + LockName + " in it")

// Lock implements FS.
func (OS) Lock(path string) (Lock, error) {
	if err := check(filepath.Join(path, LockName), 0); err != nil {
		return nil, err
	}
	f, err := filelock.Directory(path)
	if err != nil {
		return nil, err
	}
	return osLock{f}, nil
}

type osLock struct{ *os.File }

// Held implements Lock.
func (l osLock) Held() error {
	own, err := l.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(l.Name()); err != nil || !os.SameFile(own, now) {
		return ErrMoved
	}
	return nil
}

func (OS) Mkdir(path string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); err != nil && parent != path {
		if err := (OS{}).Mkdir(parent); err != nil {
			return err
		}
		if err := (OS{}).SyncDir(filepath.Dir(parent)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (OS) Create(path string) (File, error) {
	return asFile(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)) //nolint:gosec // a path of ours
}

// Open implements FS. What is no file, but a pipe that would make it wait, or a link that
// leads elsewhere, is not opened.
func (OS) Open(path string) (File, error) {
	if err := (OS{}).CheckFile(path); err != nil {
		return nil, err
	}
	return asFile(os.OpenFile(path, os.O_RDWR|noFollow, 0)) //nolint:gosec // a path of ours
}

// CheckFile implements Guard.
func (OS) CheckFile(path string) error { return check(path, 0) }

// CheckDir implements Guard.
func (OS) CheckDir(path string) error { return check(path, fs.ModeDir) }

// check returns an error where something else has a name than a file or directory of this
// process's user, of root, or of whoever has the directory that it lies in.
func check(path string, kind fs.FileMode) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if got := st.Mode().Type(); got != kind {
		return fmt.Errorf("%s: %w: it is %s", path, ErrForeign, kindOf(got))
	}
	owner, known := ownerOf(st)
	if !known || owner == 0 || owner == os.Geteuid() {
		return nil
	}
	above, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if its, _ := ownerOf(above); its != owner {
		return fmt.Errorf("%s: %w: it belongs to user %d", path, ErrForeign, owner)
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch mode {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

func asFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err // a nil *os.File must not become a non-nil interface
	}
	return f, nil
}

func (OS) Remove(path string) error { return os.Remove(path) }

func (OS) Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (OS) List(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// IsFull reports whether an error means that there is no room left.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || isFull(err)
}

// IsUntried reports whether a directory's sync failed before anything was asked of
// the disk, for want of a file descriptor: nothing that it held back is lost.
func IsUntried(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && e.Op == "open"
}

// IsForeign reports whether an error means that what has a directory's name is none,
// or one that is closed to this process.
func IsForeign(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrForeign)
}

// Interface guards
var (
	_ FS    = OS{}
	_ Guard = OS{}
	_ Lock  = osLock{}
)
