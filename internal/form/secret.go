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

package form

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// shell is a variable as shells write it.
var shell = regexp.MustCompile(`^\$(\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Z_][A-Z0-9_]*)$`)

// checkText refuses what no name or identifier holds, which came along when it was
// copied. It does not quote the text, which may be a secret in the wrong place.
func checkText(s string) error {
	switch {
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("it holds a line end or another control character: copy the text alone")
	case strings.TrimSpace(s) != s:
		return errors.New("it begins or ends with a blank: copy the text alone")
	}
	return nil
}

// checkSecret refuses a secret that stands in quotes which are part of it.
// Nothing here quotes a secret.
func checkSecret(s string) error {
	const other = "; a secret that really holds them comes from a file, as in {file./path}"
	runes := []rune(s)
	if len(runes) < 2 {
		return nil
	}
	switch first, last := runes[0], runes[len(runes)-1]; {
	case strings.ContainsRune(quotes, first) && strings.ContainsRune(quotes, last):
		return errors.New("the value stands in quotes of an office program, which would be a part of it: the straight ones are wanted, as in \"a b\", or none" + other)
	case first == '\'' && last == '\'', first == '"' && last == '"':
		return fmt.Errorf("the value stands in quotes (%c) which would be a part of it: take them away%s", first, other)
	}
	return nil
}

// ShellVariable says of a value that it looks like a variable of the shell, which
// nothing here fills in; "" of others.
func ShellVariable(s string) string {
	if !shell.MatchString(s) {
		return ""
	}
	return "the value looks like a variable of the shell, and is taken as it stands; what the environment has is {env.NAME} (or {$NAME} in a Caddyfile)"
}

// placeholder is a value that is one whole, of no namespace.
var placeholder = regexp.MustCompile(`^\{([^{}.$]*)\}$`)

const holders = "a variable is {env.NAME}, a file {file./path}, and a brace of the value itself is written \\{"

// Placeholder refuses a value in braces that is meant as it stands.
func Placeholder(s string) error {
	m := placeholder.FindStringSubmatch(s)
	switch {
	case m == nil:
		return nil
	case guid.MatchString(m[1]):
		return fmt.Errorf("an ID stands without braces; did you mean '%s'?", m[1])
	}
	return errors.New("what stands in braces is read as a placeholder, and there is none of this name: " + holders)
}

// Unresolved puts Caddy's error about the placeholders of a value into better
// words, which do not repeat what stands in the braces: it may be a secret.
func Unresolved(err error) error {
	if err == nil {
		return nil
	}
	const unknown = "unrecognized placeholder "
	name, ok := strings.CutPrefix(err.Error(), unknown)
	if !ok {
		return err
	}
	if e := Placeholder(name); e != nil && guid.MatchString(strings.Trim(name, "{}")) {
		return e
	}
	return errors.New("unrecognized placeholder: " + holders)
}
