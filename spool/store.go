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
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

const (
	messageExt = ".msg"
	unsureExt  = ".tmp" // nothing was promised for it
)

var (
	shardPattern = regexp.MustCompile(`^[0-9a-f]{2}$`)
	namePattern  = regexp.MustCompile(`^([0-9a-f]{24})(\.msg|\.tmp)$`)
)

// Reasons for which a message is not kept.
var (
	errFull = errors.New("the spool is full")
	errIll  = errors.New("the spool's disk has failed, and nothing is accepted until a restart")
	errAway = errors.New("the spool's directory is not this process's yet")

	errDraining = errors.New("the spool is being drained")
)

// store is the directory of the messages: a file each, in shards.
type store struct {
	disk disk.FS
	dir  string

	mu      sync.Mutex
	keys    *seal.Keys
	bounds  bounds
	away    bool            // the directory is not this process's
	shards  map[string]bool // that are there
	foreign map[string]bool // names of shards that something else has
	kept    room            // messages
	reports room            // about them, beside the bounds: what is full must say so
	ill     error           // what failed when it must not; the first is believed for good

	spaceAt    time.Time
	spaceIsLow bool
}

// bounds are the most that is kept. As many reports may lie beside the messages,
// and on what is left free of the disk.
type bounds struct {
	messages int
	octets   int64
	minFree  float64 // share of the disk
}

// room is what is taken.
type room struct {
	count  int
	octets int64
}

func (r *room) add(count int, octets int64) {
	r.count += count
	r.octets += octets
}

// of returns the room that a message is in.
func (s *store) of(env *record.Envelope) *room {
	if env.Report {
		return &s.reports
	}
	return &s.kept
}

func newStore(fsys disk.FS, dir string) *store {
	return &store{disk: fsys, dir: dir, shards: make(map[string]bool), foreign: make(map[string]bool)}
}

func (s *store) configure(keys *seal.Keys, b bounds) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.bounds, s.spaceAt = keys, b, time.Time{}
}

// lastID is the time of the last id, in microseconds.
var lastID atomic.Int64

// newID makes an id that sorts by time, also within one microsecond: after a
// restart the order of an account's mail is that of the ids.
func newID(now time.Time) string {
	at := now.UnixMicro()
	for last := lastID.Load(); ; last = lastID.Load() {
		// A clock that was set back by more than a second is believed.
		if last >= at && last-at < int64(time.Second/time.Microsecond) {
			at = last + 1
		}
		if lastID.CompareAndSwap(last, at) {
			break
		}
	}
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], uint64(at)<<8) //nolint:gosec // after 1970
	_, _ = rand.Read(b[7:])                         // never fails
	return hex.EncodeToString(b[:])
}

func shardOf(id string) string { return id[len(id)-2:] }

func (s *store) path(id, ext string) string {
	return filepath.Join(s.dir, shardOf(id), id+ext)
}

// fail notes that a sync or a removal failed. What the disk says after that
// about what it was given before cannot be believed (a second fsync reports
// success), so nothing is accepted any more.
func (s *store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ill == nil {
		s.ill = err
	}
	return fmt.Errorf("%w: %w", errIll, err)
}

// leave notes that the directory is given away: nothing is written in it any more.
func (s *store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
}

// illness returns what failed.
func (s *store) illness() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ill
}

// mayGrow reports whether another message may be kept.
func (s *store) mayGrow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(&s.kept, 1)
}

// mayKeep is mayGrow for what a message is.
func (s *store) mayKeep(env *record.Envelope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(s.of(env), 1)
}

// fits reports whether so many octets more may be kept. The lock is held.
func (s *store) fits(r *room, octets int64) error {
	switch {
	case s.away:
		return errAway
	case s.ill != nil:
		return errIll
	case r.count >= s.bounds.messages:
		return errFull
	case r == &s.kept && (r.octets+octets > s.bounds.octets || s.lowSpace()):
		return errFull
	}
	return nil
}

// lowSpace asks the disk at most once a second.
func (s *store) lowSpace() bool {
	now := time.Now()
	if now.Sub(s.spaceAt) >= time.Second || now.Before(s.spaceAt) {
		free, total, err := s.disk.Space(s.dir)
		s.spaceAt = now
		s.spaceIsLow = err == nil && float64(free) < s.bounds.minFree*float64(total)
	}
	return s.spaceIsLow
}

// create begins the file of a message. It is not there for good until commit. Where
// something of others has the shard's name, the message gets another id.
func (s *store) create(env *record.Envelope) (rec *record.File, err error) {
	var f disk.File
	for range 3 {
		f, err = s.createFile(env)
		if err == nil || !s.misplaced(shardOf(env.ID), err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	keys := s.keys
	s.mu.Unlock()
	rec = record.New(f, env.ID, keys)
	if err := rec.Begin(env); err != nil {
		s.discard(rec)
		return nil, err
	}
	return rec, nil
}

func (s *store) createFile(env *record.Envelope) (disk.File, error) {
	s.mu.Lock()
	for range 1000 {
		if !s.foreign[shardOf(env.ID)] {
			break
		}
		env.ID = newID(env.Created)
	}
	shard := shardOf(env.ID)
	known := s.shards[shard]
	s.mu.Unlock()
	if !known {
		if err := s.disk.Mkdir(filepath.Join(s.dir, shard)); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.shards[shard] = true
		s.mu.Unlock()
	}
	return s.disk.Create(s.path(env.ID, unsureExt))
}

// misplaced reports whether another attempt to make a file may find a place: an
// operator removed the shard, or it is none.
func (s *store) misplaced(shard string, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		delete(s.shards, shard)
	case disk.IsForeign(err):
		s.foreign[shard] = true
	default:
		return false
	}
	return true
}

// commit makes a message durable: the file, then its name. It closes the file
// in any case.
func (s *store) commit(rec *record.File, env *record.Envelope, size int64) error {
	if err := s.admit(env, size); err != nil {
		s.discard(rec)
		return err
	}
	err := rec.Finish(size)
	if err != nil {
		s.release(env, size)
		s.discard(rec)
		return err
	}
	if err := rec.Sync(); err != nil {
		s.release(env, size)
		s.discard(rec)
		return s.fail(fmt.Errorf("syncing a message: %w", err))
	}
	unsure, path := s.path(rec.ID(), unsureExt), s.path(rec.ID(), messageExt)
	if err := rec.Close(); err != nil {
		s.release(env, size)
		_ = s.disk.Remove(unsure)
		return err
	}
	if err := s.disk.Rename(unsure, path); err != nil {
		s.release(env, size)
		_ = s.disk.Remove(unsure)
		_ = s.disk.Remove(path) // it may have got its name even so
		return err
	}
	if err := s.disk.SyncDir(filepath.Dir(path)); err != nil {
		s.release(env, size)
		// The client hears 451 and may send it again.
		_ = s.disk.Remove(path)
		return s.fail(fmt.Errorf("syncing a directory: %w", err))
	}
	return nil
}

// admit counts a message against the bounds.
func (s *store) admit(env *record.Envelope, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fits(s.of(env), size); err != nil {
		return err
	}
	s.of(env).add(1, size)
	return nil
}

func (s *store) release(env *record.Envelope, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(env).add(-1, -size)
}

// discard removes a file for which nothing was promised.
func (s *store) discard(rec *record.File) {
	_ = rec.Close()
	_ = s.disk.Remove(s.path(rec.ID(), unsureExt))
}

// openJournal opens a message, and stands where the next line of its journal
// goes.
func (s *store) openJournal(id string) (*record.File, error) {
	rec, _, err := s.open(id)
	if err != nil {
		return nil, err
	}
	if _, err = rec.SkipBody(); err == nil {
		_, err = rec.Journal()
	}
	if err != nil {
		_ = rec.Close()
		return nil, err
	}
	return rec, nil
}

// remove removes a message that is settled. Its journal says so already, so a
// removal that a crash undoes is repeated at the next start.
func (s *store) remove(env *record.Envelope, size int64) error {
	path := s.path(env.ID, messageExt)
	// What an operator removed meanwhile is no failure of the disk.
	if err := s.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail(fmt.Errorf("removing a message: %w", err))
	}
	s.release(env, size)
	return nil
}

// open opens a message and reads its envelope.
func (s *store) open(id string) (*record.File, *record.Envelope, error) {
	f, err := s.disk.Open(s.path(id, messageExt))
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	keys := s.keys
	s.mu.Unlock()
	rec := record.New(f, id, keys)
	env, err := rec.Start()
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return rec, env, nil
}
