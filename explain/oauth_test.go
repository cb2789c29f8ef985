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
	"testing"
)

func TestExplainOAuth(t *testing.T) {
	for _, s := range []struct {
		text, id string
		retry    bool
	}{
		{"invalid_grant: AADSTS70000: Provided grant is invalid or malformed.", "aadsts70000", false},
		{"AADSTS700082: The refresh token has expired due to inactivity.", "aadsts700082", false},
		{"AADSTS7000012: The grant was obtained for a different tenant.", "aadsts7000012", false},
		{"AADSTS900144: The request body must contain the following parameter: 'scope'.", "aadsts900144", false},
		{"invalid_client: AADSTS7000215: Invalid client secret provided.", "aadsts7000215", false},
		{"aadsts65001: The user or administrator has not consented to use the application.", "aadsts65001", false},
		{"temporarily_unavailable: AADSTS90033: A transient error has occurred.", "aadsts90033", true},
		{`oauth2: "invalid_grant" "Token has been expired or revoked."`, "google_revoked", false},
		{`oauth2: "invalid_client" "The OAuth client was not found."`, "invalid_client", false},
		{`provider 'google': server_error`, "server_error", true},
		{"AADSTS50194: Application is not configured as a multi-tenant application.", "aadsts50194", false},
		{"AADSTS700024: Client assertion is not within its valid time range.", "aadsts700024", false},
		{"AADSTS50011: The redirect URI specified in the request does not match.", "redirect_uri", false},
		{`oauth2: "access_denied"`, "access_denied", false},
		// What is no answer of an authorization server is relay's.
		{"dial tcp 127.0.0.1:1: connect: connection refused", "refused", true},
	} {
		got, ok := Of(s.text)
		if !ok || got.ID != s.id || got.RetryHelps != s.retry || !strings.HasSuffix(got.Cause, ".") || !strings.HasSuffix(got.Remedy, ".") {
			t.Errorf("%q is explained as %+v, want %q, retry %t", s.text, got, s.id, s.retry)
		}
		if got.Cause == "The refresh failed." {
			t.Errorf("%q is not explained", s.text)
		}
	}
}

func TestExplainOtherIdentity(t *testing.T) {
	if e, ok := Of("another identity has consented: 'b@example.com' in place of 'a@example.com'"); !ok || !strings.Contains(e.Remedy, "--any-identity") {
		t.Errorf("another identity: %+v", e)
	}
}

func TestOAuth(t *testing.T) {
	for _, tc := range []struct {
		code, text, cause string
		consent           bool
	}{
		{"invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity.", "90 days", true},
		{"invalid_grant", "AADSTS70000: The provided value is not valid", "lacks the mail scope", true},
		{"invalid_grant", "AADSTS7000012 whatever", "another tenant", false},
		{"invalid_client", "AADSTS7000215: Invalid client secret", "client secret is wrong", false},
		{"invalid_request", "AADSTS900144: The request body must contain 'scope'", "parameter is missing", false},
		{"invalid_grant", "AADSTS65001: no consent", "has consented", false},
		{"invalid_grant", "AADSTS50173: fresh token needed", "password was changed", true},
		{"invalid_grant", "Token has been expired or revoked.", "in testing", true},
		{"invalid_grant", "", "revoked, expired", true},
		{"invalid_client", "", "client's credentials", false},
		{"what_is_this", "", "The refresh failed", false},
	} {
		e := OAuth(tc.code, tc.text)
		if !strings.Contains(e.Cause, tc.cause) || e.Remedy == "" || e.Consent != tc.consent {
			t.Errorf("%s %s: %+v", tc.code, tc.text, e)
		}
	}
}

// TestAppOnly: where the app asks in its own name no owner can log in.
func TestAppOnly(t *testing.T) {
	for i := range table {
		r := &table[i]
		if len(r.codes) == 0 {
			continue
		}
		text := r.codes[0]
		for _, w := range r.words {
			alt, _, _ := strings.Cut(w, "|")
			text += " " + alt
		}
		if e, _ := (About{AppOnly: true}).Of(text); strings.Contains(e.Remedy, "smtp login") || e.Consent {
			t.Errorf("%s: %+v", text, e)
		}
	}
}
