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
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// mailboxOf checks what stands in a path. Where not strict, it takes away what an
// address book leaves around an address and what no address has there: a semicolon
// behind it, quotes around it, `mailto:` before it.
func mailboxOf(inner string, strict bool) (path, bool) {
	p, ok := parseMailbox(inner, strict)
	if ok || strict {
		return p, ok
	}
	plain := strings.TrimRight(inner, ",; ")
	if n := len(plain); n > 2 && plain[0] == plain[n-1] && (plain[0] == '\'' || plain[0] == '"') {
		plain = plain[1 : n-1]
	}
	for _, prefix := range []string{"mailto:", "smtp:"} {
		if len(plain) > len(prefix) && strings.EqualFold(plain[:len(prefix)], prefix) {
			plain = plain[len(prefix):]
		}
	}
	if plain == inner || strings.ContainsAny(plain, `'",;:`) {
		return p, false
	}
	return parseMailbox(plain, strict)
}

// Why says for the log what is wrong with the arguments of a MAIL or RCPT that were
// refused with bad: no part of an address is in it, nor of a value. It is "" for what it
// does not know.
func Why(verb, args string, strict bool, bad *relay.Reply) string {
	word := "FROM"
	if verb == "RCPT" {
		word = "TO"
	}
	if lower := strings.ToLower(args); strings.Contains(lower, "&lt;") || strings.Contains(lower, "%3c") {
		return "the brackets are written as HTML or a URL has them"
	}
	after, ok := CutColon(args, word, false)
	if !ok {
		return word + ": does not follow"
	}
	inner, rest, ok := cutPath(strings.TrimRight(after, " "), strict)
	p, valid := mailboxOf(inner, strict)
	valid = valid || verb == "MAIL" && inner == "" || verb == "RCPT" && strings.EqualFold(inner, "postmaster")
	switch {
	case ok && valid && bad == relay.ReplyTooBig:
		return "the parameter SIZE is beyond max_message_size"
	case ok && valid && bad != relay.ReplyNonASCII:
		return whyParam(verb, rest, strict)
	case strings.Count(after, "@") > 1 && strings.ContainsAny(after, ",; "):
		return severalAddresses
	case strings.Count(after, "<") != strings.Count(after, ">"):
		return oneBracket
	case inner == "" && strings.Contains(after, "<>"):
		return "the null path is for senders alone"
	case !ok && strict && strings.Contains(after, "@"):
		return "an address that is not written as RFC 5321 has it: see strict"
	case !ok:
		return "no address"
	case !utf8.ValidString(inner):
		return "letters that are not ASCII, nor UTF-8"
	case strings.ContainsFunc(inner, func(r rune) bool { return r > 126 }):
		return "letters that are not ASCII, in an address or without SMTPUTF8"
	case !strings.Contains(inner, "@"):
		return "an address without @"
	}
	return whyMailbox(inner, p, strict)
}

const (
	severalAddresses = "more than one address in a command"
	oneBracket       = "one bracket alone"
)

// whyMailbox says what is wrong with a mailbox.
func whyMailbox(inner string, p path, strict bool) string {
	local, limit := strings.LastIndexByte(p.mailbox, '@'), maxLocalPartTolerant
	if strict {
		limit = maxLocalPart
	}
	_, longest, _ := strings.Cut(p.mailbox, "@")
	for label := range strings.SplitSeq(longest, ".") {
		if len(label) > maxLabel {
			return "a part of a domain that is longer than any may be"
		}
	}
	switch {
	case local > limit || len(p.mailbox)-local-1 > MaxDomain || strict && len(p.mailbox) > maxMailbox:
		return "an address that is longer than any may be"
	case strings.HasSuffix(inner, "@"):
		return "an address without domain"
	}
	return "characters that no address has there"
}

// registered are the parameters of extensions that the gateway does not announce (IANA,
// MAIL parameters): no word of these can be anything else.
var registered = []string{
	"REQUIRETLS", "MT-PRIORITY", "BY", "HOLDFOR", "HOLDUNTIL", "TRANSID", "SUBMITTER", "MTRK", "CONPERM", "CONNEG", "SOLICIT", "RRVS", "XFORWARD",
	"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "NOTIFY", "ORCPT",
}

// maxKeyword is the longest parameter whose name is repeated.
const maxKeyword = 32

// whyParam says which of the parameters is refused first, and why. A word that may be
// anything is not repeated.
func whyParam(verb, s string, strict bool) string {
	var seen []string
	for word := range strings.FieldsSeq(s) {
		key, value, has := strings.Cut(word, "=")
		name := strings.ToUpper(key)
		switch {
		case validKeyword(key):
		case strings.Contains(s, "@"):
			return severalAddresses
		case strings.ContainsAny(word, "<>"):
			return oneBracket
		default:
			return "what follows the address"
		}
		if slices.Contains(seen, name) && (strict || name != "SIZE") {
			return "the parameter " + name + " stands twice"
		}
		seen = append(seen, name)
		bad := rcptParam(name, value, new(smtp.RcptOptions))
		if verb == "MAIL" {
			bad = mailParam(name, value, has, strict, math.MaxInt64, new(smtp.MailOptions))
		}
		switch {
		case bad != nil && name == "BODY" && strings.EqualFold(value, "BINARYMIME"):
			return "the parameter BODY=BINARYMIME, which was not announced"
		case bad == relay.ReplyUnknownParameter && (!has && !slices.Contains(registered, name) || len(name) > maxKeyword):
			return "what follows the address"
		case bad == relay.ReplyUnknownParameter:
			return "the parameter " + name + ", which was not announced"
		case bad != nil, has && !validValue(value) && (strict || value != ""):
			return "the parameter " + name + " has a value that it cannot have"
		}
	}
	return ""
}
