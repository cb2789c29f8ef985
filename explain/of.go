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
	"unicode"
	"unicode/utf8"
)

// Of finds the explanation of what went wrong on any leg of the way.
func Of(text string) (Explanation, bool) {
	if e, ok := explainOAuth(text); ok {
		return e, true
	}
	for _, f := range loginFailures {
		if f.match.MatchString(text) {
			return f.Explanation, true
		}
	}
	return SMTP(text)
}

var (
	entraCode = regexp.MustCompile(`(?i)\baadsts\d+`)
	// oauthCode finds the error codes of RFC 6749 section 5.2, RFC 8628
	// section 3.5 and OpenID Connect.
	oauthCode = regexp.MustCompile(`\b(invalid_grant|invalid_client|unauthorized_client|unsupported_grant_type|invalid_scope|invalid_request|` +
		`interaction_required|login_required|consent_required|no_refresh_token|damaged_record|access_denied|admin_policy_enforced|deleted_client|org_internal|` +
		`temporarily_unavailable|server_error|endpoint_down)\b`)
	// passingCodes go away by themselves.
	passingCodes = []string{"temporarily_unavailable", "server_error", "endpoint_down", "aadsts90033", "aadsts90055", "aadsts50196"}
)

// explainOAuth explains an answer of an authorization server in the words that
// the token manager logs.
func explainOAuth(text string) (Explanation, bool) {
	code := oauthCode.FindString(text)
	reason := strings.ToUpper(entraCode.FindString(text))
	if code == "" && reason == "" {
		return Explanation{}, false
	}
	id := strings.ToLower(reason)
	if id == "" {
		id = code
	}
	if reason != "" {
		// The code may come in any case.
		text = entraCode.ReplaceAllString(text, reason)
	}
	e := OAuth(code, text)
	if e == OAuth("", "") {
		return Explanation{}, false
	}
	return Explanation{
		ID:         id,
		Cause:      sentence(e.Cause),
		Remedy:     sentence(e.Remedy),
		RetryHelps: slices.Contains(passingCodes, id) || slices.Contains(passingCodes, code),
	}, true
}

// sentence makes a sentence of a phrase.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// loginFailures are what can only happen while a human consents.
var loginFailures = []struct {
	match *regexp.Regexp
	Explanation
}{
	{regexp.MustCompile(`(?i)aadsts50011|redirect_uri_mismatch`), Explanation{
		ID:     "redirect_uri",
		Cause:  "The application's registration does not know the address that the browser is sent back to.",
		Remedy: "Register http://localhost (type `Mobile and desktop` at Microsoft, `Desktop app` at Google), or give the registered one with --redirect-url.",
	}},
	{regexp.MustCompile(`another identity has consented`), Explanation{
		ID:     "other_identity",
		Cause:  "Somebody else than the owner of the account's mailbox was logged in at the browser; nothing was stored.",
		Remedy: "Log in as the owner, in a private window of the browser; or, for a shared mailbox, give --any-identity.",
	}},
	{regexp.MustCompile(`(?i)admin_policy_enforced|access_denied|org_internal|aadsts90094|aadsts900941`), Explanation{
		ID:     "access_denied",
		Cause:  "The user, or a policy of the organization, refused consent.",
		Remedy: "An administrator of the organization trusts the application; then: caddy smtp login ACCOUNT.",
	}},
}

// tokenEndpoint is what explains an answer that no token endpoint gives.
var tokenEndpoint = regexp.MustCompile(`no JSON in the token endpoint's answer.*\(HTTP (?:30[1-9]|404|405|410)\)`)

// Token explains a failure on the way to a token. Its network is that
// of the provider's OAuth endpoints, where `dial` is not to blame.
func Token(text string) (Explanation, bool) {
	if tokenEndpoint.MatchString(text) {
		return Explanation{
			ID:     "token_endpoint",
			Cause:  "There is no token endpoint at this address.",
			Remedy: "Check `token_url`, `issuer`, `tenant` and `cloud` of the provider.",
		}, true
	}
	e, ok := Of(text)
	switch e.ID {
	case "refused", "timeout", "dns_no_host":
		e.Remedy = "Check `token_url` or `issuer` of the provider, and whether this machine gets there: a firewall, or `network_proxy`."
	}
	return e, ok
}
