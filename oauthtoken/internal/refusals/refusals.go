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

// Package refusals has what the authorization servers' error codes and words mean: tables
// alone, each with its source.
package refusals

// Verdict is what a refusal of a grant says of its future.
type Verdict uint8

const (
	// Unknown is a refusal that is not in the tables. Most likely the
	// owner has to consent again, so it says; but nothing is certain, and the
	// server is asked now and then.
	Unknown Verdict = iota
	// Passing leaves the grant as good as it was: the same token works
	// when an administrator or the user has lifted what is in the way.
	Passing
	// Final has ended the grant. Only a new consent helps.
	Final
)

// ReauthCodes are the error codes by which a server refuses a grant. All but
// the first come from OpenID Connect Core section 3.1.2.6, Microsoft and Google.
var ReauthCodes = map[string]bool{
	"invalid_grant":              true,
	"interaction_required":       true,
	"login_required":             true,
	"consent_required":           true,
	"account_selection_required": true,
	"admin_policy_enforced":      true,
	"org_internal":               true,
	"rapt_required":              true,
	"access_denied":              true,
}

// ClientCodes are the error codes by which a server refuses the client itself:
// the same for every grant. disabled_client and deleted_client are Google's
// (https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors).
var ClientCodes = map[string]bool{
	"invalid_client":  true,
	"disabled_client": true,
	"deleted_client":  true,
}

// TransientCodes are those of trouble that passes.
var TransientCodes = map[string]bool{
	"temporarily_unavailable": true,
	"server_error":            true,
	"slow_down":               true,
	"rate_limit_exceeded":     true,
	"rateLimitExceeded":       true,
	"userRateLimitExceeded":   true,
	"internal_failure":        true,
}

// Microsoft's codes are those of
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
// where nothing else is said.

// TransientReasons are codes for trouble that passes, whatever error code they
// come with: never a reason to give a token up.
var TransientReasons = map[string]bool{
	"AADSTS90006": true, "AADSTS90012": true, "AADSTS90025": true, "AADSTS90033": true,
	"AADSTS90055": true, "AADSTS50196": true,
}

// ClientReasons are codes that refuse the app, not the owner: its secret, its
// certificate, its registration, the tenant it asks in.
var ClientReasons = map[string]bool{
	"AADSTS7000215": true, // invalid client secret
	"AADSTS7000222": true, // the client secret has expired
	"AADSTS7000218": true, // no secret was sent
	"AADSTS7000216": true, // no assertion or secret
	"AADSTS700016":  true, // the app is not in the tenant
	"AADSTS7000112": true, // the app is disabled
	"AADSTS700027":  true, // the assertion's signature is not valid
	"AADSTS700023":  true, // the assertion's audience is not valid
	"AADSTS700024":  true, // the assertion is not valid at this time
	"AADSTS700025":  true, // a public client sends a secret
	"AADSTS700213":  true, // no matching federated identity
	"AADSTS70002":   true, // error validating credentials of the client
	"AADSTS50012":   true, // the client assertion is not valid
	"AADSTS90002":   true, // the tenant does not exist
	"AADSTS500011":  true, // the resource is not in the tenant
	"AADSTS50194":   true, // a single-tenant app at /common
	"AADSTS70001":   true, // the app is not in the tenant (old)
	"AADSTS7000229": true, // the app has no service principal in the tenant
	"AADSTS700030":  true, // the app's certificate is not valid
	"AADSTS1000502": true, // the app's certificate has expired
}

// Reasons are codes of refusals whose meaning is known. What is not
// here is unknown.
var Reasons = map[string]Verdict{
	// https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-revocation
	"AADSTS70000":  Final, // the grant is not valid
	"AADSTS70008":  Final, // expired or revoked
	"AADSTS700081": Final, // the maximum lifetime is over
	"AADSTS700082": Final, // inactive for 90 days
	"AADSTS700084": Final, // a single-page app's, after 24 hours
	"AADSTS50173":  Final, // revoked: the password was changed
	"AADSTS50132":  Final, // revoked: the password was changed or has expired
	"AADSTS50133":  Final, // the same
	"AADSTS50089":  Final, // the flow token has expired

	// https://learn.microsoft.com/entra/identity/conditional-access/troubleshoot-conditional-access
	"AADSTS53000":  Passing, // the device is not compliant
	"AADSTS53001":  Passing, // the device is not joined
	"AADSTS53002":  Passing, // the app is not an approved one
	"AADSTS53003":  Passing, // blocked by Conditional Access
	"AADSTS53004":  Passing, // proof-up is blocked: suspicious activity
	"AADSTS53009":  Passing, // the app must enforce protection policies
	"AADSTS53011":  Passing, // blocked: risk on the home tenant
	"AADSTS530003": Passing, // the device must be managed
	"AADSTS530031": Passing, // a policy does not allow the token
	"AADSTS530032": Passing, // blocked by a tenant's security policy
	"AADSTS530034": Passing, // blocked: delegated administration
	"AADSTS530035": Passing, // blocked by security defaults
	"AADSTS530084": Passing, // token protection is asked for
	"AADSTS50005":  Passing, // the platform is not supported
	"AADSTS50097":  Passing, // device authentication is asked for
	"AADSTS50158":  Passing, // an external challenge was not met
	// "has expired or is invalid due to sign-in frequency checks": measured
	// against the policy at each request.
	"AADSTS70043": Passing,
	"AADSTS70044": Passing,

	// The user or the assignment, which an administrator can restore.
	"AADSTS50053":   Passing, // locked: too many wrong passwords, a bad address
	"AADSTS50055":   Passing, // the password has expired
	"AADSTS50057":   Passing, // the user is disabled
	"AADSTS500571":  Passing, // the guest is disabled
	"AADSTS500341":  Passing, // deleted from the directory, which can be undone for 30 days
	"AADSTS50144":   Passing, // the password of the local directory has expired
	"AADSTS50034":   Passing, // not in the directory: deleted, for 30 days
	"AADSTS50020":   Passing, // not a guest of the tenant
	"AADSTS51004":   Passing, // the account is not in the directory
	"AADSTS50105":   Passing, // not assigned to the app
	"AADSTS50177":   Passing, // an external user is not allowed
	"AADSTS65001":   Passing, // no consent; an administrator's is enough
	"AADSTS65004":   Passing, // consent was declined
	"AADSTS90094":   Passing, // an administrator must consent
	"AADSTS90093":   Passing,
	"AADSTS90099":   Passing, // not authorized in the tenant
	"AADSTS500014":  Passing, // the resource is disabled
	"AADSTS50131":   Passing, // blocked by a policy
	"AADSTS500021":  Passing, // tenant restrictions
	"AADSTS500022":  Passing, // tenant restrictions
	"AADSTS7000112": Passing, // the app is disabled
	"AADSTS7000012": Passing, // the grant is of another tenant: `tenant` mends it

	// Multi-factor authentication is asked for: an administrator can exempt
	// the app, and then the token works as before.
	"AADSTS50072": Passing,
	"AADSTS50074": Passing,
	"AADSTS50076": Passing,
	"AADSTS50078": Passing,
	"AADSTS50079": Passing,
}

// Texts are those of servers that say it in words only.
var Texts = []struct {
	Text string
	Verdict
}{
	// https://developers.google.com/identity/protocols/oauth2#expiration
	{"Token has been expired or revoked", Final},
	{"Token has been revoked", Final},
	// https://support.google.com/a/answer/1397578: an administrator can restore a user for 20 days,
	// the tokens are gone.
	{"Account has been deleted", Final},
	{"Account disabled", Passing},
	{"account is disabled", Passing},
	{"suspended", Passing},
	// https://support.google.com/a/answer/9368756 (session control)
	{"reauth related error", Passing},
}

// Codes are what error codes and subtypes say of a grant:
// https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors
var Codes = map[string]Verdict{
	"admin_policy_enforced": Passing,
	"org_internal":          Passing,
	"rapt_required":         Passing,
	"invalid_rapt":          Passing,
	"interaction_required":  Passing,
	"consent_required":      Passing,
}
