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

package apitest

import (
	"strings"

	"github.com/caddymail/mailgateway/sandbox/webapi"
)

// Delivered are the addresses that the sandbox delivers a message to, which reads it
// by itself and generously, as a set.
func Delivered(msg []byte, resent bool) []string {
	return Addresses(webapi.Recipients(msg, resent))
}

// Reading is how a reader of headers, who need not be a good one, understands one.
// No reading decodes an encoded word before it looks for addresses.
type Reading struct {
	// Newlines: each CR and LF, a vertical tab and a form feed end a line.
	Newlines bool
	// Blanks: a name may have blanks before its colon.
	Blanks bool
	// Comments are read with their nesting (0), end at the first parenthesis
	// (1), know no backslash (2), or are text (3).
	Comments int
	// Escapes: a backslash in a quoted string takes the next character's meaning.
	Escapes bool
	// Of several fields of a name all count (0), the first (1) or the last (2).
	Which int
	// Resent: Resent-To and the like count too.
	Resent bool
	// Long lines are read as they are (0), end at 998 octets (1), or are folded
	// there (2).
	Long int
}

// Readings are all of them.
func Readings() (all []Reading) {
	for i := range 4 * 3 * 3 {
		for j := range 16 {
			all = append(all, Reading{Comments: i % 4, Which: i / 4 % 3, Long: i / 12, Newlines: j&1 > 0, Blanks: j&2 > 0, Escapes: j&4 > 0, Resent: j&8 > 0})
		}
	}
	return all
}

// maxLine is where readers cut lines (RFC 5322 section 2.1.1).
const maxLine = 998

// lines are those of a message, without their ends.
func (r Reading) lines(msg string) (lines []string) {
	if r.Long == 0 {
		return strings.Split(msg, "\r\n")
	}
	for line := range strings.SplitSeq(msg, "\r\n") {
		for len(line) > maxLine {
			lines = append(lines, line[:maxLine])
			line = map[int]string{1: "", 2: " "}[r.Long] + line[maxLine:]
		}
		lines = append(lines, line)
	}
	return lines
}

// Recipients are the addresses that a message goes to, as a set.
func (r Reading) Recipients(msg string) []string {
	if r.Newlines {
		msg = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n", "\v", "\r\n", "\f", "\r\n").Replace(msg)
	}
	bodies := make(map[string][]string)
	name := ""
	head, _, _ := strings.Cut("\r\n"+msg, "\r\n\r\n")
	for _, line := range r.lines(head)[1:] {
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if n := len(bodies[name]); n > 0 {
				bodies[name][n-1] += line
			}
			continue
		}
		left, body, _ := strings.Cut(line, ":")
		if r.Blanks {
			left = strings.TrimSpace(left)
		}
		name = lower(left)
		bodies[name] = append(bodies[name], body)
	}
	var found []string
	for _, name := range []string{"to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"} {
		b := bodies[name]
		if len(b) == 0 || strings.HasPrefix(name, "resent-") && !r.Resent {
			continue
		}
		switch r.Which {
		case 1:
			b = b[:1]
		case 2:
			b = b[len(b)-1:]
		}
		for _, body := range b {
			found = append(found, r.addresses(body)...)
		}
	}
	return Addresses(found)
}

// addresses are all tokens that have an "@" within, once quoted strings and
// comments are gone.
func (r Reading) addresses(s string) (found []string) {
	var tok strings.Builder
	end := func() {
		if t := tok.String(); strings.Contains(t, "@") && t[0] != '@' && t[len(t)-1] != '@' {
			found = append(found, t)
		}
		tok.Reset()
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"':
			j := i + 1
			for j < len(s) && s[j] != '"' {
				if r.Escapes && s[j] == '\\' {
					j++
				}
				j++
			}
			j = min(j, len(s))
			if j+1 < len(s) && s[j+1] == '@' { // a local part
				if local := s[i+1 : j]; strings.ContainsAny(local, " \t\"\\,;:<>()@") {
					tok.WriteString(s[i : j+1])
				} else {
					tok.WriteString(local)
				}
			}
			i = j + 1
		case c == '(' && r.Comments < 3:
			end()
			i = r.comment(s, i)
		case strings.IndexByte(" \t\r\n,;:<>()", c) >= 0:
			end()
			i++
		default:
			tok.WriteByte(c)
			i++
		}
	}
	end()
	return found
}

// comment returns where the comment at i is over.
func (r Reading) comment(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && r.Comments != 2:
			i++
		case c == '(' && (depth == 0 || r.Comments != 1):
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}
