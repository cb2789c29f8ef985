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
	id      string   // of the message
	reasons []string // the error's, the most precise first, in lower case
	message string
	wait    time.Duration // 0: none given
	strikes int
	scope   bool // the token was not granted what this takes
	told    bool // it is an error in Google's form
}

// apiError is the body of an error
// (https://developers.google.com/workspace/gmail/api/guides/handle-errors). The
// details are google.rpc.ErrorInfo and google.rpc.RetryInfo
// (https://google.aip.dev/193).
type apiError struct {
	Error *struct {
		Message string `json:"message"`
		Status  string `json:"status"`
		Errors  []struct {
			Reason string `json:"reason"`
		} `json:"errors"`
		Details []struct {
			Type       string `json:"@type"`
			Reason     string `json:"reason"`
			RetryDelay string `json:"retryDelay"`
		} `json:"details"`
	} `json:"error"`
	ID string `json:"id"`
}

func newAnswer(ans *mailapi.Answer) *answer {
	a := &answer{status: ans.Status, wait: ans.RetryAfter(), strikes: ans.Strikes, scope: ans.InsufficientScope()}
	var e apiError
	if json.Unmarshal(ans.Body, &e) == nil {
		a.id = e.ID
		if e.Error != nil {
			a.told = true
			a.message = e.Error.Message
			for _, d := range e.Error.Details {
				switch {
				case strings.HasSuffix(d.Type, "google.rpc.ErrorInfo"):
					a.because(d.Reason)
				case strings.HasSuffix(d.Type, "google.rpc.RetryInfo"):
					if delay, err := time.ParseDuration(d.RetryDelay); err == nil {
						a.wait = max(a.wait, min(delay, maxWait))
					}
				}
			}
			for _, one := range e.Error.Errors {
				a.because(one.Reason)
			}
			a.because(e.Error.Status)
		}
	}
	a.wait = max(a.wait, deadline(a.message, ans.Header.Get("Date")))
	return a
}

func (a *answer) because(reason string) {
	if reason != "" {
		a.reasons = append(a.reasons, strings.ToLower(reason))
	}
}

// said is what the client is told in Google's words.
func (a *answer) said() string {
	if s := strings.TrimSpace(a.reason() + " " + a.message); s != "" {
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
	return min(max(t.Sub(now), 0), maxWait)
}

// How long nothing is sent where Google says no time.
const (
	holdRate = 30 * time.Second // units per minute; doubled each time
	holdDay  = time.Hour        // a limit of sending
	maxWait  = 24 * time.Hour
)

// kind is what a reason is about.
type kind int

const (
	unknown      kind = iota
	projectsDay       // the project has used up its day: every mailbox waits
	rate              // the mailbox's units, or its limit of sending
	noScope           // the owner did not consent to sending
	denied            // by the administrator, the project, or another's mailbox
	noMailbox         // a Google account without Gmail
	badMessage        // its recipients, or its form
	unauthorized      // the token
)

// kinds are the reasons that Google publishes: those of `errors` in lower case, of
// ErrorInfo (google.api.ErrorReason) and of `status` with underscores.
var kinds = map[string]kind{
	"dailylimitexceeded":              projectsDay,
	"quotaexceeded":                   projectsDay,
	"ratelimitexceeded":               rate,
	"userratelimitexceeded":           rate,
	"rate_limit_exceeded":             rate,
	"resource_exhausted":              rate,
	"insufficientpermissions":         noScope,
	"access_token_scope_insufficient": noScope,
	"accessnotconfigured":             denied,
	"service_disabled":                denied,
	"domainpolicy":                    denied,
	"user_blocked_by_admin":           denied,
	"org_restriction_violation":       denied,
	"forbidden":                       denied,
	"permission_denied":               denied,
	"failedprecondition":              noMailbox,
	"failed_precondition":             noMailbox,
	"invalidargument":                 badMessage,
	"invalid_argument":                badMessage,
	"autherror":                       unauthorized,
	"unauthenticated":                 unauthorized,
	"access_token_expired":            unauthorized,
	"account_state_invalid":           unauthorized,
	"credentials_missing":             unauthorized,
	"access_token_type_unsupported":   unauthorized,
}

// reason is the one that decides: the most precise that is known, else the most
// precise.
func (a *answer) reason() string {
	for _, r := range a.reasons {
		if kinds[r] != unknown {
			return r
		}
	}
	if len(a.reasons) > 0 {
		return a.reasons[0]
	}
	return ""
}

// read implements mailapi.Upstream's Read.
func read(ans *mailapi.Answer) mailapi.Verdict {
	a := newAnswer(ans)
	if mailapi.Elsewhere(a.status, a.told || a.scope) {
		return mailapi.Verdict{Elsewhere: true}
	}
	reply, out := a.reply()
	return mailapi.Verdict{Reply: reply, Outcome: out}
}

// reply says what the answer means to the client, and to the ledger.
func (a *answer) reply() (*relay.Reply, mailapi.Outcome) {
	refuse := func(code, class, subject, detail int) (*relay.Reply, mailapi.Outcome) {
		return relay.ReplyAPI(code, class, subject, detail, a.said()), mailapi.Outcome{}
	}
	switch {
	case a.status == http.StatusOK && a.id != "":
		return relay.ReplyAPIOK(a.id), mailapi.Outcome{Sent: true, Hold: a.wait}
	case a.status == http.StatusRequestTimeout, a.status >= 500, a.status < 300:
		// 200 without a message's id too: a network that wants a login, or a
		// device on the way, says it of each request.
		return relay.ReplyAPIUnknown, mailapi.Outcome{Unknown: true, Hold: a.wait}
	case a.status == http.StatusUnauthorized:
		return relay.ReplyAPI(454, 4, 7, 0, wantsUser+a.said()), mailapi.Outcome{}
	case a.status == http.StatusRequestEntityTooLarge:
		return relay.ReplyAPI(552, 5, 3, 4, "The provider's API takes no message of this size: "+a.said()), mailapi.Outcome{}
	}
	what := kinds[a.reason()]
	switch {
	case a.scope:
		what = noScope
	case what == unknown && a.status == http.StatusTooManyRequests:
		what = rate
	case what == unknown && a.status == http.StatusBadRequest:
		what = badMessage
	}
	switch what {
	case projectsDay:
		return a.hold(holdDay, true)
	case rate:
		if strings.Contains(strings.ToLower(a.message), "mail sending") {
			return a.hold(holdDay, false)
		}
		return a.hold(mailapi.Doubled(holdRate, a.strikes), false)
	case noScope:
		return relay.ReplyAPI(454, 4, 7, 0, "The owner did not consent to sending, and has to: "+a.said()), mailapi.Outcome{}
	case unauthorized:
		return relay.ReplyAPI(454, 4, 7, 0, wantsUser+a.said()), mailapi.Outcome{}
	case denied:
		return refuse(550, 5, 7, 1)
	case noMailbox:
		return refuse(550, 5, 1, 8)
	case badMessage:
		if aboutRecipients(a.message) {
			return refuse(554, 5, 1, 3)
		}
		return refuse(554, 5, 6, 0)
	}
	return refuse(554, 5, 0, 0)
}

const wantsUser = "The provider wants the user to consent or log in again: "

// hold refuses until a limit is free again.
func (a *answer) hold(otherwise time.Duration, all bool) (*relay.Reply, mailapi.Outcome) {
	out := mailapi.Outcome{Hold: otherwise, HoldAll: all, Strike: true}
	if a.wait > 0 {
		out.Hold = mailapi.Asked(a.wait, a.strikes)
	}
	return relay.ReplyAPIHold(a.said(), out.Hold), out
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
