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

// Package form knows how values of a configuration are written: each form has
// an example and a check, whose error says what is wrong with a value and what
// it was meant to be. Caddyfile options and the JSON configuration ask the same
// forms, so that a mistake is told alike wherever it was made. It keeps no
// state.
//
// A value is quoted in an error only where it cannot be a secret.
package form

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/caddymail/mailgateway/internal/nearest"
)

// Form is how one kind of value is written.
type Form struct {
	// Example is a value that is right.
	Example string
	// Check says what is wrong with a value.
	Check func(s string) error
}

// The forms of single values.
var (
	Listen   = Form{":587", checkListen}
	Dial     = Form{"smtp.example.com:587", checkDial}
	Hostname = Form{"mail.example.com", checkHostname}
	IP       = Form{"192.0.2.7", checkIP}
	Network  = Form{"192.0.2.0/24", checkNetwork}
	Mailbox  = Form{"scanner@example.com", checkMailbox}
	URL      = Form{"https://login.example.com/path", checkURL}
	Date     = Form{"2027-12-31", checkDate}
	Tenant   = Form{"contoso.onmicrosoft.com", checkTenant}
	ClientID = Form{"11111111-2222-3333-4444-555555555555", mistypedError}
	Secret   = Form{"{env.NAME}", checkSecret}
	Text     = Form{"name", checkText}
)

// OneOf is one of a few words.
func OneOf(words ...string) Form { return Words(nil, words...) }

// Words is one of a few words, which go by others elsewhere: by those, in lower
// case, others has them.
func Words(others map[string]string, words ...string) Form {
	return Form{words[0], func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("unrecognized value '%s', want %s%s", s, Or(words), meant(s, others, words))
	}}
}

// meant is what a word was meant to be, as the end of an error.
func meant(s string, others map[string]string, words []string) string {
	plain := strings.ToLower(strings.Trim(s, `"'“”„‟«»‘’‚,; `))
	if w := others[plain]; slices.Contains(words, w) {
		return "; did you mean '" + w + "'?"
	}
	return nearest.Hint(plain, words)
}

// Switch is the name of an option that has no value, followed by one.
func Switch(s string) string {
	switch strings.ToLower(strings.TrimRight(s, ";,")) {
	case "off", "no", "false", "disable", "disabled", "0", "none":
		return "without this line it is off"
	}
	return "the option's name alone turns it on"
}

// TLSMode is how a connection is encrypted.
var TLSMode = Form{"starttls", func(mode string) error {
	modes := []string{"starttls", "implicit", "off"}
	if slices.Contains(modes, mode) {
		return nil
	}
	hint := ""
	switch strings.ToLower(strings.TrimRight(mode, ";,")) {
	case "ssl", "smtps", "465":
		hint = "; did you mean 'implicit' (TLS from the first octet, port 465)?"
	case "on", "yes", "true", "tls", "587":
		hint = "; did you mean 'starttls'?"
	case "no", "none", "false", "plain":
		hint = "; did you mean 'off'?"
	default:
		if hint = meant(mode, nil, modes); hint == "" && strings.ContainsAny(mode, `/\.`) {
			hint = "; the files of a certificate and its key stand behind the mode, or alone"
		}
	}
	return fmt.Errorf("'%s' is not starttls, implicit or off%s", mode, hint)
}}

// Mechanism is how an upstream is logged in at.
var Mechanism = Form{"xoauth2", func(s string) error {
	words := []string{"xoauth2", "oauthbearer", "plain", "login", "none"}
	if slices.Contains(words, strings.ToLower(s)) {
		return nil
	}
	hint := meant(s, map[string]string{"oauth": "xoauth2", "oauth2": "xoauth2", "off": "none", "no": "none", "password": "plain"}, words)
	if hint == "" {
		hint = "; the mechanism stands before the provider, as in 'auth xoauth2 PROVIDER'"
	}
	return fmt.Errorf("unrecognized value '%s', want %s%s", s, Or(words), hint)
}}

// Or is a list of words for a sentence.
func Or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// quotes are those that an office program puts in place of the straight ones.
const quotes = "“”„‟«»‘’‚"

// Mistyped says what the look of a word tells, whatever it stands for; "" for
// nothing.
func Mistyped(word string) string {
	switch {
	case strings.HasPrefix(word, "//"), strings.HasPrefix(word, "/*"), strings.HasPrefix(word, "--"), strings.HasPrefix(word, ";"):
		return "a comment begins with #"
	case strings.ContainsAny(word, quotes):
		return "quotes are the straight ones here, as in \"a b\": an office program has put others in their place"
	}
	for _, r := range word {
		if r == '\ufeff' || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && r > unicode.MaxLatin1 {
			return fmt.Sprintf("it holds the invisible character %U: type the word anew", r)
		}
	}
	return ""
}

func mistypedError(s string) error {
	if hint := Mistyped(s); hint != "" {
		return fmt.Errorf("'%s': %s", s, hint)
	}
	return nil
}
