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

// Entra's codes are those of
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
// It names them in `error_description`, whatever the OAuth error is.

const (
	loginAgain = "Run `caddy smtp login ACCOUNT`, as the mailbox's owner."
	// askedAgain goes with refusals that leave the refresh token good.
	askedAgain = " The token is kept and asked for again by itself; `caddy smtp test ACCOUNT` asks at once."
	waitOnly   = "None: it is tried again."
)

// How the refusals of authorization servers go on.
const (
	// config is mended in the gateway's or the app's configuration.
	config = iota
	// consent needs the mailbox's owner.
	consent
	// passing leaves the grant good: lifted, it works as before.
	passing
	// trouble goes away by itself.
	trouble
)

// entraCodes are rows for one or more AADSTS numbers.
var entraCodes = []struct {
	numbers       []string
	kind          int
	cause, remedy string
}{
	// The grant.
	{[]string{"70000"}, consent, "The grant is invalid: revoked, malformed, or it lacks the mail scope.", loginAgain},
	{[]string{"70008", "700081"}, consent, "The refresh token has expired.", loginAgain},
	{[]string{"700082"}, consent, "The refresh token was not used for 90 days and has lapsed.", loginAgain},
	{[]string{"700084"}, consent, "The refresh token was issued to a single-page app and lives 24 hours.", "Register the redirect URI as `Mobile and desktop` or `Web` in Entra, then run `caddy smtp login ACCOUNT`."},
	{[]string{"50173", "50132", "50133"}, consent, "The password was changed or has expired, or sessions were revoked, since the consent.", loginAgain},
	{[]string{"50089"}, consent, "The login took too long and has expired.", loginAgain},
	{[]string{"54005"}, consent, "The authorization code was used already.", loginAgain},
	{[]string{"70043", "70044"}, passing, "A Conditional Access policy sets a sign-in frequency, and the last sign-in is older than that.", "An administrator exempts the app or the mailbox from the policy's sign-in frequency; or run `caddy smtp login ACCOUNT` as often as the policy asks." + askedAgain},
	{[]string{"7000012"}, passing, "The consent was given in another tenant.", "Set `tenant` to the one of the mailbox, or run `caddy smtp login ACCOUNT`."},
	{[]string{"70016"}, trouble, "The user has not finished the login yet.", "Finish it in the browser."},
	{[]string{"70018", "70019", "70020"}, consent, "The code of the device login is wrong or has expired.", "Run `caddy smtp login ACCOUNT` again and finish it within 15 minutes."},
	{[]string{"9002313", "70003", "70005"}, config, "The request is malformed, mostly because of a damaged refresh token.", "Check the account's refresh_token, or run `caddy smtp login ACCOUNT`."},

	// Consent.
	{[]string{"65001"}, passing, "Neither the user nor an administrator has consented to this app for the mail scope.", loginAgain + " In many organizations an administrator has to grant consent for the tenant."},
	{[]string{"65004"}, passing, "The user declined the consent.", loginAgain},
	{[]string{"65005", "650052", "650053", "650057", "70011", "70012"}, config, "The app asks for a scope or a resource that it may not have: the name is wrong, or the app's registration lacks the permission.", "Check `scopes`, and add the API permission (SMTP.Send, or SMTP.SendAsApp for client credentials) to the app in Entra."},
	{[]string{"650056"}, config, "The app's registration lacks permissions, or an administrator's consent to them.", "Add the API permissions to the app in Entra; an administrator grants consent."},
	{[]string{"90093", "90094", "900941", "90095", "90099"}, passing, "The organization lets an administrator alone consent to this app.", "An administrator grants consent for the app in Entra; then: caddy smtp login ACCOUNT." + askedAgain},

	// Conditional Access: https://learn.microsoft.com/entra/identity/conditional-access/troubleshoot-conditional-access.
	{[]string{"53003"}, passing, "A Conditional Access policy blocks the app, its address or its kind of login.", "An administrator exempts the app or this host's address; the Entra sign-in log names the policy." + askedAgain},
	{[]string{"53000", "530002"}, passing, "A Conditional Access policy asks for a compliant device, which a server is not.", "An administrator exempts the app or the mailbox from the device policy." + askedAgain},
	{[]string{"53001", "50129"}, passing, "A Conditional Access policy asks for a device that is joined to the organization.", "An administrator exempts the app or the mailbox from the device policy." + askedAgain},
	{[]string{"50097"}, passing, "A policy asks for the authentication of the device.", "An administrator exempts the app or the mailbox from the device policy." + askedAgain},
	{[]string{"50005"}, passing, "A Conditional Access policy does not allow this platform.", "An administrator exempts the app or the mailbox from the policy." + askedAgain},
	{[]string{"53002", "53009"}, passing, "A Conditional Access policy allows approved or protected apps only.", "An administrator exempts the app from the policy." + askedAgain},
	{[]string{"53004"}, passing, "The user cannot enrol for multi-factor authentication because of suspicious activity.", "An administrator looks at the user's risk in Entra." + askedAgain},
	{[]string{"53011", "50131"}, passing, "A Conditional Access policy blocks the user because of a risk.", "An administrator looks at the risky users and the policy in Entra." + askedAgain},
	{[]string{"530003", "530004", "530032", "530031"}, passing, "A security policy of the organization blocks the app.", "An administrator finds the policy in the Entra sign-in log and exempts the app." + askedAgain},
	{[]string{"530034"}, passing, "Delegated administration is blocked because of a risk.", "An administrator looks at the sign-in log." + askedAgain},
	{[]string{"530035"}, passing, "The organization's security defaults block this kind of login.", "Log in by the browser (`caddy smtp login ACCOUNT`, not the device code), or an administrator replaces the security defaults by policies." + askedAgain},
	{[]string{"530084"}, passing, "A Conditional Access policy asks for token protection.", "An administrator exempts the app." + askedAgain},
	{[]string{"50158"}, passing, "An external provider asks for a further check, which was not passed.", "An administrator exempts the app; or run `caddy smtp login ACCOUNT`." + askedAgain},
	{[]string{"50076", "50074"}, passing, "Multi-factor authentication has become necessary.", "Run `caddy smtp login ACCOUNT`; or an administrator exempts the app or this host's address." + askedAgain},
	{[]string{"50078"}, passing, "The multi-factor authentication has expired.", "Run `caddy smtp login ACCOUNT`; or an administrator exempts the app." + askedAgain},
	{[]string{"50079", "50072", "50203"}, passing, "The user must enrol for multi-factor authentication.", "The owner enrols at https://aka.ms/mfasetup, then: caddy smtp login ACCOUNT." + askedAgain},
	{[]string{"500021", "500022", "500212"}, passing, "Tenant restrictions of a network forbid this tenant.", "The network's administrator allows the tenant, or the gateway uses another way out." + askedAgain},

	// The user.
	{[]string{"50053"}, passing, "The account is locked: too many logins with a wrong password, or from an address with a bad name.", "Wait until the lock ends, or an administrator lifts it; find out who guesses." + askedAgain},
	{[]string{"50055", "50144", "50142"}, passing, "The user's password has expired or has to be changed.", "The owner changes the password at https://account.microsoft.com or with the organization; then: caddy smtp login ACCOUNT." + askedAgain},
	{[]string{"50056", "50126"}, consent, "The user name or the password is wrong.", loginAgain},
	{[]string{"50057"}, passing, "The user is disabled.", "An administrator enables the user in Entra." + askedAgain},
	{[]string{"50034", "51004", "50020", "90072", "50178"}, passing, "The user does not exist in this tenant.", "Check the account's mailbox and `tenant`; a deleted user can be restored for 30 days." + askedAgain},
	{[]string{"50105"}, passing, "The user is not assigned to the app, which asks for that.", "An administrator assigns the user to the enterprise application in Entra, or switches `Assignment required` off." + askedAgain},
	{[]string{"50177"}, passing, "The app does not allow external users.", "Use a mailbox of the tenant, or an administrator changes the app." + askedAgain},
	{[]string{"135010"}, consent, "The key that the user logged in with (Windows Hello, a passkey, FIDO2) is not registered for the user any more.", "The owner logs in another way or registers the key anew at https://aka.ms/mysecurityinfo, then: caddy smtp login ACCOUNT."},
	{[]string{"50058", "16000", "50199"}, consent, "The user has to choose or confirm an identity at the browser.", loginAgain},
	{[]string{"70046", "50196"}, trouble, "Entra sees the same request too often in a short time.", waitOnly},

	// The app and its credentials.
	{[]string{"7000215"}, config, "The client secret is wrong; often its ID was copied in place of its value.", "Set `client_secret` to the secret's value."},
	{[]string{"7000222"}, config, "The client secret has expired.", "Make a new secret in Entra and set `client_secret`."},
	{[]string{"7000218", "7000216", "7000214"}, config, "The app is registered as confidential and sent no secret or assertion.", "Set `client_secret` or a certificate, or allow public client flows for the app in Entra."},
	{[]string{"700025"}, config, "The app is registered as public and must not send a secret.", "Remove `client_secret`, or register the redirect URI as `Web`."},
	{[]string{"700027", "700030"}, config, "The client certificate is not the one registered for the app, or the clock is wrong.", "Upload the certificate to the app in Entra; check the clock."},
	{[]string{"700024", "500133"}, config, "The client assertion is not valid at this time: the clock is wrong, or the federated token has expired.", "Set the clock; keep federated_token_file fresh."},
	{[]string{"700023", "50013", "50012"}, config, "The client assertion is not valid: its audience, issuer or signature is wrong.", "Check `token_url` and `tenant`, and the certificate or federated token."},
	{[]string{"70021", "700211", "700212", "700213", "700223"}, config, "No federated credential of the app matches the token's issuer, subject or audience.", "Compare the federated credential in Entra with the token's claims: each must be equal to the letter."},
	{[]string{"700016", "70001"}, config, "The app is not known in the account's tenant.", "Check `client_id` and `tenant`; an administrator of the tenant may have to consent."},
	{[]string{"7000112"}, passing, "The app is disabled.", "An administrator enables the enterprise application in Entra." + askedAgain},
	{[]string{"7000229"}, config, "The app has no enterprise application in this tenant.", "An administrator grants consent for the app in the tenant, which makes one."},
	{[]string{"70002"}, config, "Entra does not accept the app's credentials.", "Check `client_id`, `client_secret` or the certificate."},
	{[]string{"500011"}, config, "The resource that the scope names is not in this tenant: the scope is wrong, or the tenant has no Exchange Online.", "Check `scopes` (https://outlook.office.com/SMTP.Send, or https://outlook.office365.com/.default for client credentials), `cloud` and `tenant`."},
	{[]string{"500014"}, passing, "The resource is disabled in this tenant, mostly because the organization has no subscription to it any more.", "An administrator looks at the subscription and at the enterprise application in Entra." + askedAgain},
	{[]string{"28000", "28002", "28003"}, config, "The request names scopes of more than one resource, or none that is valid; Entra gives a token for one.", "Keep the scopes of one resource in `scopes`."},
	{[]string{"90002", "900023"}, config, "The tenant does not exist.", "Check `tenant`, and `cloud` for national clouds."},
	{[]string{"50194"}, config, "The app is for one tenant only and cannot be used through `common`.", "Set `tenant`."},
	{[]string{"50059", "50128", "90019"}, config, "Entra cannot tell which tenant is meant.", "Set `tenant` to the organization's."},
	{[]string{"9001023", "900382", "900439"}, config, "This kind of login is not allowed through this tenant or cloud.", "Set `tenant` to the organization's own, and `cloud`."},
	{[]string{"900144", "90014"}, config, "A parameter is missing from the request, mostly the scope.", "Set `scopes`."},
	{[]string{"9002326", "9002327"}, config, "The redirect URI is registered for a single-page app.", "Register it as `Mobile and desktop` or `Web` in Entra."},
	{[]string{"501481", "50148"}, consent, "The login was not finished by the one who began it (PKCE).", "Run `caddy smtp login ACCOUNT` again, and use the address that it prints."},
	{[]string{"500113"}, config, "The app has no redirect URI.", "Register http://localhost as `Mobile and desktop` in Entra."},
	{[]string{"7000113", "7000114"}, config, "The app may not use this grant.", "Check `grant`, and the app's registration in Entra."},

	// Entra itself.
	{[]string{"90033", "90006", "90012", "90025", "90023"}, trouble, "Entra has a temporary trouble.", waitOnly},
	{[]string{"90055"}, trouble, "There are too many requests for this tenant.", "Lower `max_per_second`; it is tried again."},
}

func entraRows() []row {
	rows := make([]row, 0, 2*len(entraCodes))
	for _, e := range entraCodes {
		for _, n := range e.numbers {
			rows = append(rows, row{codes: []string{"aadsts" + n}, isOAuth: true, Explanation: Explanation{
				ID: "aadsts" + n, Cause: e.cause, Remedy: e.remedy, RetryHelps: e.kind == trouble, Consent: e.kind == consent,
			}})
		}
	}
	return rows
}
