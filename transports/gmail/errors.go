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

package gmail

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// answer is an HTTP answer.
type answer struct {
	status  int
	id      string // of the message
	reason  string // the first error's, in lower case
	message string
	wait    time.Duration // 0: none given
}

// apiError is the body of an error
// (https://developers.google.com/workspace/gmail/api/guides/handle-errors).
type apiError struct {
	Error *struct {
		Message string `json:"message"`
		Status  string `json:"status"`
		Errors  []struct {
			Reason string `json:"reason"`
		} `json:"errors"`
	} `json:"error"`
	ID string `json:"id"`
}

func newAnswer(ans *mailapi.Answer) *answer {
	a := &answer{status: ans.Status, wait: ans.RetryAfter()}
	var e apiError
	if json.Unmarshal(ans.Body, &e) == nil {
		a.id = e.ID
		if e.Error != nil {
			a.message, a.reason = e.Error.Message, strings.ToLower(e.Error.Status)
			if len(e.Error.Errors) > 0 && e.Error.Errors[0].Reason != "" {
				a.reason = strings.ToLower(e.Error.Errors[0].Reason)
			}
		}
	}
	if d := deadline(a.message, ans.Header.Get("Date")); d > a.wait {
		a.wait = d
	}
	return a
}

// said is what the client is told in Google's words.
func (a *answer) said() string {
	if s := strings.TrimSpace(a.reason + " " + a.message); s != "" {
		return s
	}
	return "HTTP " + strconv.Itoa(a.status)
}

var until = regexp.MustCompile(`(?i)retry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)`)

// deadline finds the time that an exceeded quota is told with: it stands in the
// message, and Retry-After is often absent. The date is that of the answer.
func deadline(message, date string) time.Duration {
	m := until.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, m[1])
	if err != nil {
		return 0
	}
	now := time.Now()
	if d, err := http.ParseTime(date); err == nil {
		now = d
	}
	return min(max(t.Sub(now), 0), 24*time.Hour)
}

// How long nothing is sent where Google says no time.
const (
	holdRate = 30 * time.Second // units per minute
	holdDay  = time.Hour        // a limit of sending
)

// read implements mailapi.Upstream's Read.
func read(ans *mailapi.Answer) mailapi.Verdict {
	reply, out := newAnswer(ans).reply()
	return mailapi.Verdict{Reply: reply, Outcome: out}
}

// reply says what the answer means to the client, and to the ledger.
func (a *answer) reply() (*relay.Reply, mailapi.Outcome) {
	refuse := func(code, class, subject, detail int) (*relay.Reply, mailapi.Outcome) {
		return relay.ReplyAPI(code, class, subject, detail, a.said()), mailapi.Outcome{}
	}
	switch {
	case a.status == http.StatusOK:
		return relay.ReplyAPIOK(a.id), mailapi.Outcome{Sent: true, Hold: a.wait}
	case a.status == http.StatusRequestTimeout, a.status >= 500, a.status < 300:
		return relay.ReplyAPIUnknown, mailapi.Outcome{Unknown: true, Hold: a.wait}
	case a.status < 400: // a redirect: the endpoint is another
		return relay.ReplyAPI(451, 4, 3, 5, "The provider's API is elsewhere: "+a.said()), mailapi.Outcome{}
	case a.status == http.StatusUnauthorized:
		return relay.ReplyAPI(454, 4, 7, 0, "The provider wants the user to consent or log in again: "+a.said()), mailapi.Outcome{}
	case a.status == http.StatusRequestEntityTooLarge:
		return relay.ReplyAPI(552, 5, 3, 4, "The provider's API takes no message of this size: "+a.said()), mailapi.Outcome{}
	}
	switch a.reason {
	case "dailylimitexceeded", "quotaexceeded": // the project's
		return a.hold(holdDay, true)
	case "ratelimitexceeded", "userratelimitexceeded", "resource_exhausted":
		if strings.Contains(strings.ToLower(a.message), "mail sending") {
			return a.hold(holdDay, false)
		}
		return a.hold(holdRate, false)
	case "insufficientpermissions", "access_token_scope_insufficient":
		return relay.ReplyAPI(454, 4, 7, 0, "The owner did not consent to sending, and has to: "+a.said()), mailapi.Outcome{}
	case "accessnotconfigured", "domainpolicy", "forbidden", "permission_denied":
		return refuse(550, 5, 7, 1)
	case "failedprecondition", "failed_precondition":
		return refuse(550, 5, 1, 8)
	case "invalidargument", "invalid_argument":
		if aboutRecipients(a.message) {
			return refuse(554, 5, 1, 3)
		}
		return refuse(554, 5, 6, 0)
	}
	switch a.status {
	case http.StatusTooManyRequests:
		return a.hold(holdRate, false)
	case http.StatusBadRequest:
		return refuse(554, 5, 6, 0)
	}
	return refuse(554, 5, 0, 0)
}

// hold refuses until a limit is free again.
func (a *answer) hold(otherwise time.Duration, all bool) (*relay.Reply, mailapi.Outcome) {
	d := otherwise
	if a.wait > 0 {
		d = a.wait
	}
	return relay.ReplyAPIHold(a.said(), d), mailapi.Outcome{Hold: d, HoldAll: all}
}

func aboutRecipients(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "recipient address") || strings.Contains(m, "invalid to header") ||
		strings.Contains(m, "invalid cc header") || strings.Contains(m, "invalid bcc header")
}

// noRecipients reports whether only the recipients were missing.
func noRecipients(ans *mailapi.Answer) bool {
	a := newAnswer(ans)
	return a.status == http.StatusBadRequest && aboutRecipients(a.message)
}
