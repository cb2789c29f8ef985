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
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// memFS is a file system that forgets what was not synced: contents without
// Sync, and names without syncDir. Each operation may fail, or be the last one
// before a crash.
type memFS struct {
	mu    sync.Mutex
	names map[string]*memFile // as running programs see them
	disk  map[string]*memFile // as they are after a crash
	dirs  map[string]bool
	kept  map[string]bool // directories that are there after a crash
	taken bool
	slate []byte // of the lock
	dull  bool   // its lock is none
	opens int    // how often a file was opened

	// before is called with the name of each operation that writes; an error is
	// the operation's.
	before func(op string) error
	free   uint64 // of 100
}

type memFile struct {
	fs           *memFS
	data, synced []byte
}

func newMemFS() *memFS {
	return &memFS{names: make(map[string]*memFile), disk: make(map[string]*memFile), dirs: make(map[string]bool), kept: make(map[string]bool), free: 100}
}

// errCrash is what a dead process's operations end with.
var errCrash = errors.New("the process is dead")

// crash returns the file system as it is after a loss of power.
func (m *memFS) crash() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	after.slate = m.slate
	for dir := range m.kept {
		after.dirs[dir], after.kept[dir] = true, true
	}
	for name, f := range m.disk {
		if !m.kept[filepath.Dir(name)] {
			continue // with the directory's name
		}
		data := append([]byte(nil), f.synced...)
		nf := &memFile{fs: after, data: data, synced: append([]byte(nil), data...)}
		after.names[name], after.disk[name] = nf, nf
	}
	return after
}

func (m *memFS) op(name string) error {
	if m.before != nil {
		return m.before(name)
	}
	return nil
}

func (m *memFS) Mkdir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("mkdir"); err != nil {
		return err
	}
	m.dirs[path] = true
	for path = filepath.Dir(path); path != "/" && path != "."; path = filepath.Dir(path) {
		m.dirs[path], m.kept[path] = true, true
	}
	return nil
}

func (m *memFS) Create(path string) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("create"); err != nil {
		return nil, err
	}
	if m.names[path] != nil {
		return nil, fs.ErrExist
	}
	f := &memFile{fs: m}
	m.names[path] = f
	return f, nil
}

func (m *memFS) Open(path string) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opens++
	if f := m.names[path]; f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("rename"); err != nil {
		return err
	}
	f := m.names[from]
	if f == nil {
		return fs.ErrNotExist
	}
	delete(m.names, from)
	m.names[to] = f
	return nil
}

func (m *memFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("remove"); err != nil {
		return err
	}
	if m.names[path] == nil {
		return fs.ErrNotExist
	}
	delete(m.names, path)
	return nil
}

func (m *memFS) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("syncdir"); err != nil {
		return err
	}
	for name := range m.disk {
		if filepath.Dir(name) == path && m.names[name] == nil {
			delete(m.disk, name)
		}
	}
	for name, f := range m.names {
		if filepath.Dir(name) == path {
			m.disk[name] = f
		}
	}
	for dir := range m.dirs {
		if filepath.Dir(dir) == path {
			m.kept[dir] = true
		}
	}
	return nil
}

func (m *memFS) Exists(path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dirs[path]
}

func (m *memFS) List(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for dir := range m.dirs {
		if filepath.Dir(dir) == path {
			out = append(out, filepath.Base(dir))
		}
	}
	for name := range m.names {
		if filepath.Dir(name) == path {
			out = append(out, filepath.Base(name))
		}
	}
	return out, nil
}

func (m *memFS) Space(string) (free, total uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.free, 100, nil
}

func (m *memFS) Lock(string) (disk.Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken {
		return nil, disk.ErrLocked
	}
	m.taken = true
	if m.dull {
		return struct{ disk.Lock }{memLock{m}}, nil
	}
	return memLock{m}, nil
}

type memLock struct{ m *memFS }

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.taken = false
	return nil
}

func (memLock) Held() error { return nil }

func (l memLock) ReadSlate() ([]byte, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.slate, nil
}

func (l memLock) WriteSlate(b []byte) error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if err := l.m.op("slate"); err != nil {
		return err
	}
	l.m.slate = b
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.op("write"); err != nil {
		return 0, err
	}
	if need := int(off) + len(p); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	return copy(f.data[off:], p), nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.op("sync"); err != nil {
		return err
	}
	f.synced = append([]byte(nil), f.data...)
	return nil
}

func (f *memFile) Close() error { return nil }

// files returns the names of the files that end so.
func (m *memFS) files(ext string) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.names {
		if strings.HasSuffix(name, ext) {
			out = append(out, name)
		}
	}
	return out
}

var errNoSpace = syscall.ENOSPC

// Interface guards
var (
	_ disk.FS   = (*memFS)(nil)
	_ disk.File = (*memFile)(nil)
)
