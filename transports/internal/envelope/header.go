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

package envelope

import (
	"bytes"
	"fmt"
	"strings"
)

// field is one header field.
type field struct {
	name string
	// begin and end are where it stands in the message, line end included.
	begin, end int
	// long: one of its lines is longer than maxLine.
	long bool
}

// maxLine is what a line may have without its end (RFC 5322 section 2.1.1).
const maxLine = 998

// body is what follows the colon in msg, with its folding.
func (f field) body(msg []byte) string { return string(msg[f.begin+len(f.name)+1 : f.end]) }

// header splits the header off. Lines must end with CRLF; end is where the
// header's last field is over.
func header(msg []byte) (fields []field, end int, err error) {
	for end < len(msg) {
		if end > maxHeader {
			return nil, 0, ErrHeaderSize
		}
		if bytes.HasPrefix(msg[end:], []byte("\r\n")) {
			return fields, end, nil
		}
		i := bytes.IndexByte(msg[end:], '\n')
		if i < 0 {
			return nil, 0, fmt.Errorf("the header's last line has no end")
		}
		line := string(msg[end : end+i+1])
		text, ok := strings.CutSuffix(line, "\r\n")
		if !ok || strings.ContainsAny(text, "\r\x00\v\f") {
			// Some readers take each of them for the end of a line.
			return nil, 0, fmt.Errorf("a line of the header has a bare CR, a bare LF, a vertical tab, a form feed or a NUL")
		}
		if text[0] == ' ' || text[0] == '\t' {
			n := len(fields)
			switch {
			case n == 0:
				return nil, 0, fmt.Errorf("the first line of the header begins with a blank")
			case strings.Trim(text, " \t") == "":
				// Some readers take it for the end of the header.
				return nil, 0, fmt.Errorf("field '%s' has a line of blanks", fields[n-1].name)
			}
			if hides(text) {
				return nil, 0, errHides
			}
			end += len(line)
			fields[n-1].end = end
			fields[n-1].long = fields[n-1].long || len(text) > maxLine
			continue
		}
		name, _, ok := strings.Cut(text, ":")
		if !ok || !fieldName(name) {
			return nil, 0, fmt.Errorf("line %d of the header is no field", len(fields)+1)
		}
		if hides(text) {
			return nil, 0, errHides
		}
		fields = append(fields, field{name: name, begin: end, end: end + len(line), long: len(text) > maxLine})
		end += len(line)
	}
	return fields, end, nil
}

var errHides = fmt.Errorf("a line of the header is longer than %d octets, and what follows these reads as a field of recipients", maxLine)

// hides reports whether a line that is too long has a field of recipients where
// readers cut such lines.
func hides(text string) bool {
	for size := 990; size <= 1000; size++ {
		for at := size; at < len(text); at += size {
			name, _, ok := strings.Cut(text[at:min(len(text), at+32)], ":")
			if k := kindOf(strings.Trim(name, " \t")); ok && k != other && k != from {
				return true
			}
		}
	}
	return false
}

// fieldName reports whether s is a field's name (RFC 5322 section 3.6.8).
func fieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
