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

// Package journal is what a process has counted since it wrote its files of shards:
// lines that are appended to a file of its own. Many shards share one fsync, where a
// file for each would cost one and a new file too.
//
// A journal belongs to a lane. Each line is a part of one shard: the mailboxes that
// changed, as a file of the shard has them. It is numbered, and the file of the shard
// says up to which number it has them all (record.File, Journal and Seq), so that a
// line is never counted twice and may be there as long as it likes. When the journal is
// large, the next segment begins, all files are written, and the segments before it
// go. What a killed process left in its journal is folded into its files by the one
// who finds it.
//
// A line ends in \n and begins with the sum of its octets: what a crash tore is the
// end of a segment, was never acknowledged, and is no line. After a write that failed a
// segment is not written to again.
//
// It has no locks but those of its types, and imports limits/record.
package journal

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// head is the first line of each segment.
const head = "mailgateway-limits-journal 1"

var table = crc32.MakeTable(crc32.Castagnoli)

// Log is the journal of this process.
type Log struct {
	fs   FS
	dir  string
	lane int
	name string

	mu   sync.Mutex
	seq  uint64
	next *batch // what the next write takes

	writing sync.Mutex // one write at a time; holds what follows
	f       File
	segment int
	path    string
	size    int64
	before  []string // segments that are finished
	closed  bool
}

// batch is lines that are written together. Its end is guarded by Log.writing.
type batch struct {
	lines []byte
	done  bool
	err   error
}

// newLog returns the journal of a lane that this process holds, and from which nothing
// is left. No file is made until there is something to write.
func newLog(fs FS, dir string, lane int) *Log {
	return &Log{fs: fs, dir: dir, lane: lane, name: rand.Text()}
}

// Name is the journal's own: no other has had it.
func (l *Log) Name() string { return l.name }

// Last is the number of the last line.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

// Size is how many octets the journal has.
func (l *Log) Size() int64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.size
}

// Append adds a line. When it returns nil the line is durable; if it fails, the line
// may be there or not. The text has no line feed.
func (l *Log) Append(shard int, text []byte) error {
	l.mu.Lock()
	l.seq++
	if l.next == nil {
		l.next = new(batch)
	}
	b := l.next
	b.lines = appendLine(b.lines, l.name, shard, l.seq, text)
	l.mu.Unlock()

	// Those who come while one writes find their lines written together by the
	// first of them.
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	if !b.done {
		l.mu.Lock()
		l.next = nil
		l.mu.Unlock()
		b.done, b.err = true, l.write(b.lines)
		b.lines = nil
	}
	return b.err
}

// noSum is where the sum of a line comes.
const noSum = "00000000 "

func appendLine(to []byte, name string, shard int, seq uint64, text []byte) []byte {
	at := len(to)
	to = append(to, noSum...)
	to = append(to, name...)
	to = append(to, ' ')
	to = strconv.AppendInt(to, int64(shard), 10)
	to = append(to, ' ')
	to = strconv.AppendUint(to, seq, 10)
	to = append(to, ' ')
	to = append(to, text...)
	sum := fmt.Appendf(nil, "%08x", crc32.Checksum(to[at+len(noSum):], table))
	copy(to[at:], sum)
	return append(to, '\n')
}

func (l *Log) write(lines []byte) error {
	if l.f == nil {
		return l.begin(lines)
	}
	n, err := l.f.Write(lines)
	l.size += int64(n)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		l.finish()
	}
	return err
}

// begin makes a segment with its first lines.
func (l *Log) begin(lines []byte) (err error) {
	if err := l.fs.Mkdir(l.dir); err != nil {
		return err
	}
	l.segment++
	l.path = filepath.Join(l.dir, segmentName(l.lane, l.segment))
	if l.f, err = l.fs.Create(l.path); err != nil {
		l.f = nil
		return err
	}
	l.size = 0
	n, err := l.f.Write(append([]byte(head+"\n"), lines...))
	l.size += int64(n)
	if err == nil {
		err = l.f.Sync()
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		l.finish()
	}
	return err
}

// finish ends the segment: nothing is known of what follows a write that failed.
func (l *Log) finish() {
	if l.f != nil {
		_ = l.f.Close() // what counts is synced
		l.f = nil
		l.before = append(l.before, l.path)
	}
}

// Rotate has the next line begin a segment, and returns those before it. They may be
// forgotten when each shard's file has been written, and is durable, since.
func (l *Log) Rotate() []string {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.finish()
	l.size = 0
	return slices.Clone(l.before)
}

// Forget removes segments that Rotate returned.
func (l *Log) Forget(segments []string) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	for _, s := range segments {
		if err := l.fs.Remove(s); err != nil {
			return err
		}
		l.before = slices.DeleteFunc(l.before, func(b string) bool { return b == s })
	}
	return nil
}

// Close ends the journal. What is in it stays.
func (l *Log) Close() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.finish()
	l.closed = true
}

func segmentName(lane, n int) string { return fmt.Sprintf("%d-%d.log", lane, n) }
