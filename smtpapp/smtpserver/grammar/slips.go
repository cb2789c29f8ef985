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
	"strings"
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

// Why says what is wrong with the arguments of a MAIL or RCPT that were refused, for
// the log: no part of an address is in it. It is "" for what it does not know.
func Why(args string) string {
	inner, rest, ok := cutPath(strings.TrimRight(args, " "), false)
	switch lower := strings.ToLower(args); {
	case strings.Contains(lower, "&lt;"), strings.Contains(lower, "%3c"):
		return "the brackets are written as HTML or a URL has them"
	case strings.Count(args, "@") > 1 && strings.ContainsAny(args, ",; "):
		return "more than one address in a command"
	case strings.Count(args, "<") != strings.Count(args, ">"):
		return "one bracket alone"
	case !ok:
		return "no address"
	case strings.ContainsFunc(inner, func(r rune) bool { return r > 126 }):
		return "letters that are not ASCII, in an address or without SMTPUTF8"
	case inner != "" && !strings.Contains(inner, "@"):
		return "an address without @"
	}
	if _, valid := mailboxOf(inner, false); inner != "" && !valid {
		return "characters that no address has there"
	}
	if word, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " "); word != "" {
		key, _, _ := strings.Cut(strings.ToUpper(word), "=")
		switch key {
		case "SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "NOTIFY", "ORCPT", "REQUIRETLS", "MT-PRIORITY", "DELIVERBY", "HOLDFOR", "HOLDUNTIL":
			return "the parameter " + key
		}
		return "what follows the address"
	}
	return ""
}
