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

// Package presence says which processes live from one storage of files. Each
// holds the lock of a file there, which says who it is; the system frees the lock
// with the process, so that no stale one is ever seen.
package presence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// Process is a gateway's.
type Process struct {
	// PID is its number on Host, which in a container is the container's.
	PID  int    `json:"pid"`
	Host string `json:"host,omitempty"`
	// Program is how it was called.
	Program string `json:"program,omitempty"`
	// Since is when it began to use the storage.
	Since time.Time `json:"since,omitzero"`
	// Listen are the addresses of its servers.
	Listen []string `json:"listen,omitempty"`
}

const (
	// folder is where the files are.
	folder = "smtp/processes"
	// most is a bound of what is looked through.
	most = 1000
	// maxNote bounds what is read of another process's file.
	maxNote = 64 << 10
)

// seats are this process's, by folder: configurations that follow each other have
// one.
var seats = caddy.NewUsagePool()

// seat is the file whose lock this process holds.
type seat struct {
	file  *os.File
	since time.Time
}

// Destruct implements caddy.Destructor.
func (s *seat) Destruct() error { return s.file.Close() }

// Enter notes that this process uses the storage, until release is called. On
// storages that are no files, and where files have no locks, it does nothing.
func Enter(st certmagic.Storage, listen []string) (release func(), err error) {
	files, ok := st.(*certmagic.FileStorage)
	if !ok {
		return func() {}, nil
	}
	dir := files.Filename(folder)
	v, _, err := seats.LoadOrNew(dir, func() (caddy.Destructor, error) { return take(dir) })
	if errors.Is(err, errors.ErrUnsupported) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	s := v.(*seat)
	host, _ := os.Hostname()
	if err := s.write(Process{PID: os.Getpid(), Host: host, Program: os.Args[0], Since: s.since, Listen: listen}); err != nil {
		_, _ = seats.Delete(dir)
		return nil, err
	}
	return func() { _, _ = seats.Delete(dir) }, nil
}

func take(dir string) (*seat, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for n := range most {
		f, err := filelock.Try(name(dir, n))
		if err != nil {
			return nil, err
		}
		if f != nil {
			return &seat{f, time.Now().Truncate(time.Second)}, nil
		}
	}
	return nil, fmt.Errorf("%d processes share %s", most, dir)
}

func name(dir string, n int) string { return filepath.Join(dir, strconv.Itoa(n)+".lock") }

// write replaces what the file says. Whoever reads half of it knows less, and
// still that the file is held.
func (s *seat) write(p Process) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	_, err = s.file.WriteAt(b, 0)
	return err
}

// Others are the other processes that use the storage now. One that cannot be
// asked who it is has the number 0.
func Others(st certmagic.Storage) (others []Process, err error) {
	files, ok := st.(*certmagic.FileStorage)
	if !ok {
		return nil, nil
	}
	dir := files.Filename(folder)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var mine os.FileInfo
	if v, ok := current(dir); ok {
		if mine, err = v.file.Stat(); err != nil {
			return nil, err
		}
	}
	for _, e := range entries[:min(len(entries), most)] {
		p, held, err := ask(filepath.Join(dir, e.Name()), mine)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return nil, nil
		case err != nil:
			return nil, err
		case held:
			others = append(others, p)
		}
	}
	return others, nil
}

// current is this process's seat in a folder.
func current(dir string) (found *seat, ok bool) {
	seats.Range(func(key, value any) bool {
		if key == dir {
			found, ok = value.(*seat)
		}
		return !ok
	})
	return found, ok
}

// ask reports whether another process holds a file, and who it is.
func ask(file string, mine os.FileInfo) (p Process, held bool, err error) {
	if info, err := os.Stat(file); err != nil || mine != nil && os.SameFile(info, mine) {
		return p, false, nil //nolint:nilerr // one that has gone meanwhile is held by nobody
	}
	f, err := filelock.Try(file)
	if err != nil {
		return p, false, err
	}
	if f != nil {
		return p, false, f.Close()
	}
	r, err := os.Open(file) //nolint:gosec // of our own folder
	if err != nil {
		return p, true, nil //nolint:nilerr // that it is held is known
	}
	defer r.Close()
	if b, err := io.ReadAll(io.LimitReader(r, maxNote)); err == nil && json.Unmarshal(b, &p) != nil {
		p = Process{}
	}
	return p, true, nil
}
