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

// microsoftFailures are replies of Exchange Online and Outlook.com.
var microsoftFailures = []failure{
	{[]string{"5.7.139", "smtpclientauthentication is disabled for the tenant"}, Explanation{
		ID:     "ms_smtp_auth_disabled_tenant",
		Cause:  "SMTP AUTH is switched off for the whole Microsoft 365 organization. The switch stops OAuth too.",
		Remedy: "An Exchange administrator enables it for this mailbox alone: `Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false` (or for all: `Set-TransportConfig -SmtpClientAuthenticationDisabled $false`). It takes some minutes to arrive.",
	}},
	{[]string{"5.7.139", "smtpclientauthentication is disabled for the mailbox"}, Explanation{
		ID:     "ms_smtp_auth_disabled_mailbox",
		Cause:  "SMTP AUTH is switched off for this mailbox. The switch stops OAuth too.",
		Remedy: "An Exchange administrator runs `Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false`, or ticks `Authenticated SMTP` among the mailbox's mail apps in the Microsoft 365 admin center.",
	}},
	{[]string{"5.7.139|5.7.30|5.7.57", "basic authentication is disabled|basic authentication is not supported"}, Explanation{
		ID:     "ms_basic_auth_disabled",
		Cause:  "The upstream logs in with a password, which Microsoft no longer accepts here.",
		Remedy: "Use OAuth: `auth xoauth2 PROVIDER` in the upstream, and `caddy smtp login ACCOUNT` or client credentials.",
	}},
	{[]string{"5.7.139", "security defaults"}, Explanation{
		ID:     "ms_security_defaults",
		Cause:  "The organization's security defaults block this kind of sign-in.",
		Remedy: "Use OAuth (`auth xoauth2`). If the upstream does already, an administrator looks up the attempt in the Entra sign-in log; it names the policy.",
	}},
	{[]string{"5.7.139", "did not meet the criteria"}, Explanation{
		ID:     "ms_criteria",
		Cause:  "A policy of the organization (authentication policy, Conditional Access or security defaults) refused the sign-in, or the mailbox name and the token do not belong together.",
		Remedy: "Check that `mailbox` is the mailbox the token was granted for. An administrator finds the attempt, with the policy's name, in the Entra sign-in log.",
	}},
	{[]string{"5.7.139", "credentials were incorrect"}, Explanation{
		ID:     "ms_credentials",
		Cause:  "Microsoft does not accept the token for this mailbox.",
		Remedy: "Check that `mailbox` is the mailbox the token was granted for; if so, ask for consent again: caddy smtp login ACCOUNT.",
	}},
	{[]string{"5.7.139"}, Explanation{
		ID:     "ms_5_7_139",
		Cause:  "Microsoft refused the sign-in because of a setting of the organization or the mailbox; the reply's text says which.",
		Remedy: "Enable Authenticated SMTP for the mailbox, and look up the attempt in the Entra sign-in log.",
	}},
	{[]string{"430 4.2.0|4.2.0", "storedrv", "logon failure|mailbox logon"}, Explanation{
		ID:     "ms_storedrv_logon",
		Cause:  "The application (client credentials) may not use this mailbox. The reply looks temporary and is not.",
		Remedy: "An Exchange administrator runs `New-ServicePrincipal` with the object ID of the *enterprise application* (not of the app registration), then `Add-MailboxPermission -Identity MAILBOX -User SERVICE_PRINCIPAL -AccessRights FullAccess`. With RBAC for applications, the app must not have the SMTP.SendAsApp permission as well.",
	}},
	{[]string{"5.7.3 authentication unsuccessful"}, Explanation{
		ID:     "ms_5_7_3",
		Cause:  "The token is not good for SMTP on this mailbox: it is for another audience or scope, another tenant, or another user than `mailbox`.",
		Remedy: "The scope must be https://outlook.office.com/SMTP.Send (with consent of a user) or https://outlook.office365.com/.default (client credentials). `tenant` must be the mailbox's, `mailbox` the user who gave consent. The token's audience, scopes and tenant stand in the token step above.",
	}},
	{[]string{"5.2.252"}, Explanation{
		ID:     "ms_send_as_denied",
		Cause:  "The mailbox may not send as the message's From or MAIL FROM address.",
		Remedy: "Send as the mailbox itself, or give it the right: `Add-RecipientPermission SENDER -Trustee MAILBOX -AccessRights SendAs`. A new right takes up to an hour. `senders` in the account refuses wrong addresses before they reach Microsoft.",
	}},
	{[]string{"5.7.60"}, Explanation{
		ID:     "ms_client_send_as",
		Cause:  "The client has no permission to send as this sender: MAIL FROM or From is neither the mailbox nor one it may send as.",
		Remedy: "Send as the mailbox itself, or give it the right: `Add-RecipientPermission SENDER -Trustee MAILBOX -AccessRights SendAs`.",
	}},
	{[]string{"sender thread limit exceeded"}, Explanation{
		ID:         "ms_sender_threads",
		Cause:      "Too many messages of this mailbox are being submitted at once.",
		Remedy:     "Keep max_conns_per_account at 3 or lower, and see whether another program sends with the same mailbox.",
		RetryHelps: true,
	}},
	{[]string{"432 4.3.2|432-4.3.2|concurrent connections limit"}, Explanation{
		ID:         "ms_concurrent_connections",
		Cause:      "More than 3 connections of this mailbox are open at Microsoft.",
		Remedy:     "Keep max_conns_per_account at 3 or lower; if it is, another program uses the mailbox too, or another gateway shares it.",
		RetryHelps: true,
	}},
	{[]string{"submissionquotaexceeded|550 5.1.90"}, Explanation{
		ID:         "ms_recipient_quota",
		Cause:      "The mailbox has used up its 10,000 recipients per day.",
		Remedy:     "Wait for the sliding 24 hours, or spread the mail over more mailboxes. recipients_per_account stops at the limit before Microsoft does.",
		RetryHelps: true,
	}},
	{[]string{"554 5.2.2|mailboxfull|quotaexceededexception"}, Explanation{
		ID:     "ms_mailbox_full",
		Cause:  "The mailbox is full. Each message's copy goes to Sent Items, so a full mailbox cannot send.",
		Remedy: "Empty the mailbox, or have an administrator raise its quota.",
	}},
	{[]string{"5.5.105"}, Explanation{
		ID:     "ms_hve_internal",
		Cause:  "High Volume Email sends to recipients inside the organization only.",
		Remedy: "Use the upstream preset microsoft365 for outside recipients.",
	}},
	{[]string{"5.5.127"}, Explanation{
		ID:         "ms_hve_token",
		Cause:      "High Volume Email wants tokens that live at least ten minutes longer.",
		Remedy:     "Set refresh_ahead above 10m.",
		RetryHelps: true,
	}},
	{[]string{"total session duration"}, Explanation{
		ID:         "ms_session_duration",
		Cause:      "Microsoft closes a session after 20 minutes.",
		Remedy:     "Keep max_age under 18m.",
		RetryHelps: true,
	}},
}

// googleFailures are replies of Gmail and Google Workspace.
var googleFailures = []failure{
	{[]string{`"status":"400"|"status": "400"`, "schemes"}, Explanation{
		ID:     "google_challenge_400",
		Cause:  "Google could not read the token or the mailbox name: it is not an access token, or the mailbox is not a Google account.",
		Remedy: "Check `mailbox`, and ask for consent again: caddy smtp login ACCOUNT.",
	}},
	{[]string{`"status":"40|"status": "40`, "schemes"}, Explanation{
		ID:     "google_challenge",
		Cause:  "Google does not accept the token for this mailbox: its scope is not https://mail.google.com/, it was granted by another user, or consent was withdrawn.",
		Remedy: "SMTP needs the scope https://mail.google.com/ (gmail.send is only for the API). Check that `mailbox` is the account that gave consent, then: caddy smtp login ACCOUNT. In Workspace an administrator may have restricted the app.",
	}},
	{[]string{"4.7.0", "too many login"}, Explanation{
		ID:         "google_too_many_logins",
		Cause:      "Too many logins of this account in a short time.",
		Remedy:     "Wait; the gateway backs off by itself. Logins are saved by connections that live longer: raise max_messages_per_conn and idle_timeout, lower max_conns_per_account.",
		RetryHelps: true,
	}},
	{[]string{"550 5.4.5|daily user sending"}, Explanation{
		ID:         "google_daily_limit",
		Cause:      "The account has used up its messages of the day (2,000 with Workspace, 500 without).",
		Remedy:     "Wait for the sliding 24 hours. messages_per_account stops at the limit before Google does.",
		RetryHelps: true,
	}},
	{[]string{"5.7.9", "application-specific password"}, Explanation{
		ID:     "google_app_password",
		Cause:  "The upstream logs in with the account's own password, which Google no longer accepts.",
		Remedy: "Use OAuth (`auth xoauth2`), or an app password as the account's secret.",
	}},
	{[]string{"5.7.8", "username and password not accepted|badcredentials"}, Explanation{
		ID:     "google_bad_credentials",
		Cause:  "Google refused the login: the token or password does not belong to this mailbox, or was withdrawn.",
		Remedy: "Check `mailbox`, then ask for consent again: caddy smtp login ACCOUNT.",
	}},
	{[]string{"temporary system problem"}, Explanation{
		ID:         "google_temporary",
		Cause:      "Google has a temporary trouble, or slows this sender down.",
		Remedy:     "Wait, and send more slowly if it comes back.",
		RetryHelps: true,
	}},
	{[]string{"452 4.5.3"}, Explanation{
		ID:         "too_many_recipients",
		Cause:      "The message has more recipients than the provider takes at once (Gmail: 100, Microsoft: 500 unless raised).",
		Remedy:     "Send the rest in another message; MTAs do so by themselves.",
		RetryHelps: true,
	}},
	{[]string{"5.7.1", "relay|registered"}, Explanation{
		ID:     "relay_denied",
		Cause:  "The provider does not relay for this sender or from this address.",
		Remedy: "For smtp-relay.gmail.com an administrator adds the gateway's public address, or requires SMTP authentication, in the Workspace SMTP relay settings; the sender's domain must be the organization's.",
	}},
	{[]string{"450 4.2.1"}, Explanation{
		ID:         "recipient_rate",
		Cause:      "The recipient gets mail too quickly just now.",
		Remedy:     "Wait, and send more slowly to this recipient.",
		RetryHelps: true,
	}},
	{[]string{"555 5.5.2"}, Explanation{
		ID:     "line_too_long",
		Cause:  "The provider found a command line too long, usually an AUTH line with its token.",
		Remedy: "The gateway sends long tokens in a second step; report this as a defect.",
	}},
}

// otherProviderFailures are replies of Yahoo, Zoho and others.
var otherProviderFailures = []failure{
	{[]string{"#auth005"}, Explanation{
		ID:         "yahoo_bad_auth_attempts",
		Cause:      "Yahoo locked the login after too many failures.",
		Remedy:     "Mend the login first, then wait an hour.",
		RetryHelps: true,
	}},
	{[]string{"550 5.4.6"}, Explanation{
		ID:         "zoho_limit",
		Cause:      "Zoho's sending limit is reached, or the account is blocked for unusual activity.",
		Remedy:     "See the account's page at Zoho; wait an hour.",
		RetryHelps: true,
	}},
	{[]string{"554 5.1.8"}, Explanation{
		ID:     "zoho_blocked",
		Cause:  "The provider blocked the sender.",
		Remedy: "See the account's page at the provider.",
	}},
	{[]string{"needs consent|reauth|consent again"}, Explanation{
		ID:     "consent_required",
		Cause:  "The account has no token that can be refreshed.",
		Remedy: "caddy smtp login ACCOUNT, as the mailbox's owner.",
	}},
}
