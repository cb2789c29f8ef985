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

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

// Oddity is a file in the directory that is left alone.
type Oddity struct {
	Path string `json:"path"`
	Why  string `json:"why"`
	// Message is the id of a message whose file it is.
	Message string `json:"message,omitempty"`

	passes bool // it may be read later, as it is
}

// Passing reports whether one of these files may be read later, though nothing of it or
// of the configuration changes: for want of descriptors, or when the disk is better.
func Passing(odd []Oddity) bool {
	return slices.ContainsFunc(odd, func(o Oddity) bool { return o.passes })
}

// unread is a message's file that could not be read.
func unread(path, id string, err error) Oddity {
	kept := errors.Is(err, record.ErrDamaged) || errors.Is(err, seal.ErrNoKeys) || errors.Is(err, seal.ErrOtherKey)
	return Oddity{Path: path, Why: err.Error(), Message: id, passes: !kept}
}

// Found is a message that was found.
type Found struct {
	Env   *record.Envelope
	Size  int64
	Lines []record.Line
	Lost  int64 // octets of the journal that cannot be read
}

// Load takes the directory and returns what is in it.
func (s *Store) Load() (lock disk.Lock, found []Found, odd []Oddity, err error) {
	if err := s.recognize(); err != nil {
		return nil, nil, nil, err
	}
	if err := s.disk.Mkdir(s.dir); err != nil {
		return nil, nil, nil, err
	}
	lock, err = s.disk.Lock(s.dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	if err := s.recognize(); err != nil {
		return lock, nil, nil, err // it may have been mounted in between
	}
	// Names of a process that did not live to see to them.
	if err := s.disk.SyncDir(filepath.Dir(s.dir)); err != nil {
		return lock, nil, nil, err
	}
	if err := s.disk.SyncDir(s.dir); err != nil {
		return lock, nil, nil, err
	}
	names, err := s.disk.List(s.dir)
	if err != nil {
		return lock, nil, nil, err
	}
	for _, shard := range names {
		switch {
		case shard == disk.LockName || shard == MarkName || shard == MarkName+UnsureExt:
		case !shardPattern.MatchString(shard):
			odd = append(odd, Oddity{Path: shard, Why: "not of the spool"})
		default:
			f, o, err := s.loadShard(shard)
			if disk.IsForeign(err) {
				odd = append(odd, Oddity{Path: shard, Why: err.Error()})
				s.misplaced(shard, err)
				continue
			}
			if err != nil {
				return lock, nil, nil, err
			}
			found, odd = append(found, f...), append(odd, o...)
		}
	}
	if err := s.remember(); err != nil {
		odd = append(odd, Oddity{Path: MarkName, Why: fmt.Sprintf("a start without its mount would not be noticed: %v", err)})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.reports, s.away, s.lock = room{}, room{}, false, lock
	for _, m := range found {
		s.of(m.Env).add(1, m.Size)
	}
	return lock, found, odd, nil
}

func (s *Store) loadShard(shard string) (found []Found, odd []Oddity, err error) {
	dir := filepath.Join(s.dir, shard)
	names, err := s.disk.List(dir)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	s.shards[shard] = true
	s.mu.Unlock()
	for _, name := range names {
		m := namePattern.FindStringSubmatch(name)
		path := filepath.Join(shard, name)
		switch {
		case m == nil || ShardOf(m[1]) != shard:
			odd = append(odd, Oddity{Path: path, Why: "not of the spool"})
			continue
		case m[2] == UnsureExt:
			_ = s.disk.Remove(filepath.Join(dir, name))
			continue
		}
		st, err := s.Read(m[1])
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed by hand meanwhile
		case err != nil:
			odd = append(odd, unread(path, m[1], err))
		default:
			found = append(found, st)
		}
	}
	return found, odd, nil
}

// Reread reads messages that could not be read before, and returns what is still
// left alone.
func (s *Store) Reread(odd []Oddity) (found []Found, left []Oddity) {
	for _, o := range odd {
		if o.Message == "" {
			left = append(left, o)
			continue
		}
		st, err := s.Read(o.Message)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed by hand
		case err != nil:
			left = append(left, unread(o.Path, o.Message, err))
		default:
			found = append(found, st)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range found {
		s.of(m.Env).add(1, m.Size)
	}
	return found, left
}

// Read reads all of a message but its body.
func (s *Store) Read(id string) (Found, error) {
	rec, env, err := s.open(id)
	if err != nil {
		return Found{}, err
	}
	defer rec.Close()
	size, err := rec.SkipBody()
	if err != nil {
		return Found{}, err
	}
	lines, err := rec.Journal()
	return Found{env, size, lines, rec.Lost()}, err
}
