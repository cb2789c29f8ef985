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

package caddymodule

// entraFailures are Microsoft's error codes. The longer codes stand before
// those that they begin with.
var entraFailures = []failure{
	{[]string{"aadsts700082"}, Explanation{
		ID:     "aadsts700082",
		Cause:  "The refresh token was not used for 90 days and has expired.",
		Remedy: "caddy smtp login ACCOUNT. keep_alive in oauth_tokens, on by default, prevents this.",
	}},
	{[]string{"aadsts7000012"}, Explanation{
		ID:     "aadsts7000012",
		Cause:  "The refresh token was granted in another tenant than `tenant` names.",
		Remedy: "Set the provider's `tenant` to the mailbox's own, or `common`, then: caddy smtp login ACCOUNT.",
	}},
	{[]string{"aadsts7000215"}, Explanation{
		ID:     "aadsts7000215",
		Cause:  "The client secret is wrong; often the secret's ID was copied in place of its value.",
		Remedy: "Make a new secret in the app registration, copy its *value* into client_secret, and reload.",
	}},
	{[]string{"aadsts7000222"}, Explanation{
		ID:     "aadsts7000222",
		Cause:  "The client secret or certificate has expired.",
		Remedy: "Make a new one in the app registration, put it into client_secret or client_certificate, and reload. secret_expires warns ahead of time.",
	}},
	{[]string{"aadsts7000218"}, Explanation{
		ID:     "aadsts7000218",
		Cause:  "The app registration is a confidential client, and the provider has no client_secret or client_certificate.",
		Remedy: "Configure one of them, or allow public client flows in the app registration.",
	}},
	{[]string{"aadsts700016"}, Explanation{
		ID:     "aadsts700016",
		Cause:  "The tenant does not know the application: client_id or tenant is wrong, or nobody there has consented yet.",
		Remedy: "Check client_id (the application ID, not the object ID) and tenant.",
	}},
	{[]string{"aadsts700027"}, Explanation{
		ID:     "aadsts700027",
		Cause:  "Microsoft does not know the certificate that signed the client assertion.",
		Remedy: "Upload the certificate of client_certificate to the app registration.",
	}},
	{[]string{"aadsts700024"}, Explanation{
		ID:         "aadsts700024",
		Cause:      "The client assertion is not valid at this time: the clock is wrong, or the federated token has expired.",
		Remedy:     "Set the clock by NTP; see that federated_token_file is kept fresh.",
		RetryHelps: true,
	}},
	{[]string{"aadsts900144"}, Explanation{
		ID:     "aadsts900144",
		Cause:  "The request lacks a parameter, usually the scope or the refresh token.",
		Remedy: "Check `scopes` of the provider, and that the account has a refresh token.",
	}},
	{[]string{"aadsts90002"}, Explanation{
		ID:     "aadsts90002",
		Cause:  "There is no tenant of this name.",
		Remedy: "Check the provider's `tenant` and `cloud`.",
	}},
	{[]string{"aadsts70000"}, Explanation{
		ID:     "aadsts70000",
		Cause:  "The refresh token is not valid for this application and these scopes: it is malformed, withdrawn, or was granted to another client_id or for other scopes.",
		Remedy: "Check client_id and scopes, then: caddy smtp login ACCOUNT.",
	}},
	{[]string{"aadsts65001"}, Explanation{
		ID:     "aadsts65001",
		Cause:  "Nobody has consented to the application for this mailbox.",
		Remedy: "caddy smtp login ACCOUNT as the mailbox's owner, or an administrator grants consent for the organization.",
	}},
	{[]string{"aadsts50194"}, Explanation{
		ID:     "aadsts50194",
		Cause:  "The application is for one tenant only and cannot be used through `common`.",
		Remedy: "Set the provider's `tenant` to the organization's.",
	}},
	{[]string{"aadsts50173|aadsts50132|aadsts50133"}, Explanation{
		ID:     "aadsts50173",
		Cause:  "The refresh token was withdrawn: the password was changed or reset, or an administrator revoked the sessions.",
		Remedy: "caddy smtp login ACCOUNT.",
	}},
	{[]string{"aadsts50076|aadsts50079|aadsts50074"}, Explanation{
		ID:     "aadsts50076",
		Cause:  "The organization now asks this user for a second factor.",
		Remedy: "caddy smtp login ACCOUNT, with the second factor, from an allowed place.",
	}},
	{[]string{"aadsts53003|aadsts530"}, Explanation{
		ID:     "aadsts53003",
		Cause:  "A Conditional Access policy blocks the sign-in from here.",
		Remedy: "An administrator finds the policy in the Entra sign-in log and lets the gateway's address or the application through. Device codes are often blocked while the browser login is not.",
	}},
	{[]string{"aadsts50034|aadsts50057"}, Explanation{
		ID:     "aadsts50034",
		Cause:  "The user does not exist in this tenant, or is disabled.",
		Remedy: "Check `mailbox` and `tenant`.",
	}},
	{[]string{"aadsts90033|aadsts90006|aadsts50196"}, Explanation{
		ID:         "aadsts_transient",
		Cause:      "Microsoft's token endpoint has a temporary trouble, or sees the same request too often.",
		Remedy:     "Wait; the gateway retries by itself.",
		RetryHelps: true,
	}},
}

// oauthFailures are answers of any authorization server (RFC 6749 section 5.2).
var oauthFailures = []failure{
	{[]string{"invalid_grant", "expired or revoked"}, Explanation{
		ID:     "google_token_revoked",
		Cause:  "Google's refresh token has expired or was withdrawn: consent was removed, the password was changed, it was not used for six months, or the app's publishing status is `Testing`, where tokens live seven days.",
		Remedy: "Publish the app (or make it internal to the Workspace), then: caddy smtp login ACCOUNT.",
	}},
	{[]string{"invalid_grant"}, Explanation{
		ID:     "invalid_grant",
		Cause:  "The refresh token is no longer valid. Nothing brings it back.",
		Remedy: "caddy smtp login ACCOUNT, as the mailbox's owner.",
	}},
	{[]string{"invalid_client|deleted_client"}, Explanation{
		ID:     "invalid_client",
		Cause:  "The authorization server does not accept the application: client_id or client_secret is wrong, expired or deleted.",
		Remedy: "Check both at the provider, mend them in the configuration, and reload.",
	}},
	{[]string{"unauthorized_client"}, Explanation{
		ID:     "unauthorized_client",
		Cause:  "The application may not use this grant or these scopes. For a Google service account: domain-wide delegation lacks the scope.",
		Remedy: "For a service account, a Workspace administrator adds its client ID with the scope https://mail.google.com/ under domain-wide delegation. Otherwise check the application's allowed grants.",
	}},
	{[]string{"invalid_scope"}, Explanation{
		ID:     "invalid_scope",
		Cause:  "The authorization server does not know the scopes, or does not give them to this application.",
		Remedy: "Check `scopes` of the provider.",
	}},
	{[]string{"admin_policy_enforced|access_denied|org_internal"}, Explanation{
		ID:     "access_denied",
		Cause:  "The user or a policy of the organization refused consent.",
		Remedy: "An administrator of the organization trusts the application; then: caddy smtp login ACCOUNT.",
	}},
	{[]string{"unsupported_grant_type"}, Explanation{
		ID:     "unsupported_grant_type",
		Cause:  "The authorization server does not support this grant.",
		Remedy: "Check `grant` and `token_url` of the provider.",
	}},
}
