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

// apiRow makes the row of an API's error code.
func apiRow(id string, again bool, codes, words []string, cause, remedy string) row {
	return row{codes: codes, words: words, Explanation: Explanation{ID: id, Cause: cause, Remedy: remedy, RetryHelps: again}}
}

// apiRows are error codes of Microsoft Graph
// (https://learn.microsoft.com/graph/errors, https://learn.microsoft.com/graph/throttling-limits)
// and of the Gmail API (https://developers.google.com/workspace/gmail/api/guides/handle-errors).
// The statuses of HTTP (RFC 9110 section 15.6) are those that come without a code, or with one
// that is not known.
var apiRows = []row{
	apiRow("graph_token", final, []string{"invalidauthenticationtoken", "compacttoken"}, nil, "Graph does not accept the token: it has expired, or was issued for another resource (an Outlook token at Graph).",
		"The scope must be https://graph.microsoft.com/Mail.Send, or https://graph.microsoft.com/.default for client credentials; then: caddy smtp login ACCOUNT."),
	apiRow("graph_revoked", final, []string{"invalidauthenticationtoken"}, []string{"continuous access evaluation|interactionrequired|revo"}, "The user's sessions were revoked, or a policy of the organization wants the user to log in again.", "caddy smtp login ACCOUNT; or an administrator exempts the app from the Conditional Access policy."),
	apiRow("graph_claims", final, []string{"insufficient_claims", "tokenissuedbeforerevocationtimestamp"}, nil, "A policy of the organization wants the user to log in again.", "caddy smtp login ACCOUNT; or an administrator exempts the app from the Conditional Access policy."),
	apiRow("graph_access_denied", final, []string{"erroraccessdenied"}, nil, "The app may not send for this mailbox: the permission Mail.Send is missing, the mailbox is outside the app's scope, or the user who consented is not the mailbox's and has no right to it.",
		"App-only: `Test-ServicePrincipalAuthorization -Identity APP -Resource MAILBOX` tells an Exchange administrator whether the mailbox is in scope; else Mail.Send lacks an administrator's consent in Entra. A change takes up to 2 hours. Delegated: caddy smtp login ACCOUNT, as the mailbox's own user."),
	apiRow("graph_access_policy", final, []string{"erroraccessdenied"}, []string{"access to odata is disabled|raop|accesspolicy"}, "Exchange shuts the app out of this mailbox: an application access policy of the tenant does not let it in.",
		"An Exchange administrator looks with `Test-ApplicationAccessPolicy -Identity MAILBOX -AppId APP`, and adds the mailbox to the policy's group. It takes up to 2 hours."),
	apiRow("graph_request_denied", final, []string{"authorization_requestdenied"}, nil, "The app lacks a permission in Entra.", "An administrator adds Mail.Send to the app's API permissions and grants consent."),
	apiRow("graph_send_as_denied", final, []string{"errorsendasdenied", "errorsendonbehalfofdenied"}, nil, "The mailbox may not send as the message's From address (no Send As right), or From holds an `@` in its display name without quotes.",
		"Send as the mailbox itself, or an Exchange administrator gives it the right: `Add-RecipientPermission SENDER -Trustee MAILBOX -AccessRights SendAs`; quote the display name."),
	apiRow("graph_no_mailbox", final, []string{"mailboxnotenabledforrestapi", "mailboxnotsupportedforrestapi", "extensionerror"}, nil, "The user has no mailbox in Exchange Online: no licence, a mailbox on premises or deleted, a guest of the tenant, or one that was made just now.",
		"An administrator checks the licence and, with `Get-Recipient MAILBOX`, where the mailbox is: on premises (MailUser) it can be sent from by no API. A new mailbox takes some minutes."),
	apiRow("graph_no_user", final, []string{"resourcenotfound", "request_resourcenotfound", "errorinvaliduser", "errornonexistentmailbox", "erroritemnotfound"}, nil, "There is no such user in the tenant.", "Check the account's mailbox, and `tenant`."),
	apiRow("graph_recipients", final, []string{"errorinvalidrecipients", "errorinvalidsmtpaddress"}, nil, "A recipient's address is malformed, or the message has none; Graph does not say which.", "Check the recipients in the message's header."),
	apiRow("graph_mime", final, []string{"errormimecontentinvalid", "errormimecontentinvalidbase64string", "errormimecontentconversionfailed"}, nil, "Graph cannot read the message.", "Look at the message's header and structure, and at the client that wrote it."),
	apiRow("graph_too_big", final, []string{"errormessagesizeexceeded", "requestentitytoolarge"}, nil, "The message is larger than Graph takes (about 3 MB), or than the mailbox's own limit.", "Send large messages through SMTP (`transport smtp`), or smaller ones."),
	apiRow("api_too_big", final, nil, []string{"http 413|request entity too large|payload too large"}, "The message is larger than the provider's API takes (about 3 MB at Microsoft Graph, 35 MB at the Gmail API).", "Send large messages through SMTP (`transport smtp`), or smaller ones."),
	apiRow("graph_mailbox_full", final, []string{"errorquotaexceeded"}, nil, "The mailbox is full. Each message's copy goes to Sent Items, so a full mailbox cannot send.", "Empty the mailbox, or have an administrator raise its quota."),
	apiRow("graph_sending_limit", passes, []string{
		"errorsubmissionquotaexceeded", "errorexceededmessagelimit", "errorexceededhourlymessagelimit", "errormessagethrottled",
		"errorexceededmessagelimitshowtierupgrade", "errorexceededhourlymessagelimitshowtierupgrade",
	}, nil, "The mailbox has reached its sending limit (10,000 recipients a day, 30 messages a minute; less for personal mailboxes).", "Wait: an hour, or the sliding 24 hours. recipients_per_account stops at the limit before Microsoft does."),
	apiRow("graph_too_many_recipients", final, []string{"errorexceededmaxrecipientlimit", "errorexceededmaxrecipientlimitshowtierupgrade"}, nil, "The message has more recipients than the mailbox may send to at once (500 unless changed).", "Send the rest in another message."),
	apiRow("graph_blocked", final, []string{"erroraccountsuspend", "erroraccountsuspendshowtierupgrade", "errormessagesubmissionblocked"}, nil, "The mailbox is blocked: it has sent, or seemed to send, spam.", "An administrator secures the account and releases it under Restricted entities in the Defender portal; the owner of a personal mailbox signs in at https://outlook.live.com and follows the warning."),
	apiRow("graph_throttled", passes, []string{"applicationthrottled", "toomanyrequests", "activitylimitreached", "commandconcurrencylimitreached"}, nil, "Too many requests for this mailbox: 4 at once, 10,000 in 10 minutes, 150 MB in 5 minutes.", "Wait as long as the reply says. See whether another program uses the mailbox through the same app."),
	apiRow("graph_busy", passes, []string{"errorserverbusy", "servicenotavailable", "errormailboxstoreunavailable", "errormailboxmoveinprogress", "errorinternalservertransienterror"}, nil, "Microsoft's servers are busy, or the mailbox is being moved.", "Wait; the client tries again."),

	apiRow("api_token", final, nil, []string{"log in again: http 401|log in again: unauthenticated"}, "The provider's API does not accept the token.", "Check `scopes` of the provider and the upstream, which must be the API's; then: caddy smtp login ACCOUNT, as the mailbox's owner."),
	apiRow("http_429", passes, nil, []string{"http 429, try again"}, "Too many requests for this mailbox, or for the app.", "Wait as long as the reply says. See whether another program uses the mailbox through the same app."),
	apiRow("http_507", final, nil, []string{"http 507"}, "The mailbox is full. Each message's copy goes to Sent Items, so a full mailbox cannot send.", "Empty the mailbox, or have an administrator raise its quota."),
	apiRow("http_500", passes, []string{"http 500"}, nil, "The request failed within the provider's servers, which give no reason.",
		"Wait; the client tries again, unless the reply says that the message may have been sent: look into Sent Items first. If it goes on, see the provider's status page."),
	apiRow("http_502", passes, []string{"http 502"}, nil, "A server between, the provider's own or a proxy of this network, got no good answer from the one behind it.",
		"Wait; the client tries again. If it goes on, see the provider's status page, and `network_proxy` if there is one."),
	apiRow("http_503", passes, []string{"http 503"}, nil, "The provider's servers are overloaded or under repair.", "Wait as long as the reply says; the client tries again."),
	apiRow("http_504", passes, []string{"http 504"}, nil, "A server between, the provider's own or a proxy of this network, got an answer not in time from the one behind it.",
		"Wait; the client tries again, unless the reply says that the message may have been sent: look into Sent Items first. If it goes on, see the provider's status page."),

	apiRow("gmail_token", final, []string{"autherror", "access_token_expired", "account_state_invalid", "credentials_missing", "access_token_type_unsupported"}, nil, "The Gmail API does not accept the token.", "caddy smtp login ACCOUNT, as the mailbox's owner."),
	apiRow("gmail_scope", final, []string{"insufficientpermissions", "access_token_scope_insufficient"}, nil, "The permission to send was not granted: its box was left unticked on the consent page, or `scopes` lacks it.", "caddy smtp login ACCOUNT, and tick the box `Send email on your behalf`."),
	apiRow("gmail_api_off", final, []string{"accessnotconfigured", "service_disabled"}, nil, "The Gmail API is not enabled in the Google Cloud project of the client.", "Enable it in the Cloud console, under APIs & Services; it takes some minutes."),
	apiRow("gmail_domain_policy", final, []string{"domainpolicy", "user_blocked_by_admin", "org_restriction_violation"}, nil, "The Workspace organization does not allow the app, or has Gmail switched off.", "An administrator trusts the app in the Workspace admin console, under API controls."),
	apiRow("gmail_delegation", final, []string{"forbidden"}, []string{"delegation denied"}, "The token belongs to another user than the account's mailbox.", "Check `mailbox`; with a service account its domain-wide delegation needs the scope of the Gmail API."),
	apiRow("gmail_denied", final, nil, []string{"5.7.1 permission_denied"}, "Google does not let the app send for this mailbox, for a reason that only its message names.", "Look the message up in the Gmail API's documentation; in Workspace an administrator finds the app under API controls."),
	apiRow("gmail_not_enabled", final, []string{"failedprecondition", "failed_precondition"}, nil, "The Google account has no Gmail, or the service account acts for no user.", "Check `mailbox`, and whether Gmail is switched on for it."),
	apiRow("gmail_recipients", final, []string{"invalidargument", "invalid_argument"}, []string{"recipient|to header|cc header|bcc header"}, "A recipient's address is malformed, or the message has none.", "Check the recipients in the message's header."),
	apiRow("gmail_message", final, []string{"invalidargument", "invalid_argument"}, nil, "The Gmail API cannot read the message, or does not take an attachment.", "Look at the message's header and attachments."),
	apiRow("gmail_sending_limit", passes, []string{"ratelimitexceeded", "userratelimitexceeded", "rate_limit_exceeded"}, []string{"mail sending"}, "The account has reached its sending limit.", "Wait until the time in the reply, or for the sliding 24 hours."),
	apiRow("gmail_rate", passes, []string{"ratelimitexceeded", "userratelimitexceeded", "rate_limit_exceeded", "resource_exhausted"}, nil, "The limit of requests a minute for this user or client is reached.", "Wait until the time in the reply."),
	apiRow("gmail_project_quota", passes, []string{"dailylimitexceeded", "quotaexceeded"}, nil, "The Google Cloud project has used up its quota of the day.", "Wait until the next day, or raise the quota in the Cloud console."),
	apiRow("gmail_trouble", passes, []string{"backenderror"}, nil, "Google has a temporary trouble.", "Wait; the client tries again, unless the reply says that the message may have been sent."),
}
