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

package webapi

import (
	"bytes"
	"mime"
	"strings"
)

// field is one header field: its name as it stands there, and its body with
// the folding undone.
type field struct {
	name, body string
	raw        []byte
}

// split parts a message into its fields and the rest, which begins with the
// empty line. A line without a colon is nothing; blanks in front of the colon
// are part of no name.
func split(msg []byte) (fields []field, rest []byte) {
	for len(msg) > 0 {
		line := msg
		if i := bytes.IndexByte(msg, '\n'); i >= 0 {
			line = msg[:i+1]
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			return fields, msg
		}
		msg = msg[len(line):]
		if text[0] == ' ' || text[0] == '\t' {
			if n := len(fields); n > 0 {
				fields[n-1].body += text
				fields[n-1].raw = append(fields[n-1].raw, line...)
			}
			continue
		}
		name, body, ok := strings.Cut(text, ":")
		if !ok {
			name, body = "", text
		}
		fields = append(fields, field{name: strings.TrimSpace(name), body: body, raw: bytes.Clone(line)})
	}
	return fields, nil
}

// Recipients are the addresses that a message is delivered to, and with resent those
// in Resent-To and the like.
func Recipients(msg []byte, resent bool) []string {
	fields, _ := split(msg)
	return recipients(fields, resent)
}

// recipients are the addresses of every To, Cc and Bcc field, each once, in
// the order of the first appearance; and those of Resent-To and the like, if resent.
func recipients(fields []field, resent bool) []string {
	var list []string
	seen := make(map[string]bool)
	for _, f := range fields {
		name := strings.ToLower(f.name)
		if resent {
			name = strings.TrimPrefix(name, "resent-")
		}
		switch name {
		case "to", "cc", "bcc":
			for _, a := range addresses(f.body) {
				if key := lower(a); !seen[key] {
					seen[key] = true
					list = append(list, a)
				}
			}
		}
	}
	return list
}

// lower is an address without the case of ASCII. Beyond ASCII some letters have an
// ASCII letter for their lower case, and are no such letter in an address.
func lower(addr string) string {
	b := []byte(addr)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// addresses reads an address list (RFC 5322 section 3.4) and what is close to
// one: semicolons separate too, several addresses may stand side by side.
func addresses(s string) []string {
	var list []string
	var words strings.Builder // outside of angle brackets
	angle := ""
	end := func() {
		if angle != "" {
			list = append(list, bare(angle)...)
		} else {
			list = append(list, bare(words.String())...)
		}
		words.Reset()
		angle = ""
	}
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '(':
			i = skipComment(s, i)
			words.WriteByte(' ')
		case '"':
			j := skipQuoted(s, i)
			words.WriteString(s[i:j])
			i = j
		case '<':
			j := i + 1
			for j < len(s) && s[j] != '>' {
				if s[j] == '"' {
					j = skipQuoted(s, j)
				} else {
					j++
				}
			}
			if angle != "" {
				end()
			}
			angle = s[i+1 : min(j, len(s))]
			i = j + 1
		case ',', ';':
			end()
			i++
		case ':': // what was read is a group's name
			words.Reset()
			angle = ""
			i++
		default:
			words.WriteByte(c)
			i++
		}
	}
	end()
	return list
}

// bare finds the addresses in text without brackets and separators.
func bare(s string) []string {
	if strings.HasPrefix(strings.TrimSpace(s), "@") { // a route (RFC 5322 section 4.4)
		if i := strings.LastIndexByte(s, ':'); i >= 0 {
			s = s[i+1:]
		}
	}
	// Parts are tokens; those that '@' or '.' join are one.
	var parts []string
	glue := false
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '(':
			i = skipComment(s, i)
		case ' ', '\t', '\r', '\n':
			i++
		default:
			j := i
			for j < len(s) && !strings.ContainsRune(" \t\r\n(", rune(s[j])) {
				if s[j] == '"' {
					j = skipQuoted(s, j)
				} else {
					j++
				}
			}
			tok := s[i:j]
			if n := len(parts); n > 0 && (glue || tok[0] == '@' || tok[0] == '.') {
				parts[n-1] += tok
			} else {
				parts = append(parts, tok)
			}
			glue = strings.HasSuffix(tok, "@") || strings.HasSuffix(tok, ".")
			i = j
		}
	}
	var list []string
	for _, p := range parts {
		at := strings.LastIndexByte(p, '@')
		if at <= 0 || at == len(p)-1 || p[0] == '"' && !strings.HasSuffix(p[:at], `"`) {
			continue
		}
		list = append(list, decoded(p)...)
		list = append(list, unquote(p[:at])+p[at:])
	}
	return list
}

// decoded are the addresses that a reader finds in an address with an encoded word
// if it decodes before it parses, which RFC 2047 section 6.1 forbids (report:
// PortSwigger, Splitting the email atom, 2024).
func decoded(addr string) (list []string) {
	text, err := new(mime.WordDecoder).DecodeHeader(strings.ReplaceAll(addr, `"`, ""))
	if err != nil || !strings.Contains(addr, "=?") {
		return nil
	}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune("<>,;", r) }) {
		if at := strings.LastIndexByte(word, '@'); at > 0 && at < len(word)-1 {
			list = append(list, word)
		}
	}
	return list
}

// unquote takes quotes that a local part does not need away.
func unquote(local string) string {
	if len(local) < 2 || local[0] != '"' {
		return local
	}
	var b strings.Builder
	for i := 1; i < len(local)-1; i++ {
		if local[i] == '\\' && i+1 < len(local)-1 {
			i++
		}
		b.WriteByte(local[i])
	}
	if strings.ContainsAny(b.String(), " \t()<>[]:;@\\,\"") || b.Len() == 0 {
		return local
	}
	return b.String()
}

// skipQuoted returns where the quoted string that begins at i is over.
func skipQuoted(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// skipComment returns where the comment that begins at i is over.
func skipComment(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// without returns the message less the fields of that name.
func without(fields []field, rest []byte, name string) []byte {
	var b []byte
	for _, f := range fields {
		if !strings.EqualFold(f.name, name) {
			b = append(b, f.raw...)
		}
	}
	return append(b, rest...)
}

// first returns the first field of that name.
func first(fields []field, name string) (string, bool) {
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return strings.TrimSpace(f.body), true
		}
	}
	return "", false
}
