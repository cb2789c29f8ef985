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
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

// Oddity is a file in the directory that is left alone.
type Oddity struct {
	Path string `json:"path"`
	Why  string `json:"why"`
	// Message is the id of a message whose file it is.
	Message string `json:"message,omitempty"`
}

// Own reports whether it is one of the directory's own files: that one cannot be written
// is no stranger in it.
func (o Oddity) Own() bool { return o.Path == MarkName || o.Path == disk.LockName }

// unread is a message's file that could not be read.
func unread(path, id string, err error) Oddity {
	return Oddity{Path: path, Why: err.Error(), Message: id}
}

// mountsOwn is what a file system has in its root.
const mountsOwn = "lost+found"

// Found is a message that was found.
type Found struct {
	Env   *record.Envelope
	Size  int64
	Lines []record.Line
	Lost  int64 // octets of the journal that cannot be read
	// Spent is nil where only the host's clock says how old the message is.
	Spent *Spent
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
	if found, odd, err = s.loadShards(names); err != nil {
		return lock, nil, nil, err
	}
	if err := s.remember(); err != nil {
		odd = append(odd, Oddity{Path: MarkName, Why: fmt.Sprintf("a start without its mount would not be noticed: %v", err)})
	}
	if err := s.startClock(lock, found); err != nil {
		odd = append(odd, Oddity{Path: disk.LockName, Why: fmt.Sprintf("%v: %v", err, errNoClock)})
	}
	for i := range found {
		found[i].Spent = s.spent(found[i].Env, found[i].Lines)
		passID(found[i].Env.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.reports, s.away, s.lock = room{}, room{}, false, lock
	for _, m := range found {
		s.of(m.Env).add(1, m.Size)
	}
	return lock, found, odd, nil
}

// readers is how many shards are read at a time: a disk has more to give than one file
// after the other.
const readers = 4

// loadShards reads the shards among these names.
func (s *Store) loadShards(names []string) (found []Found, odd []Oddity, err error) {
	var (
		mu      sync.Mutex
		workers sync.WaitGroup
		next    = make(chan string)
	)
	for range readers {
		workers.Go(func() {
			for shard := range next {
				f, o, failed := s.loadShard(shard)
				mu.Lock()
				switch {
				case disk.IsForeign(failed):
					odd = append(odd, Oddity{Path: shard, Why: failed.Error()})
					s.misplaced(shard, failed)
				case failed != nil:
					err = cmp.Or(err, failed)
				default:
					found, odd = append(found, f...), append(odd, o...)
				}
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		switch {
		case name == disk.LockName || name == MarkName || name == MarkName+UnsureExt || name == mountsOwn:
		case !shardPattern.MatchString(name):
			mu.Lock()
			odd = append(odd, Oddity{Path: name, Why: "not of the spool"})
			mu.Unlock()
		default:
			next <- name
		}
	}
	close(next)
	workers.Wait()
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Env.ID, b.Env.ID) })
	slices.SortFunc(odd, func(a, b Oddity) int { return strings.Compare(a.Path, b.Path) })
	return found, odd, err
}

func (s *Store) loadShard(shard string) (found []Found, odd []Oddity, err error) {
	if err := s.guard(shard); err != nil {
		return nil, nil, err
	}
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
			if g, ok := s.disk.(disk.Guard); ok {
				if err := g.CheckFile(filepath.Join(dir, name)); err != nil {
					odd = append(odd, Oddity{Path: path, Why: err.Error()})
					continue
				}
			}
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
	there := s.names()
	for _, o := range odd {
		switch {
		case o.Own():
			left = append(left, o)
			continue
		case o.Message == "" && !there(o.Path):
			s.welcome(o.Path)
			continue
		case o.Message == "" && shardPattern.MatchString(o.Path):
			// It may have become a shard: its rights were mended.
			if f, more, err := s.loadShard(o.Path); err == nil {
				found, left = append(found, f...), append(left, more...)
				s.welcome(o.Path)
				continue
			}
			left = append(left, o)
			continue
		case o.Message == "":
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
		passID(m.Env.ID)
	}
	return found, left
}

// welcome lets a name be a shard's again.
func (s *Store) welcome(shard string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.foreign, shard)
}

// names returns a function that tells whether the directory has a name. What cannot be
// listed has all.
func (s *Store) names() func(path string) bool {
	listed := make(map[string]map[string]bool)
	return func(path string) bool {
		dir := filepath.Dir(path)
		names, known := listed[dir]
		if !known {
			if list, err := s.disk.List(filepath.Join(s.dir, dir)); err == nil || errors.Is(err, fs.ErrNotExist) {
				names = make(map[string]bool, len(list))
				for _, name := range list {
					names[name] = true
				}
			}
			listed[dir] = names
		}
		return names == nil || names[filepath.Base(path)]
	}
}

// Read reads all of a message but its body.
func (s *Store) Read(id string) (Found, error) {
	rec, env, err := s.open(id, true)
	if err != nil {
		return Found{}, err
	}
	defer rec.Close()
	size, err := rec.SkipBody()
	if err != nil {
		return Found{}, err
	}
	lines, err := rec.Journal()
	return Found{env, size, lines, rec.Lost(), s.spent(env, lines)}, err
}

// Opens returns why a message cannot be opened. No more of it is read than its envelope.
func (s *Store) Opens(id string) error {
	rec, _, err := s.open(id, false)
	if err == nil {
		_ = rec.Close()
	}
	return err
}
