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
	"regexp"
	"slices"
	"strings"
)

var (
	entraCode = regexp.MustCompile(`\baadsts\d{4,8}\b`)
	// identifier finds what may be an API's or an OAuth error code (RFC 6749
	// section 5.2, RFC 8628 section 3.5, OpenID Connect Core section 3.1.2.6).
	identifier = regexp.MustCompile(`\b[a-z][a-z0-9]*(?:_[a-z0-9]+)*\b`)
	// httpStatus finds a status of HTTP.
	httpStatus = regexp.MustCompile(`\bhttp [45]\d\d\b`)
	// enhanced finds enhanced status codes (RFC 3463 section 2) with the reply
	// code before them, if there is one.
	enhanced = regexp.MustCompile(`(?:\b([245]\d\d)[ -])?\b([245]\.\d{1,3}\.\d{1,3})\b`)
	// bareReply finds a reply code that no enhanced code follows.
	bareReply = regexp.MustCompile(`(?:^|: |; |" ?)([45]\d\d)(?:[ -]|$)`)
)

// codesOf finds the codes in a normalized text: groups in the order in which
// they count.
func codesOf(text string) (groups [][]string) {
	if found := entraCode.FindAllString(text, -1); found != nil {
		groups = append(groups, found)
	}
	var api, oauth []string
	for _, id := range identifier.FindAllString(text, -1) {
		rows := byCode[id]
		if len(rows) == 0 { // Graph's, of a consumer account
			id = strings.TrimSuffix(id, "showtierupgrade")
			rows = byCode[id]
		}
		switch {
		case len(rows) == 0:
		case rows[0].isOAuth:
			oauth = append(oauth, id)
		default:
			api = append(api, id)
		}
	}
	groups = append(groups, api, oauth, httpStatus.FindAllString(text, -1))
	for _, r := range slices.Backward(repliesOf(text)) {
		switch {
		case r.enhanced == "":
			groups = append(groups, []string{r.code})
		case r.code == "":
			groups = append(groups, []string{r.enhanced})
		default:
			groups = append(groups, []string{r.code + " " + r.enhanced, r.enhanced, r.code})
		}
	}
	return groups
}

// reply is an SMTP reply's code and its enhanced code; one may be missing.
// isReply reports whether a group of codes is that of an SMTP reply.
func isReply(group []string) bool { return len(group) > 0 && group[0][0] >= '2' && group[0][0] <= '5' }

type reply struct{ code, enhanced string }

func repliesOf(text string) (replies []reply) {
	for _, m := range enhanced.FindAllStringSubmatchIndex(text, -1) {
		from, to := m[4], m[5]
		// 192.0.2.1 and 1.5.7.1 are addresses.
		if from > 0 && text[from-1] == '.' || to+1 < len(text) && text[to] == '.' && isDigits(text[to+1:to+2]) {
			continue
		}
		r := reply{enhanced: text[from:to]}
		if m[2] >= 0 {
			r.code = text[m[2]:m[3]]
		}
		replies = append(replies, r)
	}
	if replies == nil {
		for _, m := range bareReply.FindAllStringSubmatch(text, -1) {
			replies = append(replies, reply{code: m[1]})
		}
	}
	return replies
}
