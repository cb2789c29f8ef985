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
	"strconv"
	"time"

	"github.com/emersion/go-smtp"
)

// Reply is an SMTP reply (RFC 5321 section 4.2), the provider's or our own.
// A negative one is also an error.
type Reply struct {
	// Code is the three-digit reply code.
	Code int
	// Enhanced is the enhanced status code (RFC 3463) of the first line
	// that has one; the zero value if there is none.
	Enhanced smtp.EnhancedCode
	// Lines holds the text of each line as it came: what follows the code
	// and its separator, with the enhanced code still in it, without CRLF.
	Lines []string
	// After is how long to wait before another attempt, where that is known: a
	// quota's next slot, or what the provider asked for.
	After time.Duration
}

// NewReply returns a reply of our own with a single line. The text comes
// without the enhanced code.
func NewReply(code int, enhanced smtp.EnhancedCode, text string) *Reply {
	return &Reply{
		Code:     code,
		Enhanced: enhanced,
		Lines:    []string{formatEnhanced(enhanced) + " " + text},
	}
}

// Positive reports whether the reply is a success (2yz).
func (r *Reply) Positive() bool { return r.Code >= 200 && r.Code < 300 }

// Temporary reports whether the same command may succeed later (4yz).
func (r *Reply) Temporary() bool { return r.Code >= 400 && r.Code < 500 }

// Error returns the reply's first line, code included.
func (r *Reply) Error() string {
	if len(r.Lines) == 0 {
		return strconv.Itoa(r.Code)
	}
	return strconv.Itoa(r.Code) + " " + r.Lines[0]
}

// Append appends the reply as it goes over the wire, CRLF included.
func (r *Reply) Append(b []byte) []byte {
	if len(r.Lines) == 0 {
		b = strconv.AppendInt(b, int64(r.Code), 10)
		return append(b, " \r\n"...)
	}
	for i, line := range r.Lines {
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if i < len(r.Lines)-1 {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		b = append(b, line...)
		b = append(b, "\r\n"...)
	}
	return b
}

func formatEnhanced(e smtp.EnhancedCode) string {
	return strconv.Itoa(e[0]) + "." + strconv.Itoa(e[1]) + "." + strconv.Itoa(e[2])
}

var _ error = (*Reply)(nil)
