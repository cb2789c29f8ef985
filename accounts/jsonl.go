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

package accounts

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"github.com/caddymail/mailgateway/internal/plaintext"
)

// maxLine bounds one line of a file or an import. A record within the bounds
// of Compile is far shorter.
const maxLine = 1 << 20

// ErrLineTooLong is what LineReader returns for a line over maxLine. The line
// is skipped.
var ErrLineTooLong = errors.New("line is longer than 1 MiB")

// LineReader reads lines of foreign text in bounded memory.
type LineReader struct {
	r    *bufio.Reader
	buf  []byte
	line int
	cut  bool // the last line has no end
}

// NewLineReader reads the lines of r, whose text may be as plaintext.NewReader takes it.
func NewLineReader(r io.Reader) *LineReader {
	return &LineReader{r: bufio.NewReaderSize(plaintext.NewReader(r), 64<<10)}
}

// Next returns the next line without its end, and its number from 1. The
// slice is valid until the next call. io.EOF means that there is none.
func (l *LineReader) Next() ([]byte, int, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if long || len(l.buf)+len(part) > maxLine {
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

// lineHash reports whether a line is as it was, so that the account that it made
// can stay.
type lineHash = [sha256.Size]byte

// parsedFile is what an accounts file holds.
type parsedFile struct {
	accounts []*Account
	problems []Problem
	lines    map[lineHash]*Account
	missing  []*Account // in a file that ends within a line: they may be gone or not
}

// parseLines reads JSON lines. A line that is unchanged since prev keeps its
// *Account. A bad line is a problem, and its account stays in its previous
// version, where there is one: the operator's slip must not lock anyone out.
// The error is that of the reader.
func parseLines(r io.Reader, source, file string, prev *parsedFile, old *Index) (*parsedFile, error) {
	p := &parsedFile{lines: make(map[lineHash]*Account)}
	if prev != nil {
		p.lines = make(map[lineHash]*Account, len(prev.lines))
	}
	seen := make(map[string]int)
	var kept []*Account

	problem := func(line int, err error) {
		pr := Problem{Source: source, File: file, Line: line, Message: err.Error()}
		if fe, ok := errors.AsType[*FieldError](err); ok {
			pr.Account, pr.Field, pr.Message = fe.Account, fe.Field, fe.Err.Error()
		}
		if a, ok := old.Get(pr.Account); ok && pr.Account != "" {
			pr.Kept = true
			kept = append(kept, a)
		}
		p.problems = append(p.problems, pr)
	}

	lr := NewLineReader(r)
	bad := 0 // the last bad line
	for {
		line, n, err := lr.Next()
		switch {
		case errors.Is(err, io.EOF):
			for _, a := range kept {
				if seen[a.key] == 0 {
					seen[a.key] = -1
					p.accounts = append(p.accounts, a)
				}
			}
			if prev != nil && lr.cut && bad == lr.line {
				p.missing = slices.DeleteFunc(slices.Clone(prev.accounts), func(a *Account) bool { return seen[a.key] != 0 })
			}
			return p, nil
		case errors.Is(err, ErrLineTooLong):
			problem(n, err)
			continue
		case err != nil:
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		sum := sha256.Sum256(line)
		var a *Account
		if prev != nil {
			a = prev.lines[sum]
		}
		if a == nil {
			record, err := DecodeRecord(line)
			if err == nil {
				a, err = Compile(record, source)
			}
			if err != nil {
				bad = n
				problem(n, err)
				continue
			}
		}
		if first := seen[a.key]; first > 0 {
			p.problems = append(p.problems, Problem{
				Source: source, File: file, Line: n, Account: a.Name, Field: "name",
				Message: "duplicate account, the first one counts",
			})
			continue
		}
		seen[a.key] = n
		p.lines[sum] = a
		p.accounts = append(p.accounts, a)
	}
}
