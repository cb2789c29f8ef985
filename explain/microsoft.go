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

// microsoftRows are replies of Exchange Online and Outlook.com. Sources:
// https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online,
// https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements,
// https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission.
var microsoftRows = []row{
	// The login.
	{
		codes: []string{"5.7.139"}, words: []string{"smtpclientauthentication is disabled for the tenant"}, personal: &noPersonalSMTP,
		Explanation: Explanation{
			ID:     "ms_smtp_auth_disabled_tenant",
			Cause:  "SMTP AUTH is switched off for the whole Microsoft 365 organization. The switch stops OAuth too.",
			Remedy: "An Exchange administrator enables it for this mailbox alone: `Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false` (or for all: `Set-TransportConfig -SmtpClientAuthenticationDisabled $false`). It takes some minutes to arrive. Where it stays off, Microsoft Graph sends without it: `caddy smtp setup --transport graph`.",
		},
	},
	{
		codes: []string{"5.7.139"}, words: []string{"smtpclientauthentication is disabled for the mailbox"}, personal: &noPersonalSMTP,
		Explanation: Explanation{
			ID:     "ms_smtp_auth_disabled_mailbox",
			Cause:  "SMTP AUTH is switched off for this mailbox. The switch stops OAuth too.",
			Remedy: "An Exchange administrator runs `Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false`, or ticks `Authenticated SMTP` among the mailbox's mail apps in the Microsoft 365 admin center. Where it stays off, Microsoft Graph sends without it: `caddy smtp setup --transport graph`.",
		},
	},
	{
		codes: []string{"5.7.139", "5.7.30", "5.7.57"}, words: []string{"basic authentication is disabled|basic authentication is not supported"},
		Explanation: Explanation{
			ID:     "ms_basic_auth_disabled",
			Cause:  "The upstream logs in with a password, which Microsoft no longer accepts here.",
			Remedy: "Use OAuth: `auth xoauth2 PROVIDER` in the upstream, and `caddy smtp login ACCOUNT` or client credentials.",
		},
	},
	smtpRow("ms_basic_auth_gone", final, "5.7.30", "", "Microsoft no longer takes passwords for sending (basic authentication).",
		"Use OAuth: `auth xoauth2 PROVIDER` in the upstream, and `caddy smtp login ACCOUNT` or client credentials."),
	{
		codes: []string{"5.7.139"}, words: []string{"security defaults"},
		Explanation: Explanation{
			ID:     "ms_security_defaults",
			Cause:  "The organization's security defaults block this kind of sign-in.",
			Remedy: "Use OAuth (`auth xoauth2`). If the upstream does already, an administrator looks up the attempt in the Entra sign-in log; it names the policy.",
		},
	},
	{
		codes: []string{"5.7.139"}, words: []string{"did not meet the criteria"},
		personal: &wording{
			"Microsoft's checks refused the sign-in, or the mailbox name and the token do not belong together.",
			"Check that `mailbox` is the one that gave consent. Then sign in at https://account.microsoft.com, look for a warning under Security, and run `caddy smtp login ACCOUNT` again.",
		},
		Explanation: Explanation{
			ID:     "ms_criteria",
			Cause:  "A policy of the organization (authentication policy, Conditional Access or security defaults) refused the sign-in, or the mailbox name and the token do not belong together.",
			Remedy: "Check that `mailbox` is the mailbox the token was granted for. An administrator finds the attempt, with the policy's name, in the Entra sign-in log.",
		},
	},
	{
		codes: []string{"5.7.139"}, words: []string{"locked"},
		Explanation: Explanation{
			ID:     "ms_locked",
			Cause:  "The user is locked: too many failed logins, or a policy of the organization.",
			Remedy: "An administrator looks at the user and at the sign-in log in Entra.",
		},
	},
	{
		codes: []string{"5.7.139"}, words: []string{"credentials were incorrect"},
		Explanation: Explanation{
			ID:     "ms_credentials",
			Cause:  "Microsoft does not accept the token for this mailbox.",
			Remedy: "Check that `mailbox` is the mailbox the token was granted for; if so, ask for consent again: caddy smtp login ACCOUNT.",
		},
	},
	{
		codes: []string{"5.7.139"},
		personal: &wording{
			"Microsoft refused the sign-in of this personal mailbox; the reply's text says why.",
			"Sign in at https://account.microsoft.com, look for a warning there, and run `caddy smtp login ACCOUNT` again. If that does not help, this mailbox may not send by SMTP: use Microsoft Graph.",
		},
		Explanation: Explanation{
			ID:     "ms_5_7_139",
			Cause:  "Microsoft refused the sign-in because of a setting of the organization or the mailbox; the reply's text says which.",
			Remedy: "Enable Authenticated SMTP for the mailbox, and look up the attempt in the Entra sign-in log.",
		},
	},
	{
		codes: []string{"4.2.0", "5.2.0", "4.3.2"}, words: []string{"storedrv|mailbox logon", "logon failure|mailbox logon|logondenied"},
		Explanation: Explanation{
			ID:     "ms_storedrv_logon",
			Cause:  "The application (client credentials) may not use this mailbox. The reply looks temporary and is not.",
			Remedy: "An Exchange administrator runs `New-ServicePrincipal` with the object ID of the *enterprise application* (not of the app registration), then `Add-MailboxPermission -Identity MAILBOX -User SERVICE_PRINCIPAL -AccessRights FullAccess`. With RBAC for applications, the app must not have the SMTP.SendAsApp permission as well.",
		},
	},
	{
		codes: []string{"5.7.3"},
		Explanation: Explanation{
			ID:     "ms_5_7_3",
			Cause:  "The token is not good for SMTP on this mailbox: it is for another audience or scope, another tenant, or another user than `mailbox`.",
			Remedy: "The scope must be https://outlook.office.com/SMTP.Send (with consent of a user) or https://outlook.office365.com/.default (client credentials). `tenant` must be the mailbox's, `mailbox` the user who gave consent. The token's audience, scopes and tenant stand in the token step above.",
		},
		personal: &wording{
			"The token is not good for SMTP on this mailbox: it is for another scope, or for another user than `mailbox`.",
			"The scope must be https://outlook.office.com/SMTP.Send and `mailbox` the user who gave consent; then: caddy smtp login ACCOUNT.",
		},
	},
	smtpRow("ms_not_logged_in", passes, "5.7.57", "", "The provider holds the session for one without a login: it has forgotten the login, or lost it with a connection that was replaced.",
		"None, if it is rare: the gateway logs in again on a new connection. If it comes back each time, run `caddy smtp test ACCOUNT` and look at the step `login`."),

	// The sender.
	smtpRow("ms_send_as_denied", final, "5.2.252", "",
		"The mailbox may not send as the message's From or MAIL FROM address (no Send As right).", sendAsRemedy),
	smtpRow("ms_send_as_denied_storedrv", final, "5.2.0 5.7.60 5.7.0 5.2.1", "sendasdenied",
		"The mailbox may not send as the message's From or MAIL FROM address (no Send As right).", sendAsRemedy),
	smtpRow("ms_client_send_as", final, "5.7.60", "",
		"The client has no permission to send as this sender: MAIL FROM or From is neither the mailbox nor one it may send as.", sendAsRemedy),
	smtpRow("ms_on_behalf_denied", final, "5.7.0 5.2.0", "sendonbehalf", "The mailbox may not send on behalf of the message's sender.", sendAsRemedy),
	smtpRow("ms_blocked_sender", final, "5.1.8", "", "The provider blocked the sender: it has sent, or seemed to send, spam.",
		"At Microsoft an administrator finds out why, and releases the mailbox under Restricted entities in the Defender portal; elsewhere see the account's page at the provider."),
	smtpRow("ms_banned_sender", final, "5.7.501 5.7.502 5.7.503", "", "The mailbox is banned from sending because of spam.",
		"An administrator secures the account (password, sessions, rules), then releases it under Restricted entities in the Defender portal."),
	smtpRow("ms_suspicious", final, "5.7.500", "", "Microsoft takes no mail from this sender or from the gateway's IP address: it looks suspicious, or like spam. The number behind AS names the rule.",
		"An administrator looks the message up in the message trace and at the sender in the Defender portal; if only the gateway's address is meant, send from another (`source_ip`) or ask for its removal at https://sender.office.com."),
	smtpRow("ms_banned_domain", final, "5.7.511", "", "The sender is banned by Microsoft.", "Write to delist@microsoft.com with the whole reply."),
	smtpRow("ms_tenant_blocked", final, "5.7.705 5.7.700 5.7.701", "",
		"The whole organization (tenant) is blocked, or over its limit, because of suspicious mail.",
		"An administrator looks at the outgoing mail, secures the accounts, and asks Microsoft's support to lift the block."),
	smtpRow("ms_domain_unregistered", final, "5.7.750", "", "The tenant sends from a domain that is not among its accepted domains.", "An administrator adds the sender's domain to the organization and validates it."),
	smtpRow("ms_address_low_reputation", final, "5.7.708", "",
		"Microsoft accepts no traffic from this IP address, mostly since the tenant is new or on trial and has no reputation yet.",
		"An administrator asks Microsoft's support to lift the block of the tenant; a paid subscription and some weeks of age help. Another address of the gateway may pass."),
	smtpRow("ms_address_blocked", final, "5.7.606 5.7.607 5.7.608 5.7.609 5.7.610 5.7.611 5.7.612 5.7.613 5.7.614 5.7.615 5.7.616 5.7.617 5.7.618 5.7.619 5.7.620 5.7.621 5.7.622 5.7.623 5.7.624 5.7.625 5.7.626 5.7.627 5.7.628 5.7.629 5.7.630 5.7.631 5.7.632 5.7.633 5.7.634 5.7.635 5.7.636 5.7.637 5.7.638 5.7.639 5.7.640 5.7.641 5.7.642 5.7.643 5.7.644 5.7.645 5.7.646 5.7.647 5.7.648 5.7.649", "",
		"Microsoft has blocked this IP address of the gateway.", "Ask for its removal at https://sender.office.com, or send from another address (`source_ip`)."),
	smtpRow("ms_address_throttled", passes, "4.7.500 4.7.501 4.7.502 4.7.550 4.7.650 4.7.651", "", "Microsoft slows this IP address down: too much, too new or suspicious.", "Wait, and send more slowly; it passes within hours."),
	smtpRow("ms_no_relay", final, "5.7.54", "", "Microsoft takes no mail for others here: the recipient is in another organization, and the session is not logged in as far as Microsoft sees.",
		"Send through `smtp.office365.com` with a login (preset microsoft365), or through a connector that knows the gateway's address (preset connector)."),
	smtpRow("ms_tenant_attribution", final, "5.7.64", "", "Microsoft finds no connector for this sender: the sending address or the certificate belongs to no tenant.",
		"An administrator checks the inbound connector: the gateway's public address, or the name in its client certificate."),
	smtpRow("ms_direct_send", final, "5.7.68", "", "The organization rejects Direct Send: mail in its own name without a login.",
		"Send through smtp.office365.com with OAuth (preset microsoft365), or an administrator makes an inbound connector for the gateway's address."),
	smtpRow("ms_dmarc", final, "5.7.509 5.7.23", "", "The recipient refuses because the sender's domain does not vouch for the message (SPF, DKIM, DMARC).",
		"The administrator of the sender's domain publishes SPF and DKIM for the provider that the mail goes through."),
	smtpRow("ms_forwarding", final, "5.7.520", "", "The organization forbids automatic forwarding to outside.", "An administrator changes the outbound spam policy."),

	// Limits.
	smtpRow("ms_sender_threads", passes, "4.3.2", "sender thread limit", "Too many messages of this mailbox are being submitted at once.",
		"Keep max_conns_per_account at 3 or lower, and see whether another program sends with the same mailbox."),
	smtpRow("ms_concurrent_connections", passes, "432@4.3.2", "", concurrentCause, concurrentRemedy),
	smtpRow("ms_concurrent_connections_words", passes, "421@4.3.2 451@4.3.2 4.7.0", "concurrent connections", concurrentCause, concurrentRemedy),
	smtpRow("ms_recipient_quota", passes, "5.1.90 5.2.0 4.2.0 4.5.3", "submissionquotaexceeded|recipient limit|can't be sent because you've sent",
		quotaCause, quotaRemedy),
	smtpRow("ms_recipient_quota_code", passes, "5.1.90", "", quotaCause, quotaRemedy),
	smtpRow("ms_tenant_rate", passes, "5.7.233 5.7.232", "", "The organization has reached its limit of external recipients a day (TERRL); a trial tenant's is 5,000.",
		"Wait for the sliding 24 hours. An administrator sees the count with `Get-LimitsEnforcementStatus`; more licences raise the limit."),
	smtpRow("ms_mailbox_rate", passes, "5.2.2@554 4.5.3@452", "ratelimit|message rate", "The mailbox has reached its limit of 30 messages a minute.",
		"Wait a minute. `rate_per_account` keeps below the limit by itself."),
	smtpRow("ms_message_rate", passes, "5.2.122 4.2.122", "", "The recipient gets more mail in an hour than it may.", "Wait an hour, and send more slowly to this recipient."),
	smtpRow("ms_mailbox_full", final, "5.2.2@554 4.2.2@452", "", "The mailbox is full. Each message's copy goes to Sent Items, so a full mailbox cannot send.",
		"Empty the mailbox, or have an administrator raise its quota."),
	smtpRow("ms_mailbox_full_words", final, "5.2.0 4.2.0", "mailboxfull|quotaexceededexception", "The mailbox is full. Each message's copy goes to Sent Items, so a full mailbox cannot send.",
		"Empty the mailbox, or have an administrator raise its quota."),
	smtpRow("ms_too_many_recipients", final, "5.5.3", "", "The message has more recipients than the provider takes at once (Microsoft: 500 unless raised).", "Send the rest in another message; MTAs do so by themselves."),
	smtpRow("ms_submission_rate", passes, "4.4.2", "submission rate", "This client sends faster than the mail server allows (an Exchange server's MessageRateLimit).",
		"Send more slowly: `rate_per_account` in the upstream; the Exchange server's administrator can raise the limit of its receive connector."),
	smtpRow("ms_expired_words", final, "5.4.300 4.4.7", "message expired", expiredCause, expiredRemedy),
	smtpRow("ms_expired", final, "5.4.300", "", expiredCause, expiredRemedy),
	smtpRow("ms_proxy", passes, "451@4.7.0", "", "The provider has a temporary trouble between its own servers, or puts this client off; PRX and a number at Microsoft is the first.",
		"None: the client tries again. If it goes on for hours, see the provider's status page, and whether the mailbox can send at its website."),
	smtpRow("ms_session_duration", passes, "4.4.1 4.4.2", "total session duration", "Microsoft closes a session after 20 minutes.", "Keep max_age under 18m."),
	smtpRow("ms_busy", passes, "4.3.2 4.3.0 4.3.1", "storedrv|server busy|service not active|insufficient system resources", "Microsoft's servers are busy, or the mailbox is being moved.", "Wait; the gateway's client tries again."),

	// High Volume Email: https://learn.microsoft.com/exchange/mail-flow-best-practices/high-volume-mails-m365.
	smtpRow("ms_hve_internal", final, "5.5.105", "", "High Volume Email sends to recipients inside the organization only.", "Use the upstream preset microsoft365 for outside recipients."),
	smtpRow("ms_hve_token", passes, "5.5.127", "", "High Volume Email wants tokens that live at least ten minutes longer.", "Set refresh_ahead above 10m."),

	// Recipients.
	smtpRow("ms_recipient_unknown", final, "5.1.10 5.1.1", "", "The recipient does not exist.", "Check the recipient's address with the one who gave it."),
	smtpRow("ms_recipient_denied", final, "5.4.1", "", "The recipient's organization does not accept mail for this address.", "Check the recipient's address; if it is right, its administrator looks at the accepted domains."),
	smtpRow("ms_recipient_restricted", final, "5.7.124 5.7.133 5.7.134 5.7.136 5.7.129 5.7.12 5.7.13", "", "The recipient accepts mail from certain senders only, mostly from inside its organization.", "The recipient's administrator allows the sender."),
	smtpRow("ms_loop", final, "5.4.14 5.4.6 5.4.12", "hop|loop", "The message goes in a circle.", "An administrator looks at forwarding rules and connectors."),
}

const (
	expiredCause     = "Microsoft had the message for a day and could not hand the message on to the recipient's server; what follows `->` or `=` is that server's last word."
	expiredRemedy    = "Check the recipient's domain, and ask whether the recipient's server works; then send the message again."
	sendAsRemedy     = "Send as the mailbox itself, or an Exchange administrator gives it the right: `Add-RecipientPermission SENDER -Trustee MAILBOX -AccessRights SendAs`. A new right takes up to an hour. `senders` in the account refuses wrong addresses before they reach Microsoft."
	concurrentCause  = "More than 3 connections of this mailbox are open at Microsoft."
	concurrentRemedy = "Keep max_conns_per_account at 3 or lower; if it is, another program uses the mailbox too, or another gateway shares it."
	quotaCause       = "The mailbox has used up its limit of 10,000 recipients per day."
	quotaRemedy      = "Wait for the sliding 24 hours, or spread the mail over more mailboxes. recipients_per_account stops at the limit before Microsoft does."
)

// noPersonalSMTP is what a personal mailbox hears in the same words as one of
// an organization: https://support.microsoft.com/office/d088b986-291d-42b8-9564-9c414e2aa040
// knows no switch for it, and new mailboxes are made so.
var noPersonalSMTP = wording{
	"Microsoft does not let this personal Outlook.com mailbox send by SMTP. New mailboxes are made so, and no setting of the owner's changes it.",
	"Send through Microsoft Graph (`transport graph` in the upstream; `caddy smtp setup --way personal`), or use another mailbox.",
}
