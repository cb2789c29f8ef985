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
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// TestAnswers holds what each answer of Graph means to the client and to the
// mailbox: https://learn.microsoft.com/graph/errors,
// https://learn.microsoft.com/graph/throttling-limits (Outlook), and the codes that
// Outlook on the web handles.
func TestAnswers(t *testing.T) {
	told := apitest.Told
	const hour = time.Hour
	rows := []apitest.Row{
		// Requests: 10,000 in ten minutes, four at a time, 150 MB in five minutes.
		{Name: "four at a time", Status: 429, Body: told("ApplicationThrottled", "Application is over its MailboxConcurrency limit."), RetryAfter: 10, Want: "451 4.7.1 ApplicationThrottled Application is over its MailboxConcurrency limit., try again in 10 s", Hold: 10 * time.Second},
		{Name: "four at a time, no time", Status: 429, Body: told("ApplicationThrottled", "Application is over its MailboxConcurrency limit."), Want: "451 4.7.1 ApplicationThrottled", Hold: 25 * time.Second},
		{Name: "requests", Status: 429, Body: told("TooManyRequests", "Too many"), RetryAfter: 120, Want: "451 4.7.1 TooManyRequests", Hold: 2 * time.Minute},
		{Name: "activity", Status: 429, Body: told("activityLimitReached", "Too many"), Want: "451 4.7.1 activityLimitReached", Hold: 25 * time.Second},
		{Name: "commands", Status: 429, Body: told("CommandConcurrencyLimitReached", "Too many"), Want: "451 4.7.1 CommandConcurrencyLimitReached", Hold: 25 * time.Second},
		{Name: "429 alone", Status: 429, Want: "451 4.7.1 HTTP 429", Hold: 25 * time.Second},
		{Name: "429 with a code that says nothing of waiting", Status: 429, Body: told("ErrorAccessDenied", "x"), Want: "451 4.7.1", Hold: 25 * time.Second},
		{Name: "longer than a day", Status: 429, Body: told("TooManyRequests", "Too many"), RetryAfter: 200_000, Want: "451 4.7.1", Hold: 24 * time.Hour},
		// Mail: 30 messages a minute, 10,000 recipients in 24 hours, 500 a message.
		{Name: "submission quota", Status: 400, Body: told("ErrorSubmissionQuotaExceeded", "x"), Want: "451 4.7.1 ErrorSubmissionQuotaExceeded", Hold: hour},
		{Name: "the day", Status: 400, Body: told("ErrorExceededMessageLimit", "Cannot send mail. Daily Message/Recipient limit exceeded"), Want: "451 4.7.1", Hold: hour},
		{Name: "the day, 403", Status: 403, Body: told("ErrorExceededMessageLimit", "x"), Want: "451 4.7.1", Hold: hour},
		{Name: "the day, 429 with a time for requests", Status: 429, Body: told("ErrorExceededMessageLimit", "x"), RetryAfter: 5, Want: "451 4.7.1", Hold: hour},
		{Name: "the day, at a consumer account", Status: 400, Body: told("ErrorExceededMessageLimitShowTierUpgrade", "x"), Want: "451 4.7.1", Hold: hour},
		{Name: "the hour", Status: 400, Body: told("ErrorExceededHourlyMessageLimit", "x"), Want: "451 4.7.1", Hold: hour},
		{Name: "throttled mail", Status: 503, Body: told("ErrorMessageThrottled", "x"), Want: "451 4.7.1", Hold: hour},
		{Name: "recipients of a message", Status: 400, Body: told("ErrorExceededMaxRecipientLimit", "x"), Want: "452 4.5.3"},
		{Name: "suspended", Status: 403, Body: told("ErrorAccountSuspend", "x"), Want: "550 5.7.1 ErrorAccountSuspend", Hold: hour},
		{Name: "blocked", Status: 400, Body: told("ErrorMessageSubmissionBlocked", "x"), Want: "550 5.7.1 ErrorMessageSubmissionBlocked", Hold: hour},
		// The mailbox.
		{Name: "full", Status: 507, Body: told("ErrorQuotaExceeded", "x"), Want: "452 4.2.2 ErrorQuotaExceeded"},
		{Name: "full, 400", Status: 400, Body: told("ErrorQuotaExceeded", "x"), Want: "452 4.2.2"},
		{Name: "507 alone", Status: 507, Want: "452 4.2.2 HTTP 507"},
		{Name: "no mailbox", Status: 404, Body: told("MailboxNotEnabledForRESTAPI", "x"), Want: "550 5.1.8"},
		{Name: "no licence", Status: 404, Body: told("extensionError", "x"), Want: "550 5.1.8"},
		{Name: "no user", Status: 404, Body: told("ResourceNotFound", "x"), Want: "550 5.1.8"},
		{Name: "no user at Entra", Status: 404, Body: told("Request_ResourceNotFound", "x"), Want: "550 5.1.8"},
		{Name: "invalid user", Status: 404, Body: told("ErrorInvalidUser", "x"), Want: "550 5.1.8"},
		{Name: "unknown mailbox", Status: 404, Body: told("ErrorNonExistentMailbox", "x"), Want: "550 5.1.8"},
		// Permission.
		{Name: "token", Status: 401, Body: told("InvalidAuthenticationToken", "expired"), Want: "454 4.7.0 The provider wants", Requests: 2},
		{Name: "401 alone", Status: 401, Want: "454 4.7.0 The provider wants", Requests: 2},
		{Name: "unauthenticated", Status: 403, Body: told("unauthenticated", "x"), Want: "454 4.7.0"},
		{Name: "access", Status: 403, Body: told("ErrorAccessDenied", "Access is denied"), Want: "550 5.7.1 ErrorAccessDenied"},
		{Name: "Entra", Status: 403, Body: told("Authorization_RequestDenied", "x"), Want: "550 5.7.1"},
		{Name: "From", Status: 403, Body: told("ErrorSendAsDenied", "x"), Want: "550 5.7.60"},
		// The message.
		{Name: "recipients", Status: 400, Body: told("ErrorInvalidRecipients", "x"), Want: "554 5.1.3"},
		{Name: "MIME", Status: 400, Body: told("ErrorMimeContentInvalid", "x"), Want: "554 5.6.0"},
		{Name: "base64", Status: 400, Body: told("ErrorMimeContentInvalidBase64String", "x"), Want: "554 5.6.0"},
		{Name: "conversion", Status: 400, Body: told("ErrorMimeContentConversionFailed", "x"), Want: "554 5.6.0"},
		{Name: "413 as HTML", Status: 413, Body: "<html></html>", Want: "552 5.3.4"},
		{Name: "the mailbox's own size", Status: 400, Body: told("ErrorMessageSizeExceeded", "x"), Want: "552 5.3.4"},
		// Passing.
		{Name: "busy", Status: 503, Body: told("ErrorServerBusy", "x"), Want: "451 4.3.2", Hold: 25 * time.Second},
		{Name: "busy, with a time", Status: 503, Body: told("ErrorServerBusy", "x"), RetryAfter: 40, Want: "451 4.3.2", Hold: 40 * time.Second},
		{Name: "away", Status: 503, Body: told("serviceNotAvailable", "x"), Want: "451 4.3.2", Hold: 25 * time.Second},
		{Name: "store", Status: 503, Body: told("ErrorMailboxStoreUnavailable", "x"), Want: "451 4.3.2", Hold: 25 * time.Second},
		{Name: "move", Status: 503, Body: told("ErrorMailboxMoveInProgress", "x"), Want: "451 4.3.2", Hold: 25 * time.Second},
		// Not known.
		{Name: "503 alone", Status: 503, Want: "451 4.4.2"},
		{Name: "503 as HTML, with a time", Status: 503, Body: "<html></html>", RetryAfter: 30, Want: "451 4.4.2", Hold: 30 * time.Second},
		{Name: "504 with a code", Status: 504, Body: told("ErrorServerBusy", "x"), Want: "451 4.4.2"},
		{Name: "500 with a code", Status: 500, Body: told("ErrorInternalServerError", "x"), Want: "451 4.4.2"},
		{Name: "500 with a code that is final elsewhere", Status: 500, Body: told("ErrorSendAsDenied", "x"), Want: "451 4.4.2"},
		{Name: "502", Status: 502, Body: "<html></html>", Want: "451 4.4.2"},
		{Name: "408", Status: 408, Want: "451 4.4.2"},
		{Name: "another success", Status: 204, Want: "451 4.4.2"},
		// Anything else.
		{Name: "moved", Status: 307, Want: "451 4.3.5"},
		{Name: "403 as HTML, of a proxy", Status: 403, Body: "<html>Blocked by policy</html>", Want: "451 4.3.5 What answered is not the provider's API: HTTP 403"},
		{Name: "403 alone", Status: 403, Want: "451 4.3.5"},
		{Name: "400 as HTML", Status: 400, Body: "<html>Bad Request - Invalid URL</html>", Want: "451 4.3.5"},
		{Name: "404 alone", Status: 404, Want: "451 4.3.5"},
		{Name: "407 of a proxy", Status: 407, Body: "<html></html>", Want: "451 4.3.5"},
		{Name: "JSON of something else", Status: 403, Body: `{"message":"Forbidden"}`, Want: "451 4.3.5"},
		{Name: "200 as HTML, of a network that wants a login", Status: 200, Body: "<html></html>", Want: "451 4.4.2"},
		{Name: "new code", Status: 400, Body: told("ErrorNew", "Something"), Want: "554 5.0.0 ErrorNew Something"},
		{Name: "a precise code within", Status: 400, Body: `{"error":{"code":"x","innerError":{"code":"y","innerError":{"code":"ErrorQuotaExceeded"}}}}`, Want: "452 4.2.2"},
	}
	sb, src := apitest.Start(t, new(sandbox.App))
	apitest.Answers(t, sb, attach(t, &Transport{MaxWait: 1}, sb, src), rows)
	tested := make(map[string]bool)
	for _, row := range rows {
		for _, code := range newAnswer(&mailapi.Answer{Body: []byte(row.Body)}).codes {
			tested[code] = true
		}
	}
	for code := range meanings {
		if !tested[code] {
			t.Errorf("no row for %s", code)
		}
	}
}

// TestClaims holds that a policy which wants the user is told as that, whatever the
// code beside it, and that no second token is tried.
func TestClaims(t *testing.T) {
	for _, status := range []int{401, 403} {
		h := http.Header{"Www-Authenticate": {`Bearer realm="", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`}}
		ans := &mailapi.Answer{Status: status, Header: h, Body: []byte(apitest.Told("ErrorAccessDenied", "x"))}
		if v := read(ans); !strings.HasPrefix(v.Reply.Error(), "454 4.7.0 The provider wants the user") || !ans.Claims() {
			t.Errorf("%v", v.Reply)
		}
	}
}

// TestDoubled holds that a mailbox which is asked to wait again and again, and not
// told for how long, waits twice as long each time, up to a bound; a limit of mail
// keeps its hour.
func TestDoubled(t *testing.T) {
	for strikes, want := range []time.Duration{25 * time.Second, 50 * time.Second, 100 * time.Second, 200 * time.Second, 400 * time.Second, 10 * time.Minute, 10 * time.Minute} {
		v := read(&mailapi.Answer{Status: 429, Strikes: strikes})
		if v.Outcome.Hold != want || v.Reply.After != want || !v.Outcome.Strike {
			t.Errorf("after %d times: held for %v, the client hears %v, want %v", strikes, v.Outcome.Hold, v.Reply.After, want)
		}
	}
	for body, want := range map[string]time.Duration{
		apitest.Told("ErrorExceededMessageLimit", "x"): time.Hour,
		fmt.Sprintf("%d", 429):                         25 * time.Second << 2,
	} {
		if v := read(&mailapi.Answer{Status: 429, Body: []byte(body), Strikes: 2}); v.Outcome.Hold != want {
			t.Errorf("%s: held for %v, want %v", body, v.Outcome.Hold, want)
		}
	}
}

// TestAskedForEver holds that a provider which says `Retry-After: 1` again and again is
// asked at growing intervals, and one that asks for more is given that.
func TestAskedForEver(t *testing.T) {
	for after, want := range map[string][]time.Duration{
		"1":   {time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second},
		"5":   {5 * time.Second, 5 * time.Second, 5 * time.Second, 8 * time.Second},
		"300": {5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute},
	} {
		for strikes, hold := range want {
			v := read(&mailapi.Answer{Status: 429, Header: http.Header{"Retry-After": {after}}, Strikes: strikes})
			if v.Outcome.Hold != hold || v.Reply.After != hold || !v.Outcome.Strike {
				t.Errorf("%s s, after %d times: %+v, the client hears %v, want %v", after, strikes, v.Outcome, v.Reply.After, hold)
			}
		}
		if v := read(&mailapi.Answer{Status: 429, Header: http.Header{"Retry-After": {after}}, Strikes: 1000}); v.Outcome.Hold != 10*time.Minute {
			t.Errorf("%s s, in the end: %v", after, v.Outcome.Hold)
		}
	}
}
