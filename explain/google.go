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

// googleRows are replies of Gmail and Google Workspace:
// https://support.google.com/a/answer/3726730,
// https://developers.google.com/workspace/gmail/imap/xoauth2-protocol.
var googleRows = []row{
	// The challenge of XOAUTH2 and OAUTHBEARER, which is JSON without a code.
	{words: []string{`"status":"400"|"status": "400"`, "schemes"}, Explanation: Explanation{
		ID:     "google_challenge_400",
		Cause:  "Google could not read the token or the mailbox name: it is not an access token, or the mailbox is not a Google account.",
		Remedy: "Check `mailbox`, and ask for consent again: caddy smtp login ACCOUNT.",
	}},
	{words: []string{`"status":"40|"status": "40`, "schemes"}, Explanation: Explanation{
		ID:     "google_challenge",
		Cause:  "The provider does not accept the token for this mailbox: its scope is not the one for SMTP, it was granted by another user, or consent was withdrawn.",
		Remedy: "At Google SMTP needs the scope https://mail.google.com/ (gmail.send is only for the API). Check that `mailbox` is the account that gave consent, then: caddy smtp login ACCOUNT. In Workspace an administrator may have restricted the app.",
	}, personal: &wording{
		"The provider does not accept the token for this mailbox: its scope is not the one for SMTP, it was granted by another user, or consent was withdrawn.",
		"At Google SMTP needs the scope https://mail.google.com/ (gmail.send is only for the API). Check that `mailbox` is the account that gave consent, then: caddy smtp login ACCOUNT.",
	}},
	smtpRow("google_too_many_logins", passes, "4.7.0", "too many login", "Too many logins of this account in a short time.",
		"Wait; the gateway backs off by itself. Logins are saved by connections that live longer: raise max_messages_per_conn and idle_timeout, lower max_conns_per_account."),
	smtpRow("google_daily_limit", passes, "5.4.5 4.4.5", "", "The account has used up its limit of messages a day (2,000 with Workspace, 500 without).",
		"Wait for the sliding 24 hours. messages_per_account stops at the limit before Google does."),
	smtpRow("google_app_password_words", final, "535@5.7.1", "application-specific password", twoStepCause, twoStepRemedy),
	smtpRow("google_app_password", final, "5.7.9", "", twoStepCause, twoStepRemedy),
	smtpRow("google_browser_login_words", final, "535@5.7.1", "web browser", browserCause, browserRemedy),
	smtpRow("google_browser_login", final, "5.7.14", "", browserCause, browserRemedy),
	smtpRow("google_bad_credentials", final, "5.7.8", "username and password not accepted|badcredentials", "Google refused the login: the token or password does not belong to this mailbox, or was withdrawn.",
		"Check `mailbox`, then ask for consent again: caddy smtp login ACCOUNT."),
	smtpRow("google_temporary", passes, "4.3.0 4.7.0 4.5.0", "temporary system problem", "Google has a temporary trouble, or slows this sender down.", "Wait, and send more slowly if it comes back."),
	smtpRow("google_rate_ip", passes, "4.7.28 4.7.0", "unusual rate|rate limited|unsolicited", "Google slows down an unusual rate of mail from this address, domain or sender.", "Wait, and send more slowly; see https://support.google.com/mail/answer/81126."),
	smtpRow("google_relay_limit", passes, "4.2.1@421 5.7.1@550", "daily smtp relay limit|smtp relay limit|relay sending limit", "The organization has used up its limit of the SMTP relay.", "Wait for the sliding 24 hours."),
	smtpRow("relay_denied", final, "5.7.1 5.7.0", "relay|registered", "The provider does not relay for this sender or from this address.",
		"For smtp-relay.gmail.com an administrator adds the gateway's public address, or requires SMTP authentication, in the Workspace SMTP relay settings; the sender's domain must be the organization's."),
	smtpRow("recipient_rate", passes, "4.2.1@450 5.2.1@550", "receiving|at a rate|rate", recipientRateCause, recipientRateRemedy),
	smtpRow("recipient_rate_code", passes, "450@4.2.1", "", recipientRateCause, recipientRateRemedy),
	smtpRow("recipient_disabled", final, "5.2.1", "", "The recipient's mailbox is disabled.", "Ask the recipient; the sender can do nothing."),
	smtpRow("google_unauthenticated", final, "5.7.26 4.7.26 5.7.27 4.7.27", "dmarc|spf|dkim|unauthenticated|authentication", "The recipient refuses because the sender's domain does not vouch for the message (SPF, DKIM, DMARC).",
		"The administrator of the sender's domain publishes SPF and DKIM for the provider that the mail goes through."),
	smtpRow("google_no_ptr", final, "5.7.25 4.7.25", "", "The sending address has no name in the DNS that points back to it.", "The owner of the address sets its PTR record; `source_ip` chooses another address."),
	smtpRow("google_spam", final, "5.7.1", "unsolicited|spam|blocked", "The provider takes the message for spam.", "Look at the content and at the recipients; see https://support.google.com/mail/answer/81126 at Google."),
	smtpRow("google_dangerous", final, "5.7.0", "security|virus|blocked", "The message has an attachment that the provider does not take (a program, an archive with one, a virus).", "Send it in another way; see https://support.google.com/mail/answer/6590."),
	smtpRow("google_must_starttls", final, "5.7.0", "starttls", "The provider wants TLS before anything else.", "Use `tls starttls` for port 587, `tls implicit` for port 465."),
	smtpRow("google_auth_required", final, "5.7.0 5.5.1", "authentication required|authentication is required", "The provider wants a login, and the session has none.", "Check `auth` in the upstream, then run `caddy smtp test ACCOUNT`."),
	smtpRow("login_unavailable", passes, "454@4.7.0", "", "The provider cannot check logins just now: a temporary trouble, or too many of them.",
		"Wait; the gateway backs off by itself. If it comes back, have fewer logins: raise max_messages_per_conn and idle_timeout."),
	smtpRow("google_timeout", passes, "4.4.2", "timeout|timed out", "The provider closed an idle or slow session.", "None: the gateway uses a new connection. Keep idle_timeout under 4m."),
	smtpRow("line_too_long", final, "5.5.2@555 5.5.2@500", "", "The provider found a command line too long or malformed, usually an AUTH line with its token.",
		"The gateway sends long tokens in a second step; report this as a defect."),
}

const (
	twoStepCause        = "The upstream logs in with the account's own password, which Google no longer accepts."
	twoStepRemedy       = "Use OAuth (`auth xoauth2`), or an app password as the account's secret."
	browserCause        = "Google wants the account's owner to log in with a browser first: the login looked unusual."
	browserRemedy       = "The owner logs in at https://accounts.google.com/DisplayUnlockCaptcha; OAuth (`auth xoauth2`) avoids it."
	recipientRateCause  = "The recipient gets mail too quickly just now."
	recipientRateRemedy = "Wait, and send more slowly to this recipient."
)
