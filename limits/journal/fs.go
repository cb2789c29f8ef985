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

package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is what a journal needs of a file system. Tests put others in its place: some
// forget what was not synced, some are full.
type FS interface {
	// Mkdir makes a directory that is there after a crash.
	Mkdir(path string) error
	// Create makes a file that is not there, to be appended to.
	Create(path string) (File, error)
	// ReadFrom reads a file from an octet on.
	ReadFrom(path string, at int64) ([]byte, error)
	// Remove removes a file, if it is there.
	Remove(path string) error
	Rename(from, to string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	// List returns the names in a directory, none if there is no such directory.
	List(path string) ([]string, error)
}

// File is a file that is appended to.
type File interface {
	io.WriteCloser
	Sync() error
}

// OS is the operating system's file system.
type OS struct{}

// Mkdir implements FS.
func (o OS) Mkdir(path string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := o.Mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

// Create implements FS.
func (OS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // a path of ours
	if err != nil {
		return nil, err // a nil *os.File must not become a non-nil interface
	}
	return f, nil
}

// ReadFrom implements FS.
func (OS) ReadFrom(path string, at int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // a path of ours
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// Remove implements FS.
func (OS) Remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// SyncDir implements FS.
func (OS) SyncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // a path of ours
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// List implements FS.
func (OS) List(path string) ([]string, error) {
	d, err := os.Open(path) //nolint:gosec // a path of ours
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

// Interface guard
var _ FS = OS{}
