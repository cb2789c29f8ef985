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
	"errors"
	"fmt"
	"strings"
)

// Mailbox is one address of a list.
type Mailbox struct {
	// Address is the addr-spec, without quotes that it does not need.
	Address string
	// raw is the mailbox as it stands in the list.
	raw string
}

// key is what addresses are compared by. The domain's case means nothing, and
// the local part's to no provider (RFC 5321 section 2.4 lets it). Letters beyond
// ASCII stay: some have an ASCII letter for their lower case, and are no such
// letter in an address.
func key(addr string) string {
	b := []byte(addr)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// parser reads an address list (RFC 5322 section 3.4).
type parser struct {
	s string
	i int
}

var errAddress = errors.New("no address list")

// list reads the whole field body. Groups may be empty, and so may places
// between commas.
func list(s string) ([]Mailbox, error) {
	p := &parser{s: s}
	var all []Mailbox
	group := false
	for {
		if err := p.blanks(); err != nil {
			return nil, err
		}
		if p.end() {
			if group {
				return nil, p.fail("a group without its end")
			}
			return all, nil
		}
		switch p.s[p.i] {
		case ',':
			p.i++
			continue
		case ';':
			if !group {
				return nil, p.fail("a semicolon outside of a group")
			}
			group = false
			p.i++
			if err := p.separator(false); err != nil {
				return nil, err
			}
			continue
		}
		m, isGroup, err := p.entry()
		switch {
		case err != nil:
			return nil, err
		case isGroup && group:
			return nil, p.fail("a group in a group")
		case isGroup:
			group = true
			continue
		}
		all = append(all, m)
		if err := p.separator(group); err != nil {
			return nil, err
		}
	}
}

// entry reads a mailbox, or a group's name with its colon.
func (p *parser) entry() (m Mailbox, group bool, err error) {
	begin := p.i
	words, err := p.words()
	if err != nil {
		return m, false, err
	}
	if p.end() {
		return m, false, p.fail("a name without an address")
	}
	switch p.s[p.i] {
	case ':':
		if words == 0 {
			return m, false, p.fail("a group without a name")
		}
		p.i++
		return m, true, nil
	case '<':
		p.i++
		if m.Address, err = p.addrSpec(); err != nil {
			return m, false, err
		}
		if p.end() || p.s[p.i] != '>' {
			return m, false, p.fail("an address in angle brackets that does not end")
		}
		p.i++
	case '@': // the words were a local part
		p.i = begin
		if m.Address, err = p.addrSpec(); err != nil {
			return m, false, err
		}
	default:
		return m, false, p.fail("a character that belongs to no address")
	}
	end := p.i
	if err := p.blanks(); err != nil { // comments behind it are its own
		return m, false, err
	}
	m.raw = strings.TrimSpace(p.s[begin:max(end, len(strings.TrimRight(p.s[:p.i], " \t\r\n")))])
	return m, false, nil
}

// separator wants a comma, the end, or in a group the semicolon.
func (p *parser) separator(group bool) error {
	if err := p.blanks(); err != nil {
		return err
	}
	if p.end() || p.s[p.i] == ',' || group && p.s[p.i] == ';' {
		return nil
	}
	return p.fail("two addresses without a comma")
}

// words skips atoms, full stops, quoted strings and blanks.
func (p *parser) words() (n int, err error) {
	for !p.end() {
		switch c := p.s[p.i]; {
		case likeAt(p.s[p.i:]):
			return n, p.fail("a character that some readers take for an @")
		case atext(c) || c == '.':
			p.i++
		case c == '"':
			if err := p.quoted(); err != nil {
				return n, err
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '(':
			if err := p.blanks(); err != nil {
				return n, err
			}
			continue
		default:
			return n, nil
		}
		n++
	}
	return n, nil
}

// addrSpec reads an address without blanks or comments within. A literal with a colon
// (IPv6) is none: to readers who know no literals what stands in front of the colon is
// a group's name.
func (p *parser) addrSpec() (string, error) {
	begin := p.i
	if !p.end() && p.s[p.i] == '"' {
		if err := p.quoted(); err != nil {
			return "", err
		}
		if strings.ContainsAny(p.s[begin:p.i], "\r\n") {
			return "", p.fail("a line break in an address")
		}
	} else if !p.dotAtom() {
		return "", p.fail("an address without a local part")
	}
	local := p.s[begin:p.i]
	if p.end() || p.s[p.i] != '@' {
		return "", p.fail("an address without a domain")
	}
	p.i++
	begin = p.i
	if !p.end() && p.s[p.i] == '[' {
		for p.i++; !p.end() && p.s[p.i] != ']'; p.i++ {
			if c := p.s[p.i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`[\()<>@,;:"`, c) >= 0 {
				return "", p.fail("a malformed address literal")
			}
		}
		if p.end() {
			return "", p.fail("an address literal that does not end")
		}
		p.i++
	} else if !p.dotAtom() {
		return "", p.fail("an address without a domain")
	}
	if addr := unquote(local) + "@" + p.s[begin:p.i]; !encoded(addr) {
		return addr, nil
	}
	return "", p.fail("an encoded word in an address")
}

// encoded reports whether an address has what looks like an encoded word, which RFC
// 2047 section 5 forbids there: a reader that decodes before it parses finds another
// address in it, or two.
func encoded(addr string) bool {
	_, rest, ok := strings.Cut(addr, "=?")
	return ok && strings.Contains(rest, "?=")
}

// dotAtom reads atoms joined by single full stops.
func (p *parser) dotAtom() bool {
	begin := p.i
	for !p.end() && (atext(p.s[p.i]) || p.s[p.i] == '.') {
		p.i++
	}
	s := p.s[begin:p.i]
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// quoted reads a quoted string. What no reader needs in one is refused: line
// breaks and control characters. For a reader that knows no escapes an escaped quote
// ends the string, and the next one begins another: what stands between the two must
// mean nothing to it.
func (p *parser) quoted() error {
	outside := false
	for p.i++; !p.end(); p.i++ {
		c := p.s[p.i]
		switch {
		case c == '"':
			p.i++
			if outside {
				return p.fail("an escaped quote without another")
			}
			return nil
		case c == '\\':
			if p.i++; p.end() || p.s[p.i] < ' ' || p.s[p.i] == 0x7f {
				return p.fail("a malformed quoted string")
			}
			if c = p.s[p.i]; c == '"' {
				outside = !outside
			}
		case c == '\r' || c == '\n': // folding: header took care of its form
		case c < ' ' && c != '\t' || c == 0x7f:
			return p.fail("a malformed quoted string")
		}
		if outside && strings.IndexByte("@,;:<>()[]\\", c) >= 0 {
			return p.fail("a special character between escaped quotes")
		}
	}
	return p.fail("a quoted string that does not end")
}

// blanks skips blanks, folding and comments. A comment that has what belongs to
// addresses is refused, since readers differ about where it ends or what it is: a
// backslash, an open quote.
func (p *parser) blanks() error {
	depth, quotes := 0, 0
	for ; !p.end(); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			depth++
		case depth > 0 && c == ')':
			if depth--; depth == 0 && quotes%2 != 0 {
				return p.fail("a quote in a comment that does not end")
			}
		case depth > 0 && strings.IndexByte(`@<>\`, c) >= 0:
			return p.fail("an address or a backslash in a comment")
		case depth > 0 && c == '"':
			quotes++
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case depth == 0:
			return nil
		case c < ' ' || c == 0x7f:
			return p.fail("a control character")
		}
	}
	if depth > 0 {
		return p.fail("a comment that does not end")
	}
	return nil
}

func (p *parser) end() bool { return p.i >= len(p.s) }

func (p *parser) fail(what string) error { return fmt.Errorf("%w: %s", errAddress, what) }

// atext reports whether c may stand in an atom (RFC 5322 section 3.2.3, RFC
// 6532 section 3.2).
func atext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// likeAt reports whether s begins with a character that compatibility normalization
// (NFKC, as of IDNA) makes an @.
func likeAt(s string) bool {
	return strings.HasPrefix(s, "\uff20") || strings.HasPrefix(s, "\ufe6b")
}

// unquote takes the quotes off a local part that is the same without them.
func unquote(local string) string {
	if local[0] != '"' {
		return local
	}
	var b strings.Builder
	for i := 1; i < len(local)-1; i++ {
		if local[i] == '\\' {
			i++
		}
		b.WriteByte(local[i])
	}
	if p := (&parser{s: b.String()}); p.dotAtom() && p.end() {
		return b.String()
	}
	return local
}

// Parse reads one address without a name, as it stands in an envelope.
func Parse(s string) (string, error) {
	if s == "" {
		return "", errAddress
	}
	p := &parser{s: s}
	addr, err := p.addrSpec()
	if err == nil && !p.end() {
		err = p.fail("text behind the address")
	}
	return addr, err
}
