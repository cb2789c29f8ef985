// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
// Package plaintext reads text as editors and shells of any system write it.
package plaintext

import (
	"bufio"
	"encoding/binary"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// NewReader returns the text of r in UTF-8 with lines that end in LF, as
// every reader of a file of accounts sees it. Editors and shells of Windows put a byte
// order mark at the beginning (PowerShell 5.1 writes UTF-16 by default) and
// CRLF at the ends; old programs use CR alone. Octets that are not text stay as
// they are, for the parser to name their line.
func NewReader(r io.Reader) io.Reader {
	t := &textReader{r: bufio.NewReaderSize(r, 64<<10)}
	switch head, _ := t.r.Peek(3); {
	case len(head) == 3 && string(head) == "\xef\xbb\xbf":
		_, _ = t.r.Discard(3)
	case len(head) >= 2 && string(head[:2]) == "\xff\xfe":
		_, _ = t.r.Discard(2)
		t.r = bufio.NewReaderSize(&utf16Reader{r: t.r, order: binary.LittleEndian}, 64<<10)
	case len(head) >= 2 && string(head[:2]) == "\xfe\xff":
		_, _ = t.r.Discard(2)
		t.r = bufio.NewReaderSize(&utf16Reader{r: t.r, order: binary.BigEndian}, 64<<10)
	}
	return t
}

// textReader makes LF of CRLF and of CR.
type textReader struct {
	r  *bufio.Reader
	cr bool // the octet before was one
}

// Read implements io.Reader.
func (t *textReader) Read(p []byte) (int, error) {
	for {
		n, err := t.r.Read(p)
		out := 0
		for _, b := range p[:n] {
			skip := b == '\n' && t.cr
			if t.cr = b == '\r'; t.cr {
				b = '\n'
			}
			if !skip {
				p[out] = b
				out++
			}
		}
		if out > 0 || err != nil || len(p) == 0 {
			return out, err
		}
	}
}

// utf16Reader makes UTF-8 of UTF-16.
type utf16Reader struct {
	r     io.Reader
	order binary.ByteOrder
	rest  []byte // UTF-8 that did not fit
	high  rune   // the first half of a pair, or 0
	err   error
}

// Read implements io.Reader.
func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		var b [2]byte
		n, err := io.ReadFull(u.r, b[:])
		switch {
		case n == 2:
			u.add(rune(u.order.Uint16(b[:])))
			continue
		case n == 1: // half a character at the end
			err = io.EOF
			u.rest = utf8.AppendRune(u.rest, utf8.RuneError)
		case u.high != 0:
			u.rest = utf8.AppendRune(u.rest, utf8.RuneError)
		}
		u.high, u.err = 0, err
	}
	n := copy(p, u.rest)
	u.rest = u.rest[:copy(u.rest, u.rest[n:])]
	return n, nil
}

func (u *utf16Reader) add(c rune) {
	if u.high != 0 {
		pair := utf16.DecodeRune(u.high, c)
		u.high = 0
		if u.rest = utf8.AppendRune(u.rest, pair); pair != utf8.RuneError {
			return
		}
	}
	if utf16.IsSurrogate(c) && c < 0xdc00 {
		u.high = c
		return
	}
	u.rest = utf8.AppendRune(u.rest, c) // half a pair becomes U+FFFD
}
