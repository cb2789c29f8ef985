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
	"bytes"
	"encoding/json"
	"errors"
	"hash/crc32"
	"strconv"
	"time"
)

// header is the first line of a segment.
const header = "mailgateway message log 1\n"

// maxRecord bounds a line, its end included.
const maxRecord = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is a line: the checksum of the rest in eight hexadecimal digits, a
// blank, the entry as JSON (which holds no line end), LF.

// appendRecord appends the entry's line. Recipients that do not fit are left out.
func appendRecord(b []byte, e *Entry) ([]byte, error) {
	for {
		body, err := json.Marshal(e)
		if err != nil {
			return b, err
		}
		if len(body)+10 > maxRecord {
			if len(e.Recipients) == 0 {
				return b, errors.New("an entry without recipients is too large")
			}
			e.drop((len(e.Recipients) + 1) / 2)
			continue
		}
		sum := strconv.AppendUint(make([]byte, 0, 8), uint64(crc32.Checksum(body, castagnoli)), 16)
		b = append(b, "00000000"[len(sum):]...)
		b = append(append(append(b, sum...), ' '), body...)
		return append(b, '\n'), nil
	}
}

var errDamaged = errors.New("the record is damaged")

// checkRecord returns the JSON of a line, which comes without its end.
func checkRecord(line []byte) ([]byte, error) {
	if len(line) < 10 || len(line) >= maxRecord || line[8] != ' ' {
		return nil, errDamaged
	}
	var sum uint32
	for _, c := range line[:8] {
		switch {
		case '0' <= c && c <= '9':
			sum = sum<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			sum = sum<<4 | uint32(c-'a'+10)
		default:
			return nil, errDamaged
		}
	}
	if crc32.Checksum(line[9:], castagnoli) != sum {
		return nil, errDamaged
	}
	return line[9:], nil
}

// decodeRecord reads the entry of a line.
func decodeRecord(line []byte) (*Entry, error) {
	body, err := checkRecord(line)
	if err != nil {
		return nil, err
	}
	e := new(Entry)
	if err := json.Unmarshal(body, e); err != nil {
		return nil, errDamaged
	}
	return e, nil
}

var timePrefix = []byte(`{"time":"`)

// recordTime reads no more of a record than its time.
func recordTime(body []byte) (time.Time, bool) {
	rest, ok := bytes.CutPrefix(body, timePrefix)
	if !ok {
		return time.Time{}, false
	}
	text, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return t, err == nil
}

// eachLine calls f with each whole line of a segment behind its header, and
// where it begins. It returns where the last whole line ended.
func eachLine(segment []byte, f func(offset int64, line []byte)) (end int64) {
	at := len(header)
	for at < len(segment) {
		n := bytes.IndexByte(segment[at:], '\n')
		if n < 0 {
			break
		}
		f(int64(at), segment[at:at+n])
		at += n + 1
	}
	return int64(at)
}
