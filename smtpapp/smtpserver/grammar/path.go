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

package grammar

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Lengths of RFC 5321 section 4.5.3.1, and what is let through where not strict:
// what a local part may be is for its host to say.
const (
	maxLocalPart = 64
	// MaxDomain is the longest domain, and the longest name in a hello.
	MaxDomain  = 255
	maxLabel   = 63
	maxMailbox = 254 // a path is at most 256 with its angle brackets

	maxLocalPartTolerant = 255
	maxMailboxTolerant   = maxLocalPartTolerant + 1 + MaxDomain
)

// path is what a path says.
type path struct {
	mailbox string // as it came, without angle brackets and route; "" for the null path
	utf8    bool   // it needs SMTPUTF8
}

// cutPath takes a path off the front of s: `<mailbox>`, and where not strict
// also `mailbox` alone, `Name <mailbox>` as From has it, and blanks and comments
// around them. It returns what is in it, and what follows: parameters.
//
// One bracket alone is refused all the same: what a device has cut off may be the
// end of the address.
func cutPath(s string, strict bool) (inner, rest string, ok bool) {
	if strict {
		return cutBrackets(s)
	}
	s = strings.TrimLeft(s, " ")
	open := indexUnquoted(s, '<')
	if open < 0 || open > 0 && !isPhrase(s[:open]) {
		// RAID controllers and old scanners know no brackets. The null path and
		// what has brackets within would be ambiguous.
		n := endOfWord(s)
		inner, rest = s[:n], s[n:]
		return inner, cutComment(rest), inner != "" && !strings.ContainsAny(inner, "<>")
	}
	s = s[open:]
	// A From with brackets, in a field that gets brackets again.
	if again := indexUnquoted(s[1:], '<') + 1; again > 0 && isPhrase(s[1:again]) {
		if inner, rest, ok = cutBrackets(s[again:]); !ok || inner == "" {
			return "", "", false
		}
		rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), ">")
	} else {
		inner, rest, ok = cutBrackets(s)
		ok = ok && (open == 0 || inner != "")
	}
	if strings.Trim(rest, ",; ") == "" { // of a list with one address
		rest = ""
	}
	if rest != "" && rest[0] != ' ' {
		rest = " " + rest
	}
	return strings.Trim(inner, " "), cutComment(rest), ok
}

// isPhrase reports whether s can be the name before an address, or a comment
// (RFC 5322 section 3.4), and no address itself: a second one would have to be
// guessed at.
func isPhrase(s string) bool {
	for _, c := range "@<>,;:=" {
		if indexUnquoted(s, byte(c)) >= 0 {
			return false
		}
	}
	return strings.Count(s, `"`)%2 == 0
}

// cutComment takes a comment (RFC 5322 section 3.2.2) off the front of what
// follows a path.
func cutComment(rest string) string {
	after, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), "(")
	if !ok {
		return rest
	}
	comment, after, ok := strings.Cut(after, ")")
	if !ok || strings.Contains(comment, "(") {
		return rest
	}
	return after
}

// cutRoute takes a source route off the front of a path: RFC 5321 section 4.1.2
// wants it accepted and ignored.
func cutRoute(s string, strict bool) string {
	if s == "" || s[0] != '@' {
		return s
	}
	route, mailbox, ok := strings.Cut(s, ":")
	if !ok {
		return s
	}
	for hop := range strings.SplitSeq(route, ",") {
		if domain, at := strings.CutPrefix(hop, "@"); !at || !validDomain(domain, strict) {
			return s
		}
	}
	return mailbox
}

// endOfWord returns where the first blank is that is not in quotes.
func endOfWord(s string) int {
	if i := indexUnquoted(s, ' '); i >= 0 {
		return i
	}
	return len(s)
}

// cutBrackets takes `<path>` off the front of s. A quoted local part may hold a
// '>'.
func cutBrackets(s string) (inner, rest string, ok bool) {
	if len(s) < 2 || s[0] != '<' {
		return "", "", false
	}
	s = s[1:]
	i := indexUnquoted(s, '>')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// indexUnquoted returns where the first c is that is not in quotes, or -1.
func indexUnquoted(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == c && !quoted:
			return i
		}
	}
	return -1
}

// parseMailbox checks a mailbox (RFC 5321 section 4.1.2, RFC 6531 section
// 3.3), and drops a source route before it. Where not strict, dots
// stand anywhere in the local part, as real addresses at docomo.ne.jp have them,
// and the lengths are larger: the provider decides.
func parseMailbox(s string, strict bool) (path, bool) {
	s = cutRoute(s, strict)
	p := path{mailbox: s}
	mailbox, local := maxMailboxTolerant, maxLocalPartTolerant
	if strict {
		mailbox, local = maxMailbox, maxLocalPart
	}
	if s == "" || len(s) > mailbox {
		return p, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			p.utf8 = true
			break
		}
	}
	if p.utf8 && !cleanUTF8(s) {
		return p, false
	}
	var n int
	if s[0] == '"' {
		n = quotedLocalPart(s)
	} else {
		n = dotLocalPart(s, strict)
	}
	if n <= 0 || n > local || n >= len(s) || s[n] != '@' {
		return p, false
	}
	return p, validDomain(s[n+1:], strict)
}

// cleanUTF8 reports whether s is UTF-8 without C1 control characters.
func cleanUTF8(s string) bool {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return false
		}
		i += n
	}
	return true
}

// dotLocalPart returns the length of the Dot-string at the front of s, or 0.
func dotLocalPart(s string, strict bool) int {
	atom := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isAtext(c):
			atom = true
		case c == '.':
			if !atom && strict {
				return 0
			}
			atom = atom && !strict
		default:
			if !atom {
				return 0
			}
			return i
		}
	}
	return 0
}

// quotedLocalPart returns the length of the Quoted-string at the front of s,
// or 0.
func quotedLocalPart(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if i == 1 {
				return 0 // nothing between the quotes
			}
			return i + 1
		case c == '\\':
			i++
			if i == len(s) || s[i] < 32 || s[i] > 126 {
				return 0
			}
		case c < 32 || c == 127:
			return 0
		}
	}
	return 0
}

func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// validDomain checks the part after the '@': a domain or an address literal.
// Where not strict, it may have underscores and one dot at its end.
func validDomain(s string, strict bool) bool {
	if s == "" || len(s) > MaxDomain {
		return false
	}
	if s[0] == '[' {
		return validLiteral(s)
	}
	if !strict {
		if s = strings.TrimSuffix(s, "."); s == "" {
			return false
		}
	}
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if !ascii {
		// RFC 6531 section 3.3: U-labels as RFC 5890 has them.
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return false
		}
		s = a
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			label++
		case c == '_' && !strict:
			label++
		case c == '-':
			if label == 0 || i+1 == len(s) || s[i+1] == '.' {
				return false
			}
			label++
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		default:
			return false
		}
		if label > maxLabel {
			return false
		}
	}
	return label > 0
}

// validLiteral checks an address literal (RFC 5321 section 4.1.3).
func validLiteral(s string) bool {
	if s[len(s)-1] != ']' {
		return false
	}
	s = s[1 : len(s)-1]
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		a, err := netip.ParseAddr(s[5:])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}
