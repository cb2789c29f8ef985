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

package relay

import (
	"bufio"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// Bounds on a reply. RFC 5321 section 4.5.3.1.5 allows lines of 512 octets;
// providers exceed that in 535 and 550 texts, but none comes near these.
const (
	// MaxReplyLine is the longest accepted line, with its line end.
	MaxReplyLine = 4 << 10
	// MaxReplyLines is the largest accepted number of lines.
	MaxReplyLines = 128
	// MaxReplySize is the largest accepted size of all lines together.
	MaxReplySize = 64 << 10
)

// ErrReply is wrapped by the error of a reply that breaks the protocol or one
// of the bounds. The connection that sent it is out of step and must be closed.
var ErrReply = errors.New("invalid SMTP reply")

// ReplyReader reads SMTP replies (RFC 5321 section 4.2). Read keeps the text
// of the last reply in a buffer of its own, so that a reply whose words nobody
// needs costs no allocation; Reply makes a value of it.
type ReplyReader struct {
	br    *bufio.Reader
	code  int
	text  []byte   // the sanitized text of all lines
	ends  []int32  // where each line's text ends in text
	store [8]int32 // backing of ends for the common short reply
}

// NewReplyReader returns a reader on br. A small buffer is enough: lines that
// are longer are put together up to MaxReplyLine.
func NewReplyReader(br *bufio.Reader) *ReplyReader {
	return &ReplyReader{br: br}
}

// Reset makes r read from br.
func (r *ReplyReader) Reset(br *bufio.Reader) { r.br, r.code = br, 0 }

// Read reads one reply and returns its code, 200 to 599. An error that wraps
// ErrReply is the sender's fault; all others come from the connection.
func (r *ReplyReader) Read() (int, error) {
	r.code = 0
	r.text = r.text[:0]
	if cap(r.text) > MaxReplyLine {
		r.text = nil // one long reply must not be paid for as long as the connection lives
	}
	r.ends = r.store[:0]
	size := 0
	for {
		n, more, err := r.readLine(MaxReplySize - size)
		if err != nil {
			r.code = 0
			return 0, err
		}
		size += n
		if !more {
			return r.code, nil
		}
		if len(r.ends) >= MaxReplyLines {
			r.code = 0
			return 0, fmt.Errorf("%w: more than %d lines", ErrReply, MaxReplyLines)
		}
	}
}

// readLine reads one line of the reply and reports whether another follows.
func (r *ReplyReader) readLine(budget int) (n int, more bool, err error) {
	line, err := r.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.readLong(line)
	}
	if err != nil {
		return 0, false, err
	}
	n = len(line)
	if n > MaxReplyLine || n > budget {
		return 0, false, fmt.Errorf("%w: too long", ErrReply)
	}
	// A bare LF ends a line too: it changes no meaning here, because the
	// text is never taken for a command.
	line = line[:n-1]
	if len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	if len(line) < 3 || !digit(line[0]) || !digit(line[1]) || !digit(line[2]) {
		return 0, false, fmt.Errorf("%w: no reply code", ErrReply)
	}
	code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if code < 200 || code > 599 {
		return 0, false, fmt.Errorf("%w: code %d", ErrReply, code)
	}
	if r.code != 0 && code != r.code {
		return 0, false, fmt.Errorf("%w: code %d after %d in one reply", ErrReply, code, r.code)
	}
	r.code = code
	if len(line) > 3 {
		switch line[3] {
		case ' ':
		case '-':
			more = true
		default:
			return 0, false, fmt.Errorf("%w: no separator after code %d", ErrReply, code)
		}
		line = line[4:]
	} else {
		line = nil // the text may be missing (RFC 5321 section 4.2.1)
	}
	r.text = appendSanitized(r.text, line)
	r.ends = append(r.ends, int32(len(r.text))) //nolint:gosec // bounded by MaxReplySize
	return n, more, nil
}

// readLong puts a line together that is longer than the buffer.
func (r *ReplyReader) readLong(first []byte) ([]byte, error) {
	long := append(make([]byte, 0, 2*len(first)), first...)
	for {
		part, err := r.br.ReadSlice('\n')
		if len(long)+len(part) > MaxReplyLine {
			return nil, fmt.Errorf("%w: line longer than %d octets", ErrReply, MaxReplyLine)
		}
		long = append(long, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return long, err
		}
	}
}

// Code returns the code of the last reply, 0 if there is none.
func (r *ReplyReader) Code() int { return r.code }

// Lines calls f with the text of each line of the last reply. The text is valid
// until the next Read.
func (r *ReplyReader) Lines(f func(text []byte)) {
	start := int32(0)
	for _, end := range r.ends {
		f(r.text[start:end])
		start = end
	}
}

// Reply returns the last reply. The value shares nothing with the reader.
func (r *ReplyReader) Reply() *Reply {
	v := &struct {
		reply Reply
		one   [1]string
	}{reply: Reply{Code: r.code}}
	all := string(r.text)
	if len(r.ends) == 1 {
		v.one[0] = all
		v.reply.Lines = v.one[:]
	} else {
		v.reply.Lines = make([]string, len(r.ends))
		start := int32(0)
		for i, end := range r.ends {
			v.reply.Lines[i] = all[start:end]
			start = end
		}
	}
	for _, line := range v.reply.Lines {
		if e, ok := parseEnhanced(line); ok {
			v.reply.Enhanced = e
			break
		}
	}
	return &v.reply
}

// appendSanitized appends text with everything replaced that could end a line
// or act on a terminal or log, or change the order in which it is read: control
// characters except TAB, format characters, and octets that are not UTF-8. Other
// text stays as the provider wrote it, though RFC 5321 section 4.2 knows ASCII only:
// the client hears the provider's own words.
func appendSanitized(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c < utf8.RuneSelf:
			if c < ' ' && c != '\t' || c == 0x7f {
				c = '?'
			}
			dst = append(dst, c)
			i++
		default:
			rn, size := utf8.DecodeRune(text[i:])
			if rn == utf8.RuneError && size <= 1 || !unicode.IsGraphic(rn) {
				dst = append(dst, '?')
			} else {
				dst = append(dst, text[i:i+size]...)
			}
			i += size
		}
	}
	return dst
}

// parseEnhanced reads the enhanced status code at the start of a line's text
// (RFC 2034 section 4, RFC 3463 section 2).
func parseEnhanced(s string) (smtp.EnhancedCode, bool) {
	var e smtp.EnhancedCode
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return e, false
	}
	e[0] = int(s[0] - '0')
	i := 2
	for part := 1; part <= 2; part++ {
		start := i
		for i < len(s) && i-start < 3 && digit(s[i]) {
			e[part] = e[part]*10 + int(s[i]-'0')
			i++
		}
		if i == start {
			return smtp.EnhancedCode{}, false
		}
		if part == 1 {
			if i >= len(s) || s[i] != '.' {
				return smtp.EnhancedCode{}, false
			}
			i++
		}
	}
	if i < len(s) && s[i] != ' ' && s[i] != '\t' {
		return smtp.EnhancedCode{}, false
	}
	return e, true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
