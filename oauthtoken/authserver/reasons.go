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

package authserver

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/caddymail/mailgateway/internal/printable"
)

// verdict is what a refusal of a grant says of its future.
type verdict uint8

const (
	// verdictUnknown is a refusal that is not in the tables. Most likely the
	// owner has to consent again, so it says; but nothing is certain, and the
	// server is asked now and then.
	verdictUnknown verdict = iota
	// verdictPassing leaves the grant as good as it was: the same token works
	// when an administrator or the user has lifted what is in the way.
	verdictPassing
	// verdictFinal has ended the grant. Only a new consent helps.
	verdictFinal
)

// reauthCodes are the error codes by which a server refuses a grant. All but
// the first come from OpenID Connect Core section 3.1.2.6, Microsoft and Google.
var reauthCodes = map[string]bool{
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

// clientCodes are the error codes by which a server refuses the client itself:
// the same for every grant. disabled_client and deleted_client are Google's
// (https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors).
var clientCodes = map[string]bool{
	"invalid_client":  true,
	"disabled_client": true,
	"deleted_client":  true,
}

var transientCodes = map[string]bool{
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

// transientReasons are codes for trouble that passes, whatever error code they
// come with: never a reason to give a token up.
var transientReasons = map[string]bool{
	"AADSTS90006": true, "AADSTS90012": true, "AADSTS90025": true, "AADSTS90033": true,
	"AADSTS90055": true, "AADSTS50196": true,
}

// clientReasons are codes that refuse the app, not the owner: its secret, its
// certificate, its registration, the tenant it asks in.
var clientReasons = map[string]bool{
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

// reasonVerdicts are codes of refusals whose meaning is known. What is not
// here is unknown.
var reasonVerdicts = map[string]verdict{
	// https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-revocation
	"AADSTS70000":  verdictFinal, // the grant is not valid
	"AADSTS70008":  verdictFinal, // expired or revoked
	"AADSTS700081": verdictFinal, // the maximum lifetime is over
	"AADSTS700082": verdictFinal, // inactive for 90 days
	"AADSTS700084": verdictFinal, // a single-page app's, after 24 hours
	"AADSTS50173":  verdictFinal, // revoked: the password was changed
	"AADSTS50132":  verdictFinal, // revoked: the password was changed or has expired
	"AADSTS50133":  verdictFinal, // the same
	"AADSTS50089":  verdictFinal, // the flow token has expired

	// https://learn.microsoft.com/entra/identity/conditional-access/troubleshoot-conditional-access
	"AADSTS53000":  verdictPassing, // the device is not compliant
	"AADSTS53001":  verdictPassing, // the device is not joined
	"AADSTS53002":  verdictPassing, // the app is not an approved one
	"AADSTS53003":  verdictPassing, // blocked by Conditional Access
	"AADSTS53004":  verdictPassing, // proof-up is blocked: suspicious activity
	"AADSTS53009":  verdictPassing, // the app must enforce protection policies
	"AADSTS53011":  verdictPassing, // blocked: risk on the home tenant
	"AADSTS530003": verdictPassing, // the device must be managed
	"AADSTS530031": verdictPassing, // a policy does not allow the token
	"AADSTS530032": verdictPassing, // blocked by a tenant's security policy
	"AADSTS530034": verdictPassing, // blocked: delegated administration
	"AADSTS530035": verdictPassing, // blocked by security defaults
	"AADSTS530084": verdictPassing, // token protection is asked for
	"AADSTS50005":  verdictPassing, // the platform is not supported
	"AADSTS50097":  verdictPassing, // device authentication is asked for
	"AADSTS50158":  verdictPassing, // an external challenge was not met
	// "has expired or is invalid due to sign-in frequency checks": measured
	// against the policy at each request.
	"AADSTS70043": verdictPassing,
	"AADSTS70044": verdictPassing,

	// The user or the assignment, which an administrator can restore.
	"AADSTS50053":   verdictPassing, // locked: too many wrong passwords, a bad address
	"AADSTS50055":   verdictPassing, // the password has expired
	"AADSTS50057":   verdictPassing, // the user is disabled
	"AADSTS500571":  verdictPassing, // the guest is disabled
	"AADSTS500341":  verdictPassing, // deleted from the directory, which can be undone for 30 days
	"AADSTS50144":   verdictPassing, // the password of the local directory has expired
	"AADSTS50034":   verdictPassing, // not in the directory: deleted, for 30 days
	"AADSTS50020":   verdictPassing, // not a guest of the tenant
	"AADSTS51004":   verdictPassing, // the account is not in the directory
	"AADSTS50105":   verdictPassing, // not assigned to the app
	"AADSTS50177":   verdictPassing, // an external user is not allowed
	"AADSTS65001":   verdictPassing, // no consent; an administrator's is enough
	"AADSTS65004":   verdictPassing, // consent was declined
	"AADSTS90094":   verdictPassing, // an administrator must consent
	"AADSTS90093":   verdictPassing,
	"AADSTS90099":   verdictPassing, // not authorized in the tenant
	"AADSTS500014":  verdictPassing, // the resource is disabled
	"AADSTS50131":   verdictPassing, // blocked by a policy
	"AADSTS500021":  verdictPassing, // tenant restrictions
	"AADSTS500022":  verdictPassing, // tenant restrictions
	"AADSTS7000112": verdictPassing, // the app is disabled
	"AADSTS7000012": verdictPassing, // the grant is of another tenant: `tenant` mends it

	// Multi-factor authentication is asked for: an administrator can exempt
	// the app, and then the token works as before.
	"AADSTS50072": verdictPassing,
	"AADSTS50074": verdictPassing,
	"AADSTS50076": verdictPassing,
	"AADSTS50078": verdictPassing,
	"AADSTS50079": verdictPassing,
}

// textVerdicts are those of servers that say it in words only.
var textVerdicts = []struct {
	text string
	verdict
}{
	// https://developers.google.com/identity/protocols/oauth2#expiration
	{"Token has been expired or revoked", verdictFinal},
	{"Token has been revoked", verdictFinal},
	// https://support.google.com/a/answer/1397578: an administrator can restore a user for 20 days,
	// the tokens are gone.
	{"Account has been deleted", verdictFinal},
	{"Account disabled", verdictPassing},
	{"account is disabled", verdictPassing},
	{"suspended", verdictPassing},
	// https://support.google.com/a/answer/9368756 (session control)
	{"reauth related error", verdictPassing},
}

// https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors
var codeVerdicts = map[string]verdict{
	"admin_policy_enforced": verdictPassing,
	"org_internal":          verdictPassing,
	"rapt_required":         verdictPassing,
	"invalid_rapt":          verdictPassing,
	"interaction_required":  verdictPassing,
	"consent_required":      verdictPassing,
}

func judge(e *Error) verdict {
	if v, ok := reasonVerdicts[e.Reason]; ok {
		return v
	}
	if e.Reason != "" && e.Code == "invalid_grant" {
		return verdictUnknown
	}
	for _, t := range textVerdicts {
		if strings.Contains(e.Description, t.text) {
			return t.verdict
		}
	}
	for _, code := range []string{e.Subtype, e.Code} {
		if v, ok := codeVerdicts[code]; ok {
			return v
		}
	}
	return verdictUnknown
}

// Final reports whether the grant has ended, so that the server is not asked
// again of our own accord.
func (e *Error) Final() bool {
	return e.Class == ClassReauth && !e.AppOnly && (e.Code == "no_refresh_token" || judge(e) == verdictFinal)
}

// Passing reports whether the refusal is known to leave the grant intact.
func (e *Error) Passing() bool {
	return e.Class == ClassReauth && (e.AppOnly || judge(e) == verdictPassing)
}

// AskAgain is when to ask again after the n-th refusal in a row: minutes at
// first, hours in the end, spread, so that 10,000 accounts that were refused in
// one minute do not come back in one.
func (e *Error) AskAgain(n int) time.Duration {
	const most = 8 * time.Hour
	first := time.Minute
	if e.Final() {
		return most
	}
	if !e.Passing() {
		first = 15 * time.Minute
	}
	d := Backoff(first, most, n)
	return d + rand.N(d/8+1)
}

// classify decides what an error response of a token endpoint means.
func classify(status int, code, reason string) Class {
	switch {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout,
		transientCodes[code], transientReasons[reason]:
		return ClassTransient
	// Of the other codes only these are the same for every account:
	// unauthorized_client and invalid_request also come for one tenant's user
	// or for one malformed token.
	case clientCodes[code]:
		return ClassProvider
	case clientReasons[reason]:
		return ClassTemporary
	case reauthCodes[code]:
		return ClassReauth
	}
	return ClassTemporary
}

// clientRefused reports whether the server refuses the gateway's own app.
func (e *Error) clientRefused() bool {
	return e.Class == ClassProvider || clientReasons[e.Reason] ||
		e.Class == ClassTemporary && (e.Code == "unauthorized_client" || e.Code == "invalid_tenant")
}

// Standings, as AccountStatus shows them.
const (
	StandingActive         = "active"
	StandingNotVerified    = "not_verified"
	StandingNeverConsented = "never_consented"
	StandingRefused        = "refused"
	StandingClientRefused  = "client_refused"
	StandingDamaged        = "damaged"
)

// Standing is what an error says of the grant; empty if it says nothing.
func (e *Error) Standing() string {
	switch {
	case e == nil:
	case e.Code == "no_refresh_token":
		return StandingNeverConsented
	case e.Class == ClassDamaged:
		return StandingDamaged
	case e.clientRefused():
		return StandingClientRefused
	case e.Class == ClassReauth:
		return StandingRefused
	}
	return ""
}

// trace is what Microsoft adds for its own support.
var trace = regexp.MustCompile(`\s*(Trace ID|Correlation ID|Timestamp):.*`)

// said is the server's own word, short enough for a reply.
func (e *Error) said() string {
	parts := make([]string, 0, 2)
	if e.Code != "" {
		parts = append(parts, e.Code)
	}
	if d := trace.ReplaceAllString(e.Description, ""); d != "" {
		parts = append(parts, printable.Cut(d, 200))
	}
	return ascii(strings.Join(parts, ": "))
}

// ascii makes text fit for an SMTP reply.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// Reply implements grant.Refusal: what a client is told, in words that are true.
func (e *Error) Reply() string {
	switch {
	case e.Code == "no_refresh_token" && !e.AppOnly:
		return "The mailbox has not consented yet: run `caddy smtp login` for this account"
	case e.Class == ClassDamaged:
		return "The stored token of this mailbox is damaged: run `caddy smtp login` for this account"
	case e.clientRefused():
		return "The provider does not accept the gateway's own credentials (" + e.said() + "): the operator must mend them"
	case e.Class == ClassReauth && e.AppOnly:
		return "The provider refuses the gateway's app for this mailbox (" + e.said() + "): an administrator must allow it"
	case e.Passing():
		return "The provider refuses this mailbox for now (" + e.said() + "); it is asked again"
	case e.Class == ClassReauth:
		return "" // the general words
	case e.Class == ClassStore:
		return "The gateway's token store does not work, try again later"
	case e.NoResources():
		return "The gateway is out of resources, try again later"
	case e.Class == ClassTemporary && e.Status != 0:
		return "The provider issues no token (" + e.said() + ")"
	case e.Class == ClassTemporary && e.Status == 0 && e.Err != nil && !e.waiting():
		return "The gateway cannot ask for a token, the operator must see its log"
	}
	return ""
}

// NoResources reports whether this machine, not the server, is in trouble.
func (e *Error) NoResources() bool {
	return errors.Is(e.Err, syscall.EMFILE) || errors.Is(e.Err, syscall.ENFILE) || errors.Is(e.Err, syscall.ENOBUFS) || errors.Is(e.Err, syscall.ENOMEM)
}

// waiting reports whether it was only a matter of time.
func (e *Error) waiting() bool {
	return strings.HasPrefix(e.Description, "waiting for") || strings.HasPrefix(e.Description, "no access token in time")
}
