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

import "regexp"

// oauthRow makes the row of an answer that is known by an OAuth error code, or
// by one and the server's words.
func oauthRow(id string, kind int, codes, words []string, cause, remedy string) row {
	return row{codes: codes, words: words, isOAuth: true, Explanation: Explanation{
		ID: id, Cause: cause, Remedy: remedy, RetryHelps: kind == trouble, Consent: kind == consent,
	}}
}

// anyGrant are the codes with which Google says it in words:
// https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors.
var anyGrant = []string{"invalid_grant", "invalid_request", "unauthorized_client", "invalid_client", "access_denied", "admin_policy_enforced"}

var oauthRows = []row{
	oauthRow("google_revoked", consent, anyGrant, []string{"expired or revoked|has been revoked"},
		"The user or an administrator revoked the access, the password was changed, the token was unused for six months, or the app is in testing and its consents last 7 days.",
		"Publish the app if it is in testing, then run `caddy smtp login ACCOUNT`."),
	oauthRow("google_deleted", consent, anyGrant, []string{"account has been deleted"}, "The Google account was deleted.", "Remove the account: caddy smtp account remove ACCOUNT."),
	oauthRow("google_suspended", passing, anyGrant, []string{"account disabled|account is disabled|suspended"}, "The Google account is suspended.", "A Workspace administrator restores the user."+askedAgain),
	oauthRow("google_no_user", config, anyGrant, []string{"invalid email or user id"}, "The mailbox does not exist in the Workspace domain.", "Check the account's mailbox."),
	oauthRow("google_clock", config, anyGrant, []string{"reasonable timeframe"}, "The clock of this machine is wrong.", "Set the clock by NTP."),
	oauthRow("google_key", config, anyGrant, []string{"invalid jwt signature"}, "The service account's key was deleted or replaced.", "Make a new key and set `service_account_file`."),
	oauthRow("google_delegation", config, anyGrant, []string{"unauthorized to retrieve access tokens"}, "The service account has no domain-wide delegation for the mail scope.", "Add its client ID with the scope https://mail.google.com/ in the Workspace admin console."),
	oauthRow("google_reauth", passing, append([]string{"rapt_required", "invalid_rapt"}, anyGrant...), []string{"reauth related error|rapt_required|invalid_rapt"}, "The Workspace session policy asks for a new login.", "An administrator exempts the app from the session policy; or run `caddy smtp login ACCOUNT`."+askedAgain),

	oauthRow("invalid_grant", consent, []string{"invalid_grant"}, nil, "The refresh token is revoked, expired, or belongs to another client.", loginAgain),
	oauthRow("no_refresh_token", consent, []string{"no_refresh_token"}, nil, "The account has no refresh token yet.", "Run `caddy smtp login ACCOUNT`, or set the account's refresh_token."),
	oauthRow("damaged_record", consent, []string{"damaged_record"}, nil, "The stored token of the mailbox cannot be read.", "Run `caddy smtp login ACCOUNT`, or restore the record from a backup."),
	oauthRow("interaction_required", consent, []string{"interaction_required"}, nil, "The user has to log in again.", loginAgain),
	oauthRow("login_required", consent, []string{"login_required"}, nil, "The user has to log in again.", loginAgain),
	oauthRow("account_selection_required", consent, []string{"account_selection_required"}, nil, "The user has to choose an identity at the browser.", loginAgain),
	oauthRow("consent_required", consent, []string{"consent_required"}, nil, "The user has to consent.", loginAgain),
	oauthRow("invalid_client", config, []string{"invalid_client"}, nil, "The provider does not accept the client's credentials.", "Check `client_id` and `client_secret` or the certificate."),
	oauthRow("deleted_client", config, []string{"deleted_client", "disabled_client"}, nil, "The OAuth client was deleted or disabled at the provider.", "Make a client, and set `client_id` and `client_secret`; each mailbox has to consent again."),
	oauthRow("unauthorized_client", config, []string{"unauthorized_client"}, nil, "The client may not use this grant.", "Allow the grant in the app's registration."),
	oauthRow("unsupported_grant_type", config, []string{"unsupported_grant_type"}, nil, "The provider does not know this grant.", "Check `grant` and `token_url`."),
	oauthRow("invalid_scope", config, []string{"invalid_scope"}, nil, "A scope is unknown or was not consented to.", "Check `scopes`."),
	oauthRow("invalid_resource", config, []string{"invalid_resource", "invalid_target"}, nil, "The resource that the scope names is unknown to the provider.", "Check `scopes` and `tenant`."),
	oauthRow("invalid_request", config, []string{"invalid_request"}, nil, "The provider finds the request malformed.", "Check the provider's configuration and the account's refresh_token."),
	oauthRow("temporarily_unavailable", trouble, []string{"temporarily_unavailable", "slow_down"}, nil, "The provider is busy.", waitOnly),
	oauthRow("server_error", trouble, []string{"server_error", "internal_failure"}, nil, "The provider has a problem.", waitOnly),
	oauthRow("endpoint_down", trouble, []string{"endpoint_down"}, nil, "The token endpoint is down.", waitOnly),
}

// consentRows are what can only happen while a human consents.
var consentRows = []row{
	oauthRow("redirect_uri", config, []string{"aadsts50011", "redirect_uri_mismatch"}, nil,
		"The application's registration does not know the address that the browser is sent back to.",
		"Register http://localhost (type `Mobile and desktop` at Microsoft, `Desktop app` at Google), or give the registered one with --redirect-url."),
	{words: []string{"another identity has consented"}, Explanation: Explanation{
		ID:     "other_identity",
		Cause:  "Another person than the owner of the account's mailbox was logged in at the browser; nothing was stored.",
		Remedy: "Log in as the owner, in a private window of the browser; or, for a shared mailbox, give --any-identity.",
	}},
	oauthRow("access_denied", config, []string{"admin_policy_enforced", "access_denied", "org_internal"}, nil,
		"The user, or a policy of the organization, refused consent.",
		"An administrator of the organization trusts the application; then: caddy smtp login ACCOUNT."),
}

// noTokenEndpoint is what explains an answer that no token endpoint gives.
var noTokenEndpoint = regexp.MustCompile(`no JSON in the token endpoint's answer.*\(HTTP (?:30[1-9]|404|405|410)\)`)

var tokenEndpoint = Explanation{
	ID:     "token_endpoint",
	Cause:  "There is no token endpoint at this address.",
	Remedy: "Check `token_url`, `issuer`, `tenant` and `cloud` of the provider.",
}
