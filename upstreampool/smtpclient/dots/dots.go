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

// Package dots writes a message as DATA has it (RFC 5321 section 4.5.2). It knows no
// connection, and imports nothing of ours.
package dots

import "bytes"

// Stuffer doubles the dots at the beginning of lines (RFC 5321 section 4.5.2).
// Lines end with CRLF and with nothing else. A dot that stands alone between
// bare line ends would be the end of data to a lax server, and what follows it
// a command: such a body is refused.
type Stuffer struct {
	p2, p1 byte // the last two octets
	lone   bool // they are a dot after a bare CR or LF
}

// New begins at the beginning of a line.
func New() Stuffer { return Stuffer{p2: '\r', p1: '\n'} }

// LineEnd reports whether an octet ends lines, or half of it.
func LineEnd(c byte) bool { return c == '\r' || c == '\n' }

// Append encodes b at the end of dst, and reports whether b can be sent.
func (s *Stuffer) Append(dst, b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return dst, true
	}
	if s.lone && LineEnd(b[0]) {
		return dst, false
	}
	s.lone = false
	start := 0
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '.')
		if n < 0 {
			break
		}
		i += n
		p1, p2 := s.p1, s.p2
		switch {
		case i >= 2:
			p1, p2 = b[i-1], b[i-2]
		case i == 1:
			p1, p2 = b[0], s.p1
		}
		switch {
		case p1 == '\n' && p2 == '\r':
			dst = append(dst, b[start:i]...)
			dst = append(dst, '.')
			start = i
		case LineEnd(p1):
			if i+1 == len(b) {
				s.lone = true
			} else if LineEnd(b[i+1]) {
				return dst, false
			}
		}
	}
	dst = append(dst, b[start:]...)
	if len(b) >= 2 {
		s.p2, s.p1 = b[len(b)-2], b[len(b)-1]
	} else {
		s.p2, s.p1 = s.p1, b[0]
	}
	return dst, true
}

// End appends the end of data.
func (s *Stuffer) End(dst []byte) ([]byte, bool) {
	if s.lone {
		return dst, false
	}
	if s.p2 != '\r' || s.p1 != '\n' {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...), true
}
