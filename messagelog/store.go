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

package messagelog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// bounds are what is kept at most.
type bounds struct {
	keep   time.Duration
	count  int
	octets int64
}

// Shares of the bounds that one segment takes.
const shares = 16

func (b bounds) segmentOctets() int64 {
	return min(max(b.octets/shares, minSegment), maxSegment)
}

func (b bounds) segmentCount() int { return max(b.count/shares, 1) }

func (b bounds) segmentAge() time.Duration { return min(max(b.keep/shares, time.Minute), 24*time.Hour) }

// store is the directory. Only the writer changes it; mu is for those who look.
type store struct {
	dir    string
	logger *zap.Logger
	lock   io.Closer
	file   *os.File // of the last segment, if it is written to
	dirty  bool     // written since the last sync
	next   uint64
	stuck  string // the file that could not be removed

	mu       sync.Mutex
	segments []*segment // oldest first
	unclear  int        // files that are left alone, and lines passed over
}

// openStore takes the directory and looks at what is there.
func openStore(dir string, logger *zap.Logger) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := filelock.Directory(dir)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, logger: logger, lock: lock}
	if err := s.survey(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) survey() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, path := entry.Name(), filepath.Join(s.dir, entry.Name())
		if name == filelock.LockName || name == keyName || name == keyName+".new" {
			continue
		}
		seq, ok := parseSegmentName(name)
		if !ok {
			s.leaveAlone(path, errForeign)
			continue
		}
		s.next = max(s.next, seq+1)
		seg, v, err := openSegment(path, seq)
		if err != nil {
			s.leaveAlone(path, err)
			continue
		}
		if v.damaged > 0 {
			s.unclear += v.damaged
			s.logger.Warn("records of the message log are damaged and are passed over",
				zap.String("file", path), zap.Int("records", v.damaged))
		}
		if v.torn > 0 {
			if err := s.cutOff(seg); err != nil {
				s.leaveAlone(path, err)
				continue
			}
			s.logger.Info("the message log was cut off in the middle of a record, as a killed process leaves it; it is repaired",
				zap.String("file", path), zap.Int64("octets", v.torn))
		}
		s.segments = append(s.segments, seg)
	}
	slices.SortFunc(s.segments, func(a, b *segment) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return nil
}

func (s *store) leaveAlone(path string, why error) {
	s.unclear++
	s.logger.Warn("a file in the directory of the message log is left alone", zap.String("file", path), zap.Error(why))
}

// cutOff takes the rest of a record off a segment's end. A segment that was not
// even begun is begun.
func (s *store) cutOff(seg *segment) error {
	if seg.size == 0 {
		seg.size = int64(len(header))
		return writeSynced(seg.path, []byte(header))
	}
	return os.Truncate(seg.path, seg.size)
}

// record is an encoded entry.
type record struct {
	at   time.Time
	line []byte
}

// write appends records, and removes what is beyond the bounds with them.
func (s *store) write(records []record, b bounds, now time.Time) error {
	for len(records) > 0 {
		seg, err := s.current(b, now)
		if err != nil {
			return err
		}
		var (
			lines []byte
			n     int
		)
		for n < len(records) && seg.count+n < b.segmentCount() &&
			(seg.count+n == 0 || seg.size+int64(len(lines)+len(records[n].line)) <= b.segmentOctets()) {
			lines = append(lines, records[n].line...)
			n++
		}
		if n == 0 {
			s.roll()
			continue
		}
		s.trim(b, now, n, int64(len(lines)))
		if err := s.append(seg, lines); err != nil {
			return err
		}
		s.mu.Lock()
		for _, r := range records[:n] {
			seg.holds(r.at, len(r.line))
		}
		s.mu.Unlock()
		records = records[n:]
	}
	return nil
}

// append writes whole lines, or nothing that a reader would meet.
func (s *store) append(seg *segment, lines []byte) error {
	s.dirty = true
	_, err := s.file.WriteAt(lines, seg.size)
	if err == nil {
		return nil
	}
	if terr := s.file.Truncate(seg.size); terr != nil {
		s.roll() // whoever opens it next cuts the rest off
	}
	return err
}

// current returns the segment that is written to, a new one if need be.
func (s *store) current(b bounds, now time.Time) (*segment, error) {
	if s.file != nil {
		seg := s.segments[len(s.segments)-1]
		full := seg.count >= b.segmentCount() || seg.size >= b.segmentOctets()
		old := seg.count > 0 && now.Sub(seg.first) >= b.segmentAge()
		if !full && !old {
			return seg, nil
		}
		s.roll()
	}
	seg := &segment{seq: s.next, path: filepath.Join(s.dir, segmentName(s.next))}
	f, err := os.OpenFile(seg.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // a path of ours
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			s.next++ // it is not ours, and is left alone
		}
		return nil, err
	}
	if _, err := f.WriteString(header); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(seg.path))
	}
	s.next++
	seg.size = int64(len(header))
	s.file = f
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.mu.Unlock()
	return seg, nil
}

// roll ends the segment that is written to.
func (s *store) roll() {
	if s.file == nil {
		return
	}
	s.sync()
	if err := s.file.Close(); err != nil {
		s.logger.Warn("closing a file of the message log", zap.String("file", s.file.Name()), zap.Error(err))
	}
	s.file = nil
}

func (s *store) sync() {
	if s.file == nil || !s.dirty {
		return
	}
	s.dirty = false
	if err := s.file.Sync(); err != nil {
		s.logger.Warn("syncing the message log", zap.String("file", s.file.Name()), zap.Error(err))
	}
}

// trim removes the oldest segments until what is there and what is to come is
// within the bounds.
func (s *store) trim(b bounds, now time.Time, count int, octets int64) {
	for {
		victim := s.victim(b, now, count, octets)
		if victim == nil {
			return
		}
		if s.file != nil && s.file.Name() == victim.path {
			s.roll()
		}
		if err := os.Remove(victim.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			if s.stuck != victim.path {
				s.stuck = victim.path // it is tried again at each write, and said once
				s.logger.Error("removing old records of the message log", zap.String("file", victim.path), zap.Error(err))
			}
			return
		}
		s.mu.Lock()
		s.segments = s.segments[1:]
		s.mu.Unlock()
	}
}

// victim returns the oldest segment if it has to go. The one that is written to
// goes only because of its age.
func (s *store) victim(b bounds, now time.Time, count int, octets int64) *segment {
	if len(s.segments) == 0 {
		return nil
	}
	oldest := s.segments[0]
	if len(s.segments) == 1 && s.file != nil {
		if count == 0 && oldest.count > 0 && now.Sub(oldest.last) > b.keep {
			return oldest
		}
		return nil
	}
	for _, seg := range s.segments {
		count += seg.count
		octets += seg.size
	}
	if count > b.count || octets > b.octets || oldest.count == 0 || now.Sub(oldest.last) > b.keep {
		return oldest
	}
	return nil
}

// snapshot returns the segments as they are, newest first.
func (s *store) snapshot() []segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]segment, 0, len(s.segments))
	for _, seg := range slices.Backward(s.segments) {
		out = append(out, *seg)
	}
	return out
}

// close gives the directory back.
func (s *store) close() error {
	s.roll()
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("unlocking %s: %w", s.dir, err)
	}
	return nil
}
