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

func TestOAuth(t *testing.T) {
	for _, tc := range []struct {
		code, text, cause string
		retry             bool
	}{
		{"invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity.", "90 days", false},
		{"invalid_grant", "AADSTS70000: The provided value is not valid", "lacks the mail scope", false},
		{"invalid_grant", "AADSTS7000012 whatever", "another tenant", false},
		{"invalid_client", "AADSTS7000215: Invalid client secret", "client secret is wrong", true},
		{"invalid_request", "AADSTS900144: The request body must contain 'scope'", "parameter is missing", true},
		{"invalid_grant", "AADSTS65001: no consent", "nobody has consented", false},
		{"invalid_grant", "AADSTS50173: fresh token needed", "password was changed", false},
		{"invalid_grant", "Token has been expired or revoked.", "in testing", false},
		{"invalid_grant", "", "revoked, expired", false},
		{"invalid_client", "", "client's credentials", true},
		{"what_is_this", "", "the refresh failed", true},
	} {
		e := OAuth(tc.code, tc.text)
		if !strings.Contains(e.Cause, tc.cause) || e.Remedy == "" || e.Retry != tc.retry {
			t.Errorf("%s %s: %+v", tc.code, tc.text, e)
		}
	}
}
