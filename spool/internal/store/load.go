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
	"io"
	"path/filepath"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

// Oddity is a file in the directory that is left alone.
type Oddity struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Found is a message that was found.
type Found struct {
	Env   *record.Envelope
	Size  int64
	Lines []record.Line
	Lost  int64 // octets of the journal that cannot be read
}

// Load takes the directory and returns what is in it.
func (s *Store) Load() (lock io.Closer, found []Found, odd []Oddity, err error) {
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
		case shard == disk.LockName:
		case !shardPattern.MatchString(shard):
			odd = append(odd, Oddity{shard, "not of the spool"})
		default:
			f, o, err := s.loadShard(shard)
			if disk.IsForeign(err) {
				odd = append(odd, Oddity{shard, err.Error()})
				s.misplaced(shard, err)
				continue
			}
			if err != nil {
				return lock, nil, nil, err
			}
			found, odd = append(found, f...), append(odd, o...)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.reports, s.away = room{}, room{}, false
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
			odd = append(odd, Oddity{path, "not of the spool"})
			continue
		case m[2] == UnsureExt:
			_ = s.disk.Remove(filepath.Join(dir, name))
			continue
		}
		st, err := s.Read(m[1])
		switch {
		case err != nil:
			odd = append(odd, Oddity{path, err.Error()})
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
		m := namePattern.FindStringSubmatch(filepath.Base(o.Path))
		if m == nil || m[2] != MessageExt || filepath.Dir(o.Path) != ShardOf(m[1]) {
			left = append(left, o)
			continue
		}
		st, err := s.Read(m[1])
		if err != nil {
			left = append(left, Oddity{o.Path, err.Error()})
			continue
		}
		found = append(found, st)
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
