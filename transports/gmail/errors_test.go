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
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// TestAnswers holds what each answer of Gmail means to the client and to the
// mailbox: https://developers.google.com/workspace/gmail/api/guides/handle-errors,
// and google.api.ErrorReason for the reasons in capitals.
func TestAnswers(t *testing.T) {
	const half = 30 * time.Second
	told := apitest.Reasoned
	rows := []apitest.Row{
		// Permission.
		{Name: "token", Status: 401, Body: told(401, "authError", "Invalid Credentials", "UNAUTHENTICATED", ""), Want: "454 4.7.0 The provider wants", Requests: 2},
		{Name: "token, by ErrorInfo", Status: 401, Body: told(401, "", "x", "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"), Want: "454 4.7.0 The provider wants", Requests: 2},
		{Name: "token, 403", Status: 403, Body: told(403, "", "x", "", "ACCOUNT_STATE_INVALID"), Want: "454 4.7.0 The provider wants"},
		{Name: "token, of another kind", Status: 401, Body: told(401, "", "x", "UNAUTHENTICATED", "ACCESS_TOKEN_TYPE_UNSUPPORTED"), Want: "454 4.7.0", Requests: 2},
		{Name: "token, missing", Status: 401, Body: told(401, "", "x", "UNAUTHENTICATED", "CREDENTIALS_MISSING"), Want: "454 4.7.0", Requests: 2},
		{Name: "scope", Status: 403, Body: told(403, "insufficientPermissions", "Insufficient Permission", "PERMISSION_DENIED", ""), Want: "454 4.7.0 The owner did not consent to sending, and has to: insufficientpermissions Insufficient Permission"},
		{Name: "scope, by ErrorInfo alone", Status: 403, Body: told(403, "", "Request had insufficient authentication scopes.", "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), Want: "454 4.7.0 The owner did not consent to sending, and has to: access_token_scope_insufficient Request had insufficient authentication scopes."},
		{Name: "scope, by ErrorInfo beside a vague reason", Status: 403, Body: told(403, "forbidden", "x", "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), Want: "454 4.7.0 The owner did not consent"},
		{Name: "API off", Status: 403, Body: told(403, "accessNotConfigured", "x", "PERMISSION_DENIED", ""), Want: "550 5.7.1 accessnotconfigured"},
		{Name: "API off, by ErrorInfo", Status: 403, Body: told(403, "", "x", "PERMISSION_DENIED", "SERVICE_DISABLED"), Want: "550 5.7.1 service_disabled"},
		{Name: "administrator", Status: 403, Body: told(403, "domainPolicy", "x", "", ""), Want: "550 5.7.1 domainpolicy"},
		{Name: "administrator, by ErrorInfo", Status: 403, Body: told(403, "", "x", "", "USER_BLOCKED_BY_ADMIN"), Want: "550 5.7.1"},
		{Name: "organization", Status: 403, Body: told(403, "", "x", "", "ORG_RESTRICTION_VIOLATION"), Want: "550 5.7.1"},
		{Name: "delegation", Status: 403, Body: told(403, "forbidden", "Delegation denied for a@example.com", "PERMISSION_DENIED", ""), Want: "550 5.7.1 forbidden Delegation denied"},
		{Name: "a reason that is not known yet, beside a status that is", Status: 403, Body: told(403, "novelty", "x", "PERMISSION_DENIED", "NOVELTY"), Want: "550 5.7.1"},
		// The mailbox.
		{Name: "no Gmail", Status: 400, Body: told(400, "failedPrecondition", "Mail service not enabled", "FAILED_PRECONDITION", ""), Want: "550 5.1.8 failedprecondition Mail service not enabled"},
		{Name: "no user", Status: 400, Body: told(400, "failedPrecondition", "Precondition check failed.", "", ""), Want: "550 5.1.8"},
		// The message.
		{Name: "recipients", Status: 400, Body: told(400, "invalidArgument", "Invalid To header", "INVALID_ARGUMENT", ""), Want: "554 5.1.3"},
		{Name: "no recipients", Status: 400, Body: told(400, "", "Recipient address required", "INVALID_ARGUMENT", ""), Want: "554 5.1.3"},
		{Name: "attachment", Status: 400, Body: told(400, "invalidArgument", "Invalid attachment", "", ""), Want: "554 5.6.0"},
		{Name: "400 without a reason", Status: 400, Body: told(400, "", "Bad Request", "", ""), Want: "554 5.6.0 Bad Request"},
		{Name: "413 as HTML", Status: 413, Body: "<html></html>", Want: "552 5.3.4"},
		{Name: "413", Status: 413, Body: told(413, "uploadTooLarge", "x", "", ""), Want: "552 5.3.4"},
		// Limits.
		{Name: "units, 403", Status: 403, Body: told(403, "userRateLimitExceeded", "User-rate limit exceeded.", "", ""), Want: "451 4.7.1", Hold: half},
		{Name: "units, 429", Status: 429, Body: told(429, "rateLimitExceeded", "x", "RESOURCE_EXHAUSTED", ""), Want: "451 4.7.1", Hold: half},
		{Name: "units, by ErrorInfo", Status: 429, Body: told(429, "", "x", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"), Want: "451 4.7.1 rate_limit_exceeded", Hold: half},
		{Name: "units, with Retry-After", Status: 429, Body: told(429, "rateLimitExceeded", "x", "", ""), RetryAfter: 50, Want: "451 4.7.1", Hold: 50 * time.Second},
		{Name: "units, with RetryInfo", Status: 429, Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"41s"}]}}`, Want: "451 4.7.1", Hold: 41 * time.Second},
		{Name: "429 alone", Status: 429, Want: "451 4.7.1 HTTP 429", Hold: half},
		{Name: "the account's limit", Status: 429, Body: told(429, "rateLimitExceeded", "User-rate limit exceeded (Mail sending)", "", ""), Want: "451 4.7.1", Hold: time.Hour},
		// Not known.
		{Name: "500", Status: 500, Body: told(500, "backendError", "Backend Error", "INTERNAL", ""), Want: "451 4.4.2"},
		{Name: "500 with a reason that is final elsewhere", Status: 500, Body: told(500, "invalidArgument", "x", "", ""), Want: "451 4.4.2"},
		{Name: "502 as HTML", Status: 502, Body: "<html></html>", Want: "451 4.4.2"},
		{Name: "503", Status: 503, Body: told(503, "backendError", "x", "UNAVAILABLE", ""), Want: "451 4.4.2"},
		{Name: "503, with a time", Status: 503, RetryAfter: 20, Want: "451 4.4.2", Hold: 20 * time.Second},
		{Name: "504", Status: 504, Want: "451 4.4.2"},
		{Name: "408", Status: 408, Want: "451 4.4.2"},
		// Anything else.
		{Name: "moved", Status: 308, Want: "451 4.3.5"},
		{Name: "403 as HTML, of a proxy", Status: 403, Body: "<html>Blocked by policy</html>", Want: "451 4.3.5 What answered is not the provider's API: HTTP 403"},
		{Name: "400 alone", Status: 400, Want: "451 4.3.5"},
		{Name: "404 as HTML", Status: 404, Body: "<html>Error 404 (Not Found)!!1</html>", Want: "451 4.3.5"},
		{Name: "JSON of something else", Status: 403, Body: `{"message":"Forbidden"}`, Want: "451 4.3.5"},
		{Name: "200 as HTML, of a network that wants a login", Status: 200, Body: "<html></html>", Want: "451 4.4.2"},
		{Name: "200 alone", Status: 200, Want: "451 4.4.2"},
		{Name: "200 with an error", Status: 200, Body: told(400, "invalidArgument", "x", "", ""), Want: "451 4.4.2"},
		{Name: "404", Status: 404, Body: told(404, "notFound", "Not Found", "NOT_FOUND", ""), Want: "554 5.0.0 notfound Not Found"},
		// It holds every mailbox of the client, and so is the last.
		{Name: "the project's day", Status: 403, Body: told(403, "dailyLimitExceeded", "x", "", ""), Want: "451 4.7.1", Hold: time.Hour},
	}
	quota := []apitest.Row{{Name: "the project's quota", Status: 403, Body: told(403, "quotaExceeded", "x", "", ""), Want: "451 4.7.1", Hold: time.Hour}}
	for _, list := range [][]apitest.Row{rows, quota} {
		sb, src := apitest.Start(t, &sandbox.App{GmailUnitsPerMinute: -1})
		apitest.Answers(t, sb, attach(t, &Transport{MaxWait: 1}, sb, src), list)
	}
	tested := make(map[string]bool)
	for _, row := range append(rows, quota...) {
		for _, r := range newAnswer(&mailapi.Answer{Body: []byte(row.Body)}).reasons {
			tested[r] = true
		}
	}
	for r := range kinds {
		if !tested[r] {
			t.Errorf("no row for %s", r)
		}
	}
}

// TestScopeByHeader holds that the header of RFC 6750 is enough to know that the
// owner did not consent.
func TestScopeByHeader(t *testing.T) {
	h := http.Header{"Www-Authenticate": {`Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="https://www.googleapis.com/auth/gmail.send"`}}
	v := read(&mailapi.Answer{Status: 403, Header: h})
	if !strings.HasPrefix(v.Reply.Error(), "454 4.7.0 The owner did not consent") {
		t.Errorf("%v", v.Reply)
	}
}

// TestDoubled holds that a mailbox which is asked to wait again and again, and not
// told for how long, waits twice as long each time, up to a bound.
func TestDoubled(t *testing.T) {
	for strikes, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		v := read(&mailapi.Answer{Status: 429, Strikes: strikes})
		if v.Outcome.Hold != want || v.Reply.After != want || !v.Outcome.Strike {
			t.Errorf("after %d times: held for %v, the client hears %v, want %v", strikes, v.Outcome.Hold, v.Reply.After, want)
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
