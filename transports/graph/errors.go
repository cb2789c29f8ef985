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

package graph

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/mscloud"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// answer is an HTTP answer.
type answer struct {
	status     int
	id         string        // of the request, for support
	codes      []string      // the error's, the most precise last, in lower case
	said       string        // code and message
	claims     bool          // a policy wants the user
	told       bool          // it is an error in Graph's form
	retryAfter time.Duration // 0: none given
	strikes    int
}

func newAnswer(ans *mailapi.Answer) *answer {
	a := &answer{status: ans.Status, id: ans.Header.Get("Request-Id"), claims: ans.Claims(), retryAfter: ans.RetryAfter(), strikes: ans.Strikes}
	if e := mscloud.ReadGraphError(ans.Body); e != nil {
		a.told, a.said, a.codes = true, e.Said(), e.Codes
	}
	if a.said == "" {
		a.said = "HTTP " + strconv.Itoa(a.status)
	}
	return a
}

// What an answer does to the mailbox beyond this message.
const (
	goOn      = 0
	holdAsked = 25 * time.Second // and nothing said how long; doubled each time
	holdHour  = time.Hour        // a limit of sending, or a mailbox that is blocked
)

// meaning is an enhanced reply and what follows.
type meaning struct {
	code, class, subject, detail int
	hold                         time.Duration
}

// mailbox reports whether it is about the mailbox, its right to send, or its token.
func (m *meaning) mailbox() bool {
	switch [3]int{m.class, m.subject, m.detail} {
	case [3]int{4, 7, 0}, [3]int{5, 7, 1}, [3]int{5, 1, 8}, [3]int{4, 2, 2}:
		return true
	}
	return false
}

// meanings are the known error codes, in lower case
// (https://learn.microsoft.com/graph/errors, and those that Outlook on the web
// handles itself).
var meanings = map[string]meaning{
	"invalidauthenticationtoken":          {454, 4, 7, 0, goOn},
	"unauthenticated":                     {454, 4, 7, 0, goOn},
	"erroraccessdenied":                   {550, 5, 7, 1, goOn},
	"authorization_requestdenied":         {550, 5, 7, 1, goOn},
	"errorsendasdenied":                   {550, 5, 7, 60, goOn},
	"mailboxnotenabledforrestapi":         {550, 5, 1, 8, goOn},
	"extensionerror":                      {550, 5, 1, 8, goOn},
	"resourcenotfound":                    {550, 5, 1, 8, goOn},
	"request_resourcenotfound":            {550, 5, 1, 8, goOn},
	"errorinvaliduser":                    {550, 5, 1, 8, goOn},
	"errornonexistentmailbox":             {550, 5, 1, 8, goOn},
	"errorinvalidrecipients":              {554, 5, 1, 3, goOn},
	"errormimecontentinvalid":             {554, 5, 6, 0, goOn},
	"errormimecontentconversionfailed":    {554, 5, 6, 0, goOn},
	"errormessagesizeexceeded":            {552, 5, 3, 4, goOn},
	"errorquotaexceeded":                  {452, 4, 2, 2, goOn},
	"errorsubmissionquotaexceeded":        {451, 4, 7, 1, holdHour},
	"errorexceededmessagelimit":           {451, 4, 7, 1, holdHour},
	"errorexceededhourlymessagelimit":     {451, 4, 7, 1, holdHour},
	"errormessagethrottled":               {451, 4, 7, 1, holdHour},
	"errorexceededmaxrecipientlimit":      {452, 4, 5, 3, goOn},
	"erroraccountsuspend":                 {550, 5, 7, 1, holdHour},
	"errormessagesubmissionblocked":       {550, 5, 7, 1, holdHour},
	"applicationthrottled":                {451, 4, 7, 1, holdAsked},
	"toomanyrequests":                     {451, 4, 7, 1, holdAsked},
	"activitylimitreached":                {451, 4, 7, 1, holdAsked},
	"commandconcurrencylimitreached":      {451, 4, 7, 1, holdAsked},
	"errorserverbusy":                     {451, 4, 3, 2, holdAsked},
	"servicenotavailable":                 {451, 4, 3, 2, holdAsked},
	"errormailboxstoreunavailable":        {451, 4, 3, 2, holdAsked},
	"errormailboxmoveinprogress":          {451, 4, 3, 2, holdAsked},
	"errormimecontentinvalidbase64string": {554, 5, 6, 0, goOn},
}

// meaning finds the most precise known code. Consumer accounts put a suffix
// behind some.
func (a *answer) meaning() (meaning, bool) {
	for _, v := range slices.Backward(a.codes) {
		if m, ok := meanings[strings.TrimSuffix(v, "showtierupgrade")]; ok {
			return m, true
		}
	}
	return meaning{}, false
}

// read implements mailapi.Upstream's Read.
func read(ans *mailapi.Answer) mailapi.Verdict {
	a := newAnswer(ans)
	if mailapi.Elsewhere(a.status, a.told || a.claims) {
		return mailapi.Verdict{Elsewhere: true}
	}
	reply, out := a.reply()
	return mailapi.Verdict{Reply: reply, Outcome: out}
}

// reply says what the answer means to the client, and to the ledger.
func (a *answer) reply() (*relay.Reply, mailapi.Outcome) {
	m, known := a.meaning()
	switch {
	case a.status == http.StatusAccepted:
		// A Retry-After beside 202 does not take the acceptance back: to
		// repeat it doubles the message (msgraph-sdk-java#1487). The next
		// message waits.
		return relay.ReplyAPIOK(a.id), mailapi.Outcome{Sent: true, Hold: a.retryAfter}
	case a.status == http.StatusInsufficientStorage:
		return relay.ReplyAPI(452, 4, 2, 2, a.said), mailapi.Outcome{Mailbox: true}
	case a.status == http.StatusServiceUnavailable && known && m.code < 500:
		return a.wait(m, max(m.hold, holdAsked))
	case a.status == http.StatusRequestTimeout, a.status >= 500, a.status < 300:
		return relay.ReplyAPIUnknown, mailapi.Unclear(a.retryAfter, a.strikes)
	case a.status == http.StatusTooManyRequests:
		if !known || m.hold < holdAsked {
			m = meaning{451, 4, 7, 1, holdAsked}
		}
		return a.wait(m, m.hold)
	case a.claims || a.status == http.StatusUnauthorized:
		return relay.ReplyAPIWantsUser(a.said), mailapi.Outcome{Mailbox: true}
	case a.status == http.StatusRequestEntityTooLarge:
		return relay.ReplyAPI(552, 5, 3, 4, "The provider's API takes no message of this size: send it through SMTP"), mailapi.Outcome{}
	case known && m.hold > 0:
		return a.wait(m, m.hold)
	case known:
		return relay.ReplyAPI(m.code, m.class, m.subject, m.detail, a.said), mailapi.Outcome{Mailbox: m.mailbox()}
	}
	return relay.ReplyAPI(554, 5, 0, 0, a.said), mailapi.Outcome{}
}

// wait refuses and holds the mailbox for as long as was asked, or by default.
func (a *answer) wait(m meaning, otherwise time.Duration) (*relay.Reply, mailapi.Outcome) {
	out := mailapi.Outcome{Hold: otherwise, Mailbox: m.mailbox()}
	if otherwise != holdHour { // Retry-After is about requests, this is about mail
		// Graph may say one second each time (msgraph-sdk-javascript#297).
		out.Hold, out.Strike = mailapi.Doubled(cmp.Or(a.retryAfter, otherwise), a.strikes), true
	}
	switch {
	case m.code >= 500:
		return relay.ReplyAPI(m.code, m.class, m.subject, m.detail, a.said), out
	case m.detail == 1:
		return relay.ReplyAPIHold(a.said, out.Hold), out
	}
	return mailapi.Later(m.code, m.class, m.subject, m.detail, a.said, out.Hold), out
}
