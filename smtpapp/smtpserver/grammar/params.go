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
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// CutColon takes the word and its colon, as in `FROM:`, off the front of s. Old
// devices put blanks around either, or leave the colon out before a bracket.
func CutColon(s, word string, strict bool) (string, bool) {
	if !strict {
		s = strings.TrimLeft(s, " ")
	}
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return "", false
	}
	s = s[len(word):]
	if !strict {
		if s = strings.TrimLeft(s, " "); strings.HasPrefix(s, "<") {
			return s, true
		}
	}
	return strings.CutPrefix(s, ":")
}

// ParseMail parses what follows `MAIL FROM:` (RFC 5321 section 4.1.1.2).
// A negative reply says what is wrong with it.
func ParseMail(s string, strict bool, maxSize int64, opts *smtp.MailOptions) (from string, bad *relay.Reply) {
	inner, rest, ok := cutPath(s, strict)
	if !ok {
		return "", relay.ReplyBadSender
	}
	var p path
	if inner != "" {
		if p, ok = mailboxOf(inner, strict); !ok {
			return "", relay.ReplyBadSender
		}
	}
	var seen [8]string
	n := 0
	bad = eachParam(rest, strict, func(key, value string, has bool) *relay.Reply {
		if slices.Contains(seen[:n], key) {
			if !strict && key == "SIZE" {
				return nil // the first holds, and what comes is counted anyway
			}
			return relay.ReplySyntax
		}
		if n == len(seen) {
			return relay.ReplyUnknownParameter
		}
		seen[n] = key
		n++
		return mailParam(key, value, has, strict, maxSize, opts)
	})
	if bad != nil {
		return "", bad
	}
	if p.utf8 && !opts.UTF8 {
		return "", relay.ReplyNonASCII
	}
	return p.mailbox, nil
}

func mailParam(key, value string, has, strict bool, maxSize int64, opts *smtp.MailOptions) *relay.Reply {
	switch key {
	case "SIZE": // RFC 1870
		if value == "" && !strict {
			return nil // a device that does not know the size of its scan yet
		}
		size, ok := ParseSize(value)
		if !ok {
			return relay.ReplySyntax
		}
		if size > maxSize {
			return relay.ReplyTooBig
		}
		opts.Size = size
	case "BODY": // RFC 6152
		switch {
		case strings.EqualFold(value, string(smtp.Body7Bit)):
			opts.Body = smtp.Body7Bit
		case strings.EqualFold(value, string(smtp.Body8BitMIME)):
			opts.Body = smtp.Body8BitMIME
		case value == "" && !strict: // as if it had not been said
		default:
			return relay.ReplySyntax
		}
	case "SMTPUTF8": // RFC 6531
		if has {
			return relay.ReplySyntax
		}
		opts.UTF8 = true
	case "RET": // RFC 3461 section 4.3
		switch {
		case strings.EqualFold(value, string(smtp.DSNReturnFull)):
			opts.Return = smtp.DSNReturnFull
		case strings.EqualFold(value, string(smtp.DSNReturnHeaders)):
			opts.Return = smtp.DSNReturnHeaders
		default:
			return relay.ReplySyntax
		}
	case "ENVID": // RFC 3461 section 4.4
		id, ok := decodeXtext(value)
		if !ok || id == "" || len(value) > 100 || !printable(id) {
			return relay.ReplySyntax
		}
		opts.EnvelopeID = id
	case "AUTH": // RFC 4954 section 5
		auth, ok := submitter(value)
		// What a client says there is not believed before it is known, so that
		// a device that gets it wrong has said no more than one that does not
		// know who submitted the message.
		if !ok && strict {
			return relay.ReplySyntax
		}
		opts.Auth = &auth
	default:
		return relay.ReplyUnknownParameter
	}
	return nil
}

// submitter reads the value of AUTH= (RFC 4954 section 5).
func submitter(value string) (mailbox string, ok bool) {
	if value == "<>" {
		return "", true
	}
	id, ok := decodeXtext(value)
	if !ok || id == "" {
		return "", false
	}
	if p, valid := parseMailbox(id, true); !valid || p.utf8 {
		return "", false
	}
	return id, true
}

// ParseRcpt parses what follows `RCPT TO:` (RFC 5321 section 4.1.1.3).
func ParseRcpt(s string, strict, utf8OK bool, opts *smtp.RcptOptions) (to string, bad *relay.Reply) {
	inner, rest, ok := cutPath(s, strict)
	if !ok {
		return "", relay.ReplyBadRecipient
	}
	// RFC 5321 section 4.5.1: the one mailbox without a domain.
	if !strings.EqualFold(inner, "postmaster") {
		p, valid := mailboxOf(inner, strict)
		if !valid {
			return "", relay.ReplyBadRecipient
		}
		if p.utf8 && !utf8OK {
			return "", relay.ReplyNonASCII
		}
		inner = p.mailbox
	}
	seen := ""
	bad = eachParam(rest, strict, func(key, value string, _ bool) *relay.Reply {
		if strings.Contains(seen, " "+key) {
			return relay.ReplySyntax
		}
		seen += " " + key
		return rcptParam(key, value, opts)
	})
	return inner, bad
}

func rcptParam(key, value string, opts *smtp.RcptOptions) *relay.Reply {
	ok := false
	switch key {
	case "NOTIFY": // RFC 3461 section 4.1
		opts.Notify, ok = parseNotify(value)
	case "ORCPT": // RFC 3461 section 4.2
		if len(value) <= 500 {
			opts.OriginalRecipientType, opts.OriginalRecipient, ok = parseOrcpt(value)
		}
	default:
		return relay.ReplyUnknownParameter
	}
	if !ok {
		return relay.ReplySyntax
	}
	return nil
}

// eachParam calls f for each ESMTP parameter (RFC 5321 section 4.1.2,
// Mail-parameters), with the keyword in upper case. Where not strict, f gets an
// empty value too.
func eachParam(s string, strict bool, f func(key, value string, has bool) *relay.Reply) *relay.Reply {
	for s != "" {
		if s[0] != ' ' {
			return relay.ReplySyntax
		}
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return nil // a trailing space harms nobody
		}
		word, _, _ := strings.Cut(s, " ")
		s = s[len(word):]
		key, value, has := strings.Cut(word, "=")
		if !validKeyword(key) || has && !validValue(value) && (strict || value != "") {
			return relay.ReplySyntax
		}
		if bad := f(strings.ToUpper(key), value, has); bad != nil {
			return bad
		}
	}
	return nil
}

func validKeyword(s string) bool {
	if s == "" || s[0] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// validValue checks esmtp-value: any character but '=', space and controls.
func validValue(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= 32 || c == 127 || c == '=' {
			return false
		}
	}
	return utf8.ValidString(s)
}

// ParseSize parses 1*20DIGIT. What doesn't fit is as large as can be.
func ParseSize(s string) (int64, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if n > (1<<63-10)/10 {
			n = 1<<63 - 1
			continue
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

func parseNotify(s string) ([]smtp.DSNNotify, bool) {
	var list []smtp.DSNNotify
	for word := range strings.SplitSeq(s, ",") {
		n := smtp.DSNNotify(strings.ToUpper(word))
		switch n {
		case smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess:
		default:
			return nil, false
		}
		for _, other := range list {
			// NEVER stands alone, nothing stands twice.
			if other == n || other == smtp.DSNNotifyNever || n == smtp.DSNNotifyNever {
				return nil, false
			}
		}
		list = append(list, n)
	}
	return list, true
}

func parseOrcpt(s string) (smtp.DSNAddressType, string, bool) {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || addr == "" {
		return "", "", false
	}
	switch {
	case strings.EqualFold(kind, string(smtp.DSNAddressTypeRFC822)):
		id, ok := decodeXtext(addr)
		if !ok || id == "" || !printable(id) {
			return "", "", false
		}
		return smtp.DSNAddressTypeRFC822, id, true
	case strings.EqualFold(kind, string(smtp.DSNAddressTypeUTF8)):
		id, ok := decodeUTF8Xtext(addr)
		return smtp.DSNAddressTypeUTF8, id, ok
	}
	return "", "", false
}

// decodeXtext decodes xtext (RFC 3461 section 4).
func decodeXtext(s string) (string, bool) {
	if strings.IndexByte(s, '+') < 0 {
		for i := 0; i < len(s); i++ {
			if s[i] < 33 || s[i] > 126 || s[i] == '=' {
				return "", false
			}
		}
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", false
			}
			hi, ok1 := upperHex(s[i+1])
			lo, ok2 := upperHex(s[i+2])
			if !ok1 || !ok2 {
				return "", false
			}
			b = append(b, hi<<4|lo)
			i += 2
		case c < 33 || c > 126 || c == '=':
			return "", false
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

// decodeUTF8Xtext decodes utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533
// section 3): `\x{HEX}` stands for a code point.
func decodeUTF8Xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '+' || s[i] == '=' || s[i] <= 32 || s[i] == 127 {
			return "", false
		}
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		if !strings.HasPrefix(s[i:], `\x{`) {
			return "", false
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 5 || end > 9 {
			return "", false
		}
		var r rune
		for _, c := range []byte(s[i+3 : i+end]) {
			v, ok := upperHex(c)
			if !ok {
				return "", false
			}
			r = r<<4 | rune(v)
		}
		if !utf8.ValidRune(r) || r < 32 || r == 127 {
			return "", false
		}
		b.WriteRune(r)
		i += end + 1
	}
	out := b.String()
	return out, out != "" && cleanUTF8(out)
}

func upperHex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 32 || s[i] > 126 {
			return false
		}
	}
	return true
}
