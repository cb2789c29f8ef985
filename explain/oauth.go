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
)

// Phrases say in words what an error of a token endpoint means and what helps.
type Phrases struct {
	// Cause is what happened.
	Cause string
	// Remedy is what to do about it.
	Remedy string
	// Retry says that it may go away without a new consent.
	Retry bool
}

const login = "run `caddy smtp login` for the account"

// again is the remedy's end where the grant is as good as it was: the gateway
// asks again of its own accord.
const again = "; the gateway asks again by itself, and at once for `caddy smtp test`"

// explanations are looked up by a substring of the server's reason and
// description first, then by error code. The first match counts.
var explanations = []struct {
	match string
	Phrases
}{
	{"AADSTS700082", Phrases{"the refresh token was not used for 90 days and has lapsed", login, false}},
	{"AADSTS70008", Phrases{"the refresh token has expired", login, false}},
	{"AADSTS700084", Phrases{"the refresh token was issued to a single-page app and lives 24 hours", "register the redirect URI as `Mobile and desktop` or `Web`, then " + login, false}},
	{"AADSTS7000012", Phrases{"the consent was given in another tenant", "set `tenant` to the one of the account, or " + login, false}},
	{"AADSTS7000215", Phrases{"the client secret is wrong; often its ID was copied in place of its value", "set `client_secret` to the secret's value", true}},
	{"AADSTS7000222", Phrases{"the client secret has expired", "make a new secret in Entra and set `client_secret`", true}},
	{"AADSTS7000218", Phrases{"the app is registered as confidential and sent no secret", "set `client_secret`, or allow public client flows for the app in Entra", true}},
	{"AADSTS700025", Phrases{"the app is registered as public and must not send a secret", "remove `client_secret`, or register the redirect URI as `Web`", true}},
	{"AADSTS700027", Phrases{"the client certificate is not the one registered for the app, or the clock is wrong", "upload the certificate to the app in Entra; check the clock", true}},
	{"AADSTS700016", Phrases{"the app is not known in the account's tenant", "check `client_id` and `tenant`; an administrator of the tenant may have to consent", true}},
	{"AADSTS7000112", Phrases{"the app is disabled", "enable the enterprise application in Entra", true}},
	{"AADSTS70000", Phrases{"the grant is invalid: revoked, malformed, or it lacks the mail scope", login, false}},
	{"AADSTS70011", Phrases{"a scope is not valid", "check `scopes`", true}},
	{"AADSTS65001", Phrases{"nobody has consented to this app for the mail scope", login + "; an administrator may have to consent for the tenant", false}},
	{"AADSTS50173", Phrases{"the password was changed or sessions were revoked since the consent", login, false}},
	{"AADSTS50076", Phrases{"multi-factor authentication has become necessary", "let the administrator exempt the app, or " + login, true}},
	{"AADSTS50079", Phrases{"the user must enrol for multi-factor authentication", "let the user enrol, or the administrator exempt the app, or " + login, true}},
	{"AADSTS50078", Phrases{"the multi-factor authentication has expired", "let the administrator exempt the app, or " + login, true}},
	{"AADSTS50057", Phrases{"the user is disabled", "enable the user in Entra" + again, true}},
	{"AADSTS50034", Phrases{"the user does not exist in this tenant", "check the account and `tenant`; a deleted user can be restored for 30 days" + again, true}},
	{"AADSTS53003", Phrases{"a Conditional Access policy blocks the app", "let the administrator exempt the app or this host" + again, true}},
	{"AADSTS530084", Phrases{"a Conditional Access policy asks for token protection", "let the administrator exempt the app" + again, true}},
	{"AADSTS50053", Phrases{"the user is locked: too many wrong passwords, or a bad address", "wait, or unblock the user in Entra" + again, true}},
	{"AADSTS50105", Phrases{"the user is not assigned to the app", "assign the user to the enterprise application in Entra" + again, true}},
	{"AADSTS53000", Phrases{"a Conditional Access policy asks for a compliant device", "let the administrator exempt the app" + again, true}},
	{"AADSTS90002", Phrases{"the tenant does not exist", "check `tenant`", true}},
	{"AADSTS900144", Phrases{"a parameter is missing from the request, mostly the scope", "set `scopes`", true}},
	{"AADSTS9002313", Phrases{"the request is malformed, mostly a damaged refresh token", "check the account's refresh_token, or " + login, true}},
	{"AADSTS700024", Phrases{"the client assertion is not valid at this time: the clock is wrong, or the federated token has expired", "set the clock; keep federated_token_file fresh", true}},
	{"AADSTS50194", Phrases{"the app is for one tenant only and cannot be used through `common`", "set `tenant`", true}},
	{"AADSTS90033", Phrases{"the token endpoint has a temporary trouble", "none: it is tried again", true}},
	{"AADSTS90006", Phrases{"the token endpoint has a temporary trouble", "none: it is tried again", true}},
	{"AADSTS90055", Phrases{"too many requests for this tenant", "lower `max_per_second`", true}},
	{"Token has been expired or revoked", Phrases{"the user or an administrator revoked the access, the password was changed, the token was unused for six months, or the app is in testing and its consents last 7 days", "publish the app if it is in testing, then " + login, false}},
	{"Account has been deleted", Phrases{"the Google account was deleted", "remove the account", false}},
	{"Invalid email or User ID", Phrases{"the mailbox does not exist in the Workspace domain", "check the account's mailbox", false}},
	{"reasonable timeframe", Phrases{"the clock of this machine is wrong", "set the clock", true}},
	{"Invalid JWT Signature", Phrases{"the service account's key was deleted or replaced", "make a new key and set `service_account_file`", true}},
	{"Client is unauthorized to retrieve access tokens", Phrases{"the service account has no domain-wide delegation for the mail scope", "add its client ID with the scope https://mail.google.com/ in the Workspace admin console", true}},
	{"reauth related error", Phrases{"the Workspace session policy asks for a new login", "exempt the app from the session policy" + again + ", or " + login, true}},
}

var codeExplanations = map[string]Phrases{
	"invalid_grant":           {"the refresh token is revoked, expired, or belongs to another client", login, false},
	"no_refresh_token":        {"the account has no refresh token yet", login + ", or set the account's refresh_token", false},
	"damaged_record":          {"the stored token of the mailbox cannot be read", login + ", or restore the record from a backup", false},
	"interaction_required":    {"the user has to log in again", login, false},
	"login_required":          {"the user has to log in again", login, false},
	"consent_required":        {"the user has to consent", login, false},
	"invalid_client":          {"the provider does not accept the client's credentials", "check `client_id` and `client_secret` or the certificate", true},
	"unauthorized_client":     {"the client may not use this grant", "allow the grant in the app's registration", true},
	"unsupported_grant_type":  {"the provider does not know this grant", "check `grant` and `token_url`", true},
	"invalid_scope":           {"a scope is unknown or was not consented to", "check `scopes`", true},
	"invalid_request":         {"the provider finds the request malformed", "check the provider's configuration and the account's refresh_token", true},
	"temporarily_unavailable": {"the provider is busy", "none: it is tried again", true},
	"server_error":            {"the provider has a problem", "none: it is tried again", true},
	"endpoint_down":           {"the token endpoint is down", "none: it is tried again", true},
}

// OAuth says what an error of a token endpoint means: code is the OAuth
// error code, text the server's description.
func OAuth(code, text string) Phrases {
	for _, e := range explanations {
		if i := strings.Index(text, e.match); i >= 0 {
			// AADSTS70000 is not AADSTS700082.
			rest := text[i+len(e.match):]
			if strings.HasPrefix(e.match, "AADSTS") && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
				continue
			}
			return e.Phrases
		}
	}
	if e, ok := codeExplanations[code]; ok {
		return e
	}
	return Phrases{"the refresh failed", "none: it is tried again", true}
}
