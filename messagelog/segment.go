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
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	segmentSuffix = ".messages"
	// maxSegment bounds what is read into memory at a time.
	maxSegment = 4 << 20
	minSegment = 64 << 10
)

// segment is one file of records.
type segment struct {
	seq         uint64
	path        string
	size        int64 // up to the end of the last whole record
	count       int
	first, last time.Time // of its records
}

// segmentName is the name of a segment's file.
func segmentName(seq uint64) string { return fmt.Sprintf("%016x%s", seq, segmentSuffix) }

// parseSegmentName reads the number in a segment's name.
func parseSegmentName(name string) (seq uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 16, 64)
	return seq, err == nil && segmentName(seq) == name
}

var errForeign = errors.New("it is no segment of a message log")

// holds notes a record.
func (s *segment) holds(t time.Time, octets int) {
	if s.count == 0 || t.Before(s.first) {
		s.first = t
	}
	if s.count == 0 || t.After(s.last) {
		s.last = t
	}
	s.count++
	s.size += int64(octets)
}

// survey is what a look at a segment showed.
type survey struct {
	damaged int   // lines that are no records
	torn    int64 // octets behind the last whole line
}

// read returns the segment's content up to limit octets.
func readSegment(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // a path of ours
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxSegment+maxRecord {
		return nil, errForeign
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, err
	}
	if len(content) < len(header) && strings.HasPrefix(header, string(content)) {
		return content, nil // its writer was killed within the first line
	}
	if !strings.HasPrefix(string(content[:min(len(content), len(header))]), header) {
		return nil, errForeign
	}
	return content, nil
}

// openSegment looks at a file that has a segment's name.
func openSegment(path string, seq uint64) (*segment, survey, error) {
	content, err := readSegment(path, maxSegment+maxRecord)
	if err != nil {
		return nil, survey{}, err
	}
	s, v := &segment{seq: seq, path: path}, survey{}
	if len(content) < len(header) {
		return s, survey{torn: int64(len(content))}, nil
	}
	s.size = int64(len(header))
	end := eachLine(content, func(_ int64, line []byte) {
		body, err := checkRecord(line)
		t, ok := time.Time{}, false
		if err == nil {
			t, ok = recordTime(body)
		}
		if !ok {
			v.damaged++
			s.size += int64(len(line)) + 1
			return
		}
		s.holds(t, len(line)+1)
	})
	v.torn = int64(len(content)) - end
	return s, v, nil
}
