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

package explain

import (
	"strings"
)

// Explanation says what a failure on the way to a provider, or there, means. The
// log, the admin API's verify and `caddy smtp test` all say it in these words.
type Explanation struct {
	// ID names the explanation; it is stable.
	ID string `json:"id"`
	// Cause says in a sentence what is wrong.
	Cause string `json:"cause"`
	// Remedy says what to do about it, and who can.
	Remedy string `json:"remedy"`
	// RetryHelps tells whether the same message may go through later with
	// nothing changed.
	RetryHelps bool `json:"retry_helps"`
}

// failure is an explanation and how it is known.
type failure struct {
	// match are texts that must all occur, in lower case. A text may have
	// alternatives, separated by |.
	match []string
	Explanation
}

// SMTP finds the explanation of what an SMTP server, the TLS library or the
// system said. What authorization servers say is oauthtoken's to explain.
func SMTP(text string) (Explanation, bool) {
	// Of several that match, the first in the list is the most exact.
	text = normalize(text)
	for i := range failures {
		if failures[i].matches(text) {
			return failures[i].Explanation, true
		}
	}
	return Explanation{}, false
}

func (f *failure) matches(text string) bool {
	for _, m := range f.match {
		found := false
		for alt := range strings.SplitSeq(m, "|") {
			if strings.Contains(text, alt) {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// normalize joins the lines of a reply and drops what differs without meaning:
// case, and the code that each line repeats.
func normalize(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(strings.ToLower(text), "\n") {
		line = strings.TrimSpace(line)
		if len(line) > 3 && isDigits(line[:3]) && line[3] == '-' {
			line = line[:3] + " " + line[4:]
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// failures are what is known, the most exact first.
var failures = concat(microsoftFailures, googleFailures, otherProviderFailures, networkFailures)

func concat(lists ...[]failure) (all []failure) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
