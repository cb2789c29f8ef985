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

// Package store is the directory of a spool: a file each message, in shards, within
// bounds, durable when Commit says so; and the Keeper, which copies a body while
// nothing says yet whether it is needed. It knows no queue and no time of delivery.
// Nothing of it outlives the spool. It imports internal/seal and the rooms beside it.
package store

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
	MessageExt = ".msg"
	UnsureExt  = ".tmp" // nothing was promised for it
)

var (
	shardPattern = regexp.MustCompile(`^[0-9a-f]{2}$`)
	namePattern  = regexp.MustCompile(`^([0-9a-f]{24})(\.msg|\.tmp)$`)
)

// Reasons for which a message is not kept.
var (
	ErrFull = errors.New("the spool is full")
	ErrIll  = errors.New("the spool's disk has failed, and nothing is accepted until a restart")
	ErrAway = errors.New("the spool's directory is not this process's yet")
)

// Store is the directory of the messages: a file each, in shards.
type Store struct {
	disk disk.FS
	dir  string
	note string // where the directory's mark is remembered; empty: nowhere
	// mention is where the directory is named that has no note; empty: nowhere.
	mention string

	mu      sync.Mutex
	keys    *seal.Keys
	bounds  Bounds
	away    bool            // the directory is not this process's
	lock    disk.Lock       // of the directory, since Load
	shards  map[string]bool // that are there for good
	foreign map[string]bool // names of shards that something else has
	kept    room            // messages
	reports room            // about them, beside the bounds: what is full must say so
	clock   clock
	ill     error // what failed when it must not; the first is believed for good

	// making is held while a shard is made: no message goes to it before its name is
	// durable. It comes before mu.
	making chan struct{}

	spaceAt    time.Time
	spaceIsLow bool
}

// Bounds are the most that is kept. As many reports may lie beside the messages,
// and on what is left free of the disk.
type Bounds struct {
	Messages int
	Octets   int64
	MinFree  float64 // share of the disk
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
func (s *Store) of(env *record.Envelope) *room {
	if env.Report {
		return &s.reports
	}
	return &s.kept
}

// New returns the store of a directory. It is not read before Load; who uses it
// before must have the directory for itself.
func New(fsys disk.FS, dir string) *Store {
	return &Store{disk: fsys, dir: dir, shards: make(map[string]bool), foreign: make(map[string]bool), making: make(chan struct{}, 1)}
}

// Configure puts keys and bounds in force. It reports whether the keys are others.
func (s *Store) Configure(keys *seal.Keys, b Bounds) (rekeyed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rekeyed = s.keys.Identity() != keys.Identity()
	s.keys, s.bounds, s.spaceAt = keys, b, time.Time{}
	return rekeyed
}

// lastID is the time of the last id, in microseconds.
var lastID atomic.Int64

// NewID makes an id that sorts by time, also within one microsecond: the order of an
// account's mail is that of the ids. It comes behind all that are known, though the
// host's clock was set back since.
func NewID(now time.Time) string {
	at := now.UnixMicro()
	for last := lastID.Load(); ; last = lastID.Load() {
		at = max(at, last+1)
		if lastID.CompareAndSwap(last, at) {
			break
		}
	}
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], uint64(at)<<8) //nolint:gosec // after 1970
	_, _ = rand.Read(b[7:])                         // never fails
	return hex.EncodeToString(b[:])
}

func ShardOf(id string) string { return id[len(id)-2:] }

// Dir is the directory.
func (s *Store) Dir() string { return s.dir }

// Path is where a message lies.
func (s *Store) Path(id, ext string) string {
	return filepath.Join(s.dir, ShardOf(id), id+ext)
}

// Fail notes that a sync or a removal failed. What the disk says after that
// about what it was given before cannot be believed (a second fsync reports
// success), so nothing is accepted any more.
func (s *Store) Fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ill == nil {
		s.ill = err
	}
	return fmt.Errorf("%w: %w", ErrIll, err)
}

// Gone returns why the directory is not where it was: a file that is missing there is
// not missing, and what would be written there nobody would find. Nil if it is.
func (s *Store) Gone() error {
	s.mu.Lock()
	lock := s.lock
	s.mu.Unlock()
	if lock == nil {
		return nil
	}
	return lock.Held()
}

// Leave notes that the directory is given away: nothing is written in it any more.
func (s *Store) Leave() {
	s.stopClock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.lock = true, nil
}

// Illness returns what failed.
func (s *Store) Illness() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ill
}

// MayGrow reports whether another message may be kept.
func (s *Store) MayGrow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(&s.kept, 1)
}

// mayKeep is mayGrow for what a message is.
func (s *Store) mayKeep(env *record.Envelope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(s.of(env), 1)
}

// fits reports whether so many octets more may be kept. The lock is held.
func (s *Store) fits(r *room, octets int64) error {
	switch {
	case s.away:
		return ErrAway
	case s.ill != nil:
		return ErrIll
	case s.fullBy(r, octets) != "":
		return ErrFull
	}
	return nil
}

// fullBy says which bound leaves no room for so many octets more; empty if none does.
// The lock is held.
func (s *Store) fullBy(r *room, octets int64) string {
	switch {
	case r.count >= s.bounds.Messages:
		return fmt.Sprintf("`max_messages` %d is reached", s.bounds.Messages)
	case r != &s.kept:
		return ""
	case r.octets+octets > s.bounds.Octets:
		return fmt.Sprintf("`max_size` %d is reached", s.bounds.Octets)
	case s.lowSpace():
		return fmt.Sprintf("less than `min_free` %g %% of the disk is free", 100*s.bounds.MinFree)
	}
	return ""
}

// Full says which bound keeps another message from being kept; empty if none does.
func (s *Store) Full() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return ""
	}
	return s.fullBy(&s.kept, 1)
}

// lowSpace asks the disk at most once a second.
func (s *Store) lowSpace() bool {
	now := time.Now()
	if now.Sub(s.spaceAt) >= time.Second || now.Before(s.spaceAt) {
		free, total, err := s.disk.Space(s.dir)
		s.spaceAt = now
		s.spaceIsLow = err == nil && float64(free) < s.bounds.MinFree*float64(total)
	}
	return s.spaceIsLow
}

// create begins the file of a message. It is not there for good until commit. Where
// something of others has the shard's name, the message gets another id.
func (s *Store) create(env *record.Envelope) (rec *record.File, err error) {
	var f disk.File
	for range 3 {
		f, err = s.createFile(env)
		if err == nil || !s.misplaced(ShardOf(env.ID), err) {
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

func (s *Store) createFile(env *record.Envelope) (disk.File, error) {
	if err := s.Gone(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	for range 1000 {
		if !s.foreign[ShardOf(env.ID)] {
			break
		}
		env.ID = NewID(env.Created)
	}
	shard := ShardOf(env.ID)
	known := s.shards[shard]
	s.mu.Unlock()
	if !known {
		if err := s.makeShard(shard); err != nil {
			return nil, err
		}
	}
	if err := s.guard(shard); err != nil {
		return nil, err
	}
	return s.disk.Create(s.Path(env.ID, UnsureExt))
}

// guard returns an error where a shard is not of the spool.
func (s *Store) guard(shard string) error {
	if g, ok := s.disk.(disk.Guard); ok {
		return g.CheckDir(filepath.Join(s.dir, shard))
	}
	return nil
}

// makeShard makes a shard, and its name durable. One that is there already may be of
// a process that did not live to see to the name.
func (s *Store) makeShard(shard string) error {
	s.making <- struct{}{}
	defer func() { <-s.making }()
	s.mu.Lock()
	known := s.shards[shard]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := s.guard(shard); err != nil {
		return err
	}
	if err := s.disk.Mkdir(filepath.Join(s.dir, shard)); err != nil {
		return err
	}
	if err := s.syncDir(s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards[shard] = true
	return nil
}

// syncDir makes the names in a directory durable. A sync that failed is not believed
// when it succeeds the next time; one that was not even tried says nothing.
func (s *Store) syncDir(dir string) error {
	err := s.disk.SyncDir(dir)
	if err == nil || disk.IsUntried(err) {
		return err
	}
	return s.Fail(fmt.Errorf("syncing a directory: %w", err))
}

// misplaced reports whether another attempt to make a file may find a place: an
// operator removed the shard, or it is none.
func (s *Store) misplaced(shard string, err error) bool {
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

// Commit makes a message durable: the file, then its name. It closes the file
// in any case.
func (s *Store) commit(rec *record.File, env *record.Envelope, size int64) error {
	if err := s.admit(env, size); err != nil {
		s.discard(rec)
		return err
	}
	err := rec.Finish(size)
	if err != nil {
		s.Release(env, size)
		s.discard(rec)
		return err
	}
	if err := rec.Sync(); err != nil {
		s.Release(env, size)
		s.discard(rec)
		return s.Fail(fmt.Errorf("syncing a message: %w", err))
	}
	unsure, path := s.Path(rec.ID(), UnsureExt), s.Path(rec.ID(), MessageExt)
	if err := rec.Close(); err != nil {
		s.Release(env, size)
		_ = s.disk.Remove(unsure)
		return err
	}
	if err := s.disk.Rename(unsure, path); err != nil {
		s.Release(env, size)
		_ = s.disk.Remove(unsure)
		_ = s.disk.Remove(path) // it may have got its name even so
		return err
	}
	if err := s.syncDir(filepath.Dir(path)); err != nil {
		s.Release(env, size)
		// The client hears 451 and may send it again.
		_ = s.disk.Remove(path)
		return err
	}
	return nil
}

// admit counts a message against the bounds.
func (s *Store) admit(env *record.Envelope, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fits(s.of(env), size); err != nil {
		return err
	}
	s.of(env).add(1, size)
	return nil
}

// Release gives back the room of a message whose file is gone.
func (s *Store) Release(env *record.Envelope, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(env).add(-1, -size)
}

// discard removes a file for which nothing was promised.
func (s *Store) discard(rec *record.File) {
	_ = rec.Close()
	_ = s.disk.Remove(s.Path(rec.ID(), UnsureExt))
}

// OpenJournal opens a message, and stands where the next line of its journal
// goes.
func (s *Store) OpenJournal(id string) (*record.File, error) {
	rec, _, err := s.open(id, false)
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

// open opens a message and reads its envelope. One that is only read is read ahead.
func (s *Store) open(id string, ahead bool) (*record.File, *record.Envelope, error) {
	var f disk.File
	err := s.guard(ShardOf(id))
	if err == nil {
		f, err = s.disk.Open(s.Path(id, MessageExt))
	}
	// Whatever was found or not, it is another directory's.
	if gone := s.Gone(); gone != nil {
		if err == nil {
			_ = f.Close()
		}
		return nil, nil, gone
	}
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	keys := s.keys
	s.mu.Unlock()
	if ahead {
		f = newReader(f)
	}
	rec := record.New(f, id, keys)
	env, err := rec.Start()
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return rec, env, nil
}
