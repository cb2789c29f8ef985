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

package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// fileSystem is what the store needs of one. Tests put others in its place:
// some forget what was not synced, some are full.
type fileSystem interface {
	// mkdir makes a directory that is there after a crash.
	mkdir(path string) error
	// create makes a new file, for reading and writing.
	create(path string) (file, error)
	// open opens a file for reading and writing.
	open(path string) (file, error)
	rename(from, to string) error
	remove(path string) error
	// syncDir makes the names in a directory durable.
	syncDir(path string) error
	exists(path string) bool
	list(path string) ([]string, error)
	// space returns the free and all octets of the disk beneath a directory.
	space(path string) (free, total uint64, err error)
	// lock takes the directory for this process. It returns errLocked if
	// another has it.
	lock(path string) (io.Closer, error)
}

// file is one file of a fileSystem.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

var errLocked = errors.New("another process uses the directory")

// disk is the operating system's file system.
type disk struct{}

func (disk) mkdir(path string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := (disk{}).mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return (disk{}).syncDir(parent)
}

func (disk) create(path string) (file, error) {
	return asFile(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)) //nolint:gosec // a path of ours
}

func (disk) open(path string) (file, error) {
	return asFile(os.OpenFile(path, os.O_RDWR, 0)) //nolint:gosec // a path of ours
}

func asFile(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err // a nil *os.File must not become a non-nil interface
	}
	return f, nil
}

func (disk) rename(from, to string) error { return os.Rename(from, to) }
func (disk) remove(path string) error     { return os.Remove(path) }

func (disk) syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // a path of ours
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (disk) exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (disk) list(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// isFull reports whether an error means that there is no room left.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Interface guards
var _ fileSystem = disk{}
