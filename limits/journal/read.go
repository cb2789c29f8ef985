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
	"bytes"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/limits/record"
)

// Segments are the numbers of segments, in their order, by lane.
type Segments map[int][]int

// List returns the segments of all lanes. What has no such name is not looked at.
func List(fs FS, dir string) (Segments, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	all := make(Segments)
	for _, name := range names {
		lane, n, ok := numbers(name)
		if ok {
			all[lane] = append(all[lane], n)
		}
	}
	for _, list := range all {
		slices.Sort(list)
	}
	return all, nil
}

func numbers(name string) (lane, n int, ok bool) {
	base, ok := strings.CutSuffix(name, ".log")
	one, two, cut := strings.Cut(base, "-")
	lane, err := strconv.Atoi(one)
	n, err2 := strconv.Atoi(two)
	return lane, n, ok && cut && err == nil && err2 == nil && name == segmentName(lane, n)
}

// Line is a line of a journal.
type Line struct {
	Journal string
	Seq     uint64
	text    []byte
}

// Apply brings a shard's file up to date with the lines of the file's lane.
func Apply(f *record.File, lines []Line) error {
	var bad error
	for _, l := range lines {
		if l.Journal == f.Journal && l.Seq <= f.Seq {
			continue
		}
		part, err := record.Decode(l.text)
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		f.Take(part)
		f.Journal, f.Seq = l.Journal, l.Seq
	}
	return bad
}

// Tail follows the journal of a process that lives. It reads what is new.
type Tail struct {
	fs       FS
	dir      string
	lane     int
	log      *zap.Logger
	segments map[int]*segment
}

// NewTail returns the tail of a lane's journal.
func NewTail(fs FS, dir string, lane int, log *zap.Logger) *Tail {
	return &Tail{fs: fs, dir: dir, lane: lane, log: log, segments: make(map[int]*segment)}
}

// segment is what was read of one.
type segment struct {
	at    int64
	lines map[int][]Line // by shard
	bad   bool           // something in it is damaged, which was said
}

// Lines returns the lines of a shard that the segments hold, oldest first. A segment
// that has gone since is in the shard's file, which is read after this.
func (t *Tail) Lines(segments []int, shard int) ([]Line, error) {
	for n := range t.segments {
		if !slices.Contains(segments, n) {
			delete(t.segments, n)
		}
	}
	var lines []Line
	for _, n := range segments {
		s := t.segments[n]
		if s == nil {
			s = &segment{lines: make(map[int][]Line)}
			t.segments[n] = s
		}
		path := filepath.Join(t.dir, segmentName(t.lane, n))
		raw, err := t.fs.ReadFrom(path, s.at)
		if errors.Is(err, fs.ErrNotExist) {
			delete(t.segments, n)
			continue
		}
		if err != nil {
			return nil, err
		}
		s.read(raw, path, t.log)
		lines = append(lines, s.lines[shard]...)
	}
	return lines, nil
}

// read takes the lines of what follows the octets that were read before. It stops at
// what is no whole line and ends the segment: it may be whole the next time.
func (s *segment) read(raw []byte, path string, log *zap.Logger) {
	for len(raw) > 0 {
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		if !whole {
			return
		}
		if !s.line(line) {
			if len(rest) == 0 {
				return
			}
			s.damaged(path, log)
		}
		s.at += int64(len(line)) + 1
		raw = rest
	}
}

// damaged says so, once: what comes after is read.
func (s *segment) damaged(path string, log *zap.Logger) {
	if !s.bad {
		s.bad = true
		log.Error("a journal of limits is damaged, counts in it are lost", zap.String("file", path), zap.Int64("at", s.at))
	}
}

// line takes one line, and reports whether it is one.
func (s *segment) line(line []byte) bool {
	if s.at == 0 {
		return string(line) == head
	}
	sum, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(sum) != 8 {
		return false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(rest, table) {
		return false
	}
	name, rest, _ := bytes.Cut(rest, []byte{' '})
	first, rest, _ := bytes.Cut(rest, []byte{' '})
	second, text, ok := bytes.Cut(rest, []byte{' '})
	shard, err := strconv.Atoi(string(first))
	seq, err2 := strconv.ParseUint(string(second), 10, 64)
	if !ok || err != nil || err2 != nil {
		return false
	}
	s.lines[shard] = append(s.lines[shard], Line{Journal: string(name), Seq: seq, text: text})
	return true
}
