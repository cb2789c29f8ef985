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

package plaintext

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// MaxLine bounds one line of a file or an import. A record of an account is far
// shorter.
const MaxLine = 1 << 20

// ErrLineTooLong is what LineReader returns for a line over MaxLine. The line
// is skipped.
var ErrLineTooLong = errors.New("line is longer than 1 MiB")

// LineReader reads lines of foreign text in bounded memory.
type LineReader struct {
	r    *bufio.Reader
	buf  []byte
	line int
	cut  bool // the last line has no end
}

// NewLineReader reads the lines of r, whose text may be as NewReader takes it.
func NewLineReader(r io.Reader) *LineReader {
	return &LineReader{r: bufio.NewReaderSize(NewReader(r), 64<<10)}
}

// Next returns the next line without its end, and its number from 1. The
// slice is valid until the next call. io.EOF means that there is none.
func (l *LineReader) Next() ([]byte, int, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if long || len(l.buf)+len(part) > MaxLine {
			long = true
		} else {
			l.buf = append(l.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, l.line, err
		case err != nil && len(l.buf) == 0 && !long:
			return nil, l.line, io.EOF
		}
		l.line++
		l.cut = err != nil
		if long {
			return nil, l.line, ErrLineTooLong
		}
		return bytes.TrimSuffix(l.buf, []byte("\n")), l.line, nil
	}
}

// Line is the number of the last line.
func (l *LineReader) Line() int { return l.line }

// Cut reports whether the last line has no end.
func (l *LineReader) Cut() bool { return l.cut }
