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
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"github.com/caddymail/mailgateway/internal/fold"
)

// senderPattern is one compiled element of Record.Senders.
type senderPattern struct {
	any    bool
	local  string // "" for every local part
	domain string // an A-label form in lower case
}

// MaySend reports whether the account may use an address as MAIL FROM. The
// address comes without angle brackets; the empty one is the null sender,
// which bounces need (RFC 5321 section 4.5.5), and always allowed.
//
// Addresses are compared without regard to case, to the form of a domain's
// internationalized labels, to its final dot and to quotes that mean nothing. RFC 5321
// section 2.4 leaves case to the mailbox's host: no provider has two mailboxes that
// differ in it, and devices write what was typed into them.
func (a *Account) MaySend(from string) bool {
	if from == "" || len(a.Record.Senders) == 0 {
		return true
	}
	patterns := a.senders
	if patterns == nil {
		// An Account that Compile has not seen: no pattern, no sender.
		for _, s := range a.Record.Senders {
			if p, err := parseSenderPattern(s); err == nil {
				patterns = append(patterns, p)
			}
		}
	}
	local, domain, ok := SplitAddress(from)
	domain = strings.TrimSuffix(domain, ".")
	if ok && !isASCII(domain) {
		ascii, err := idna.Lookup.ToASCII(domain)
		if err != nil {
			ok = false
		}
		domain = ascii
	}
	for i := range patterns {
		p := &patterns[i]
		if p.any {
			return true
		}
		if ok && fold.Equal(p.domain, domain) && (p.local == "" || fold.Equal(p.local, local)) {
			return true
		}
	}
	return false
}

// parseSenderPattern reads `local@domain`, `*@domain` or `*`.
func parseSenderPattern(s string) (senderPattern, error) {
	if s == "*" {
		return senderPattern{any: true}, nil
	}
	if err := checkText(s, 2*maxNameLen, true); err != nil {
		return senderPattern{}, err
	}
	local, domain, ok := SplitAddress(s)
	if !ok {
		return senderPattern{}, fmt.Errorf("malformed sender pattern: want an address, *@domain or *%s", meantSender(s))
	}
	p := senderPattern{local: local}
	if quoted := s[0] == '"'; !quoted {
		switch {
		case local == "*":
			p.local = ""
		case strings.ContainsAny(local, "*"):
			return senderPattern{}, errors.New("malformed sender pattern: * stands for a whole local part or for everything")
		case strings.ContainsAny(local, " \t()<>,;:\\\"[]@"):
			return senderPattern{}, errors.New("malformed sender pattern: the local part needs quotes")
		}
	}
	var err error
	p.domain, err = domainASCII(domain)
	return p, err
}

// CheckSender says what is wrong with a sender pattern.
func CheckSender(s string) error {
	_, err := parseSenderPattern(s)
	switch {
	case err != nil && strings.ContainsAny(s, "<>"):
		return fmt.Errorf("'%s': addresses alone are wanted, as in scanner@contoso.com, without name and brackets", s)
	case err != nil && strings.ContainsAny(s, ",;"):
		return fmt.Errorf("'%s' holds a comma: between values stands a blank, and nothing else", s)
	}
	return err
}

// meantSender is what a pattern without a local part was meant to be, as the end
// of an error.
func meantSender(s string) string {
	domain := strings.TrimPrefix(strings.TrimPrefix(s, "*."), "@")
	if _, err := domainASCII(domain); err != nil || !strings.Contains(domain, ".") {
		return ", as in scanner@example.com or *@example.com"
	}
	return "; did you mean '*@" + domain + "'?"
}

// domainASCII returns a domain as its A-labels in lower case, or an address
// literal as it is.
func domainASCII(domain string) (string, error) {
	if strings.HasPrefix(domain, "[") {
		content, closed := strings.CutSuffix(domain[1:], "]")
		if !closed || content == "" || strings.ContainsFunc(content, notLiteral) {
			return "", errors.New("malformed sender pattern: bad address literal")
		}
		return FoldName(domain), nil
	}
	if !isASCII(domain) {
		ascii, err := idna.Lookup.ToASCII(domain)
		if err != nil {
			return "", errors.New("malformed sender pattern: the domain is not a valid internationalized name")
		}
		domain = ascii
	}
	if len(domain) > 253 {
		return "", errors.New("malformed sender pattern: the domain is longer than 253 octets")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("malformed sender pattern: the domain has an empty label or one of more than 63 octets")
		}
		for i := range len(label) {
			c := lowerASCII(label[i])
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", errors.New("malformed sender pattern: the domain has a character that domains do not have")
			}
		}
	}
	return FoldName(domain), nil
}

// notLiteral tells a character that an address literal cannot have: what is
// not dcontent (RFC 5321 section 4.1.3), and our wildcard.
func notLiteral(r rune) bool {
	return r < '!' || r > '~' || strings.ContainsRune(`[\]*@`, r)
}

// SplitAddress splits at the last @ and takes the quotes off a quoted local
// part, so that "a"@b and a@b are one (RFC 5321 section 4.1.2).
func SplitAddress(s string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || i == len(s)-1 {
		return "", "", false
	}
	local, domain = s[:i], s[i+1:]
	if local[0] != '"' {
		return local, domain, true
	}
	if len(local) < 2 || local[len(local)-1] != '"' {
		return "", "", false
	}
	local = local[1 : len(local)-1]
	if strings.IndexByte(local, '\\') < 0 {
		return local, domain, local != "" && strings.IndexByte(local, '"') < 0
	}
	var b strings.Builder
	for i := 0; i < len(local); i++ {
		switch local[i] {
		case '"':
			return "", "", false
		case '\\':
			if i++; i == len(local) {
				return "", "", false
			}
		}
		b.WriteByte(local[i])
	}
	return b.String(), domain, b.Len() > 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
