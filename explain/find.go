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
	"slices"
	"strings"
)

// row is an explanation and how it is known.
type row struct {
	// codes are those of which one must occur, in lower case: `aadsts53003`,
	// `errorsendasdenied`, `invalid_grant`, `5.7.139`, `535 5.7.139`. Empty:
	// the row is known by words alone.
	codes []string
	// words are texts that must all occur, in lower case. A text may have
	// alternatives, separated by |.
	words []string
	// personal replaces the words where the mailbox has no organization.
	personal *wording
	// isOAuth says that an authorization server says this.
	isOAuth bool
	Explanation
}

// wording is what a row says.
type wording struct{ cause, remedy string }

// table is all that is known. Of rows with the same code the most exact is the
// first.
var table = slices.Concat(entraRows(), oauthRows, apiRows, microsoftRows, googleRows, otherRows, ownRows, unwelcomeRows, networkRows, consentRows)

// byCode are the rows of each code, those with words first; byWords the rows
// without codes.
var byCode, byWords = index()

func index() (map[string][]*row, []*row) {
	codes := make(map[string][]*row)
	var words []*row
	for i := range table {
		r := &table[i]
		if len(r.codes) == 0 {
			words = append(words, r)
		}
		for _, c := range r.codes {
			codes[c] = append(codes[c], r)
		}
	}
	for _, rows := range codes {
		slices.SortStableFunc(rows, func(a, b *row) int { return len(b.words) - len(a.words) })
	}
	return codes, words
}

// find returns the row that explains a text. Codes come before words, and what
// a provider says more exactly before what it says less exactly: Entra's number,
// an API's code, the OAuth error, then the SMTP reply. Of several replies in a
// text the last counts: the gateway quotes the provider's in its own.
func find(text string) *row {
	text = normalize(text)
	if _, theirs, ok := strings.Cut(text, refusesConnection); ok && theirs != "" {
		if r := lookup(theirs); r != nil && len(r.words) > 0 {
			return r
		}
		return unwelcome(theirs)
	}
	if _, theirs, ok := cutOwn(text); ok {
		// The provider's words say more than the gateway's before them.
		if r := lookup(theirs); r != nil {
			return r
		}
		if _, known := general(theirs); known {
			return nil
		}
	}
	return lookup(text)
}

// lookup finds the row of a normalized text.
func lookup(text string) *row {
	replies := 0
	for _, candidates := range codesOf(text) {
		if len(candidates) > 0 && entraCode.MatchString(candidates[0]) && byCode[candidates[0]] == nil {
			// An unknown number says more than the OAuth error beside it,
			// which Entra gives to many things.
			return nil
		}
		// A reply that quotes another is known by its words or not at all: its code
		// is that of whoever quotes.
		if isReply(candidates) {
			replies++
		}
		// A row with words says more than one without, under any of its codes.
		for _, exact := range []bool{true, false} {
			if !exact && replies > 1 {
				break
			}
			for _, code := range candidates {
				for _, r := range byCode[code] {
					if exact == (len(r.words) > 0) && r.matches(text) {
						return r
					}
				}
			}
		}
	}
	for _, r := range byWords {
		if r.matches(text) {
			return r
		}
	}
	return nil
}

func (r *row) matches(text string) bool {
	for _, w := range r.words {
		found := false
		for alt := range strings.SplitSeq(w, "|") {
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
