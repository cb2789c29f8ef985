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
	"regexp"
	"strings"
	"testing"
)

// providerTexts are refusals as the providers' pages and users' reports have
// them, with a word that the cause must hold, and one of the remedy. Where the
// code alone decides, code is what remains of the text.
var providerTexts = []struct{ text, cause, remedy, code string }{
	// Microsoft: the login.
	{"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information. [FR0P281CA0001.DEUP281.PROD.OUTLOOK.COM 2026-11-25T10:00:00.000Z 08DE2B1C]", "whole Microsoft 365 organization", "Set-CASMailbox", ""},
	{"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information. [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]", "for this mailbox", "Set-CASMailbox", ""},
	{"535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]", "with a password", "auth xoauth2", ""},
	{"550 5.7.30 Basic authentication is not supported for Client Submission.", "password", "auth xoauth2", "550 5.7.30"},
	{"535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator.", "security defaults", "sign-in log", ""},
	{"535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator.", "policy of the organization", "sign-in log", ""},
	{"535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.", "does not accept the token", "consent", ""},
	{"535 5.7.139 Authentication unsuccessful", "refused the sign-in", "sign-in log", "535 5.7.139"},
	{"535 5.7.3 Authentication unsuccessful [CH0PR03CA0001.namprd03.prod.outlook.com]", "not good for SMTP", "SMTP.Send", "535 5.7.3"},
	{"430 4.2.0 STOREDRV; mailbox logon failure; failed to process message due to a permanent exception", "looks temporary", "New-ServicePrincipal", ""},
	{"530 5.7.57 Client not authenticated to send mail. [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]", "forgotten the login", "caddy smtp test", "530 5.7.57"},
	// Microsoft: the sender.
	{"554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as boss@contoso.com; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied", "Send As", "Add-RecipientPermission", "554 5.2.252"},
	{"554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception with message Cannot submit message. [Hostname=AM0PR10MB0001.EURPRD10.PROD.OUTLOOK.COM]", "Send As", "Add-RecipientPermission", ""},
	{"550 5.7.60 SMTP; Client does not have permissions to send as this sender [Hostname=DB9PR04MB8411.eurprd04.prod.outlook.com]", "permission to send as", "Send as the mailbox itself", "550 5.7.60"},
	{"550 5.1.8 Access denied, bad outbound sender AS(42004)", "blocked the sender", "Restricted entities", "550 5.1.8"},
	{"550 5.7.501 Access denied, spam abuse detected. The sending account has been banned due to detected spam activity.", "because of spam", "Restricted entities", "550 5.7.501"},
	{"550 5.7.705 Access denied, tenant has exceeded threshold. AS(7200)", "whole organization", "support", "550 5.7.705"},
	{"550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP. AS(7230) [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]", "IP address", "support", "550 5.7.708"},
	{"550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains.", "accepted domains", "adds the sender's domain", "550 5.7.750"},
	{"550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "not logged in", "preset microsoft365", "550 5.7.54"},
	{"550 5.7.64 TenantAttribution; Relay Access Denied [ValidationStatus of '' is EmptyCertificate]", "no connector", "inbound connector", "550 5.7.64"},
	{"550 5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources", "Direct Send", "OAuth", "550 5.7.68"},
	{"550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit https://sender.office.com/", "blocked this IP address", "sender.office.com", "550 5.7.606"},
	{"451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77712)", "slows this IP address", "more slowly", "451 4.7.500"},
	{"550 5.7.520 Access denied, Your organization does not allow external forwarding.", "forwarding", "outbound spam policy", "550 5.7.520"},
	{"550 5.7.500 Access denied, suspicious activity AS(1440)", "suspicious", "message trace", "550 5.7.500"},
	{"550 5.4.300 Message expired -> 421 4.4.1 Connection timed out", "could not hand the message on", "recipient's server", "550 5.4.300"},
	{"451 4.7.0 Temporary server error. Please try again later. PRX4 [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]", "temporary trouble", "status page", "451 4.7.0"},
	{"421 4.4.2 Message submission rate for this client has exceeded the configured limit", "sends faster", "rate_per_account", ""},
	{"421 4.4.2 Connection dropped due to SocketError", "ended the session", "new connection", "421 4.4.2"},
	// Microsoft: limits.
	{"432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.", "3 connections", "max_conns_per_account", "432 4.3.2"},
	{"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=AM0PR10MB0001.EURPRD10.PROD.OUTLOOK.COM]", "at once", "max_conns_per_account", ""},
	{"554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message", "10,000 recipients", "24 hours", ""},
	{"550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients", "10,000 recipients", "24 hours", "550 5.1.90"},
	{"550 5.7.233 Your message can't be sent because your trial tenant has exceeded its tenant external recipient rate limit", "TERRL", "Get-LimitsEnforcementStatus", "550 5.7.233"},
	{"554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded", "mailbox is full", "Empty the mailbox", "554 5.2.2"},
	{"421 4.4.1 Connection timed out. Total session duration: 00:20:55.1234567", "20 minutes", "max_age", ""},
	{"451 4.3.2 Temporary server error. Please try again later ATTR; insufficient system resources", "busy", "tries again", ""},
	{"552 5.3.4 Message size exceeds fixed maximum message size", "larger", "smaller", "552 5.3.4"},
	{"550 5.5.105 Recipient address is external to the tenant", "inside the organization", "microsoft365", "550 5.5.105"},
	{"501 5.5.127 The token expires too soon", "ten minutes", "refresh_ahead", "501 5.5.127"},
	{"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "does not exist", "address", "550 5.1.10"},
	// Google.
	{`{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}`, "scope", "https://mail.google.com/", ""},
	{"535-5.7.8 Username and Password not accepted. For more information, go to\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials ffacd0b85a97d-42b5f48e6sm12345678f8f.1 - gsmtp", "does not belong to this mailbox", "", "535 5.7.8"},
	{"535-5.7.1 Username and Password not accepted. Learn more at\n535 5.7.1 https://support.google.com/mail/?p=BadCredentials x-20 - gsmtp", "does not belong", "`mailbox`", "535 5.7.1"},
	{"535 5.7.1 Please log in with your web browser and then try again. x-20 - gsmtp", "browser", "accounts.google.com", ""},
	{"535 5.7.1 Application-specific password required. x-20 - gsmtp", "own password", "auth xoauth2", ""},
	{"454 4.7.0 Cannot authenticate due to temporary system problem. Try again later. x-20 - gsmtp", "temporary trouble", "Wait", ""},
	{"454 4.7.0 Zorp", "cannot check logins just now", "backs off", "454 4.7.0"},
	{"534-5.7.9 Application-specific password required. For more information, go to\n534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor x-20 - gsmtp", "own password", "auth xoauth2", "534 5.7.9"},
	{"534-5.7.14 <https://accounts.google.com/signin/continue?sarp=1> Please log in via your web browser and\n534 5.7.14 then try again.", "browser", "accounts.google.com", "534 5.7.14"},
	{"550-5.4.5 Daily user sending limit exceeded. For more information on Gmail\n550 5.4.5 sending limits go to https://support.google.com/a/answer/166852 x-20 - gsmtp", "messages a day", "24 hours", "550 5.4.5"},
	{"421-4.3.0 Temporary System Problem.  Try again later (10). For more information,\n421 4.3.0 go to https://support.google.com/a/answer/3221692 x - gsmtp", "temporary", "Wait", ""},
	{"421 4.7.0 Temporary System Problem.  Try again later (7). x-20 - gsmtp", "temporary", "Wait", ""},
	{"454 4.7.0 Too many login attempts, please try again later. x-20 - gsmtp", "Too many logins", "max_messages_per_conn", ""},
	{"451 4.4.2 Timeout - closing connection. x-20 - gsmtp", "idle", "new connection", ""},
	{"452-4.5.3 Your message has too many recipients. For more information regarding\n452 4.5.3 Google's sending limits visit https://support.google.com/mail/?p=TooManyRecipients", "more recipients", "another message", "452 4.5.3"},
	{"550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've registered in your G Suite SMTP Relay service doesn't match the domain of the account", "does not relay", "Workspace SMTP relay settings", ""},
	{"450-4.2.1 The user you are trying to contact is receiving mail too quickly.\n450 4.2.1 Please resend your message at a later time.", "too quickly", "more slowly", "450 4.2.1"},
	{"421 4.2.1 Daily SMTP relay limit exceeded for customer. x-20 - gsmtp", "limit of the SMTP relay", "24 hours", ""},
	{"550-5.7.26 This mail has been blocked because the sender is unauthenticated.\n550 5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.", "vouch", "SPF and DKIM", ""},
	{"421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain", "unusual rate", "more slowly", ""},
	{"552-5.7.0 This message was blocked because its content presents a potential\n552 5.7.0 security issue.", "attachment", "another way", ""},
	// Others.
	{"535 5.7.0 (#AUTH005) Too many bad auth attempts.", "Yahoo locked the login", "wait an hour", ""},
	{"550 5.4.6 Unusual sending activity detected. Please try after sometime", "limit", "Zoho", "550 5.4.6"},
	{"554 5.1.8 Email Outgoing Blocked", "blocked", "provider", "554 5.1.8"},
	// Microsoft Graph.
	{`HTTP 401 {"error":{"code":"InvalidAuthenticationToken","message":"Access token validation failure. Invalid audience.","innerError":{"date":"2026-11-25T10:00:00","request-id":"0d5a"}}}`, "another resource", "Mail.Send", "HTTP 401 InvalidAuthenticationToken"},
	{`HTTP 403 {"error":{"code":"ErrorAccessDenied","message":"Access is denied. Check credentials and try again."}}`, "Mail.Send", "Entra", "HTTP 403 ErrorAccessDenied"},
	{`HTTP 403 {"error":{"code":"ErrorAccessDenied","message":"Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."}}`, "application access policy", "Test-ApplicationAccessPolicy", ""},
	{`HTTP 403 {"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}`, "permission in Entra", "grants consent", "HTTP 403 Authorization_RequestDenied"},
	{`HTTP 403 {"error":{"code":"ErrorSendAsDenied","message":"The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account."}}`, "Send As", "Add-RecipientPermission", "HTTP 403 ErrorSendAsDenied"},
	{`HTTP 404 {"error":{"code":"MailboxNotEnabledForRESTAPI","message":"The mailbox is either inactive, soft-deleted, or is hosted on-premise."}}`, "no mailbox", "licence", "HTTP 404 MailboxNotEnabledForRESTAPI"},
	{`HTTP 404 {"error":{"code":"ErrorInvalidUser","message":"The requested user 'x@contoso.com' is invalid."}}`, "no such user", "`tenant`", "HTTP 404 ErrorInvalidUser"},
	{`HTTP 404 {"error":{"code":"Request_ResourceNotFound","message":"Resource 'x' does not exist"}}`, "no such user", "`tenant`", "HTTP 404 Request_ResourceNotFound"},
	{`HTTP 400 {"error":{"code":"ErrorInvalidRecipients","message":"At least one recipient isn't valid., At least one recipient isn't valid."}}`, "recipient", "header", "HTTP 400 ErrorInvalidRecipients"},
	{`HTTP 400 {"error":{"code":"ErrorMimeContentInvalidBase64String","message":"Invalid base64 string for MIME content."}}`, "cannot read the message", "header", "HTTP 400 ErrorMimeContentInvalidBase64String"},
	{`HTTP 413 {"error":{"code":"ErrorMessageSizeExceeded","message":"The message exceeds the maximum supported size."}}`, "larger", "SMTP", "HTTP 413 ErrorMessageSizeExceeded"},
	{`HTTP 507 {"error":{"code":"ErrorQuotaExceeded","message":"The mailbox has exceeded its quota."}}`, "mailbox is full", "Empty", "HTTP 507 ErrorQuotaExceeded"},
	{`HTTP 429 {"error":{"code":"ErrorExceededMessageLimit","message":"Cannot send mail. Daily Message/Recipient limit exceeded for the account."}}`, "sending limit", "Wait", "HTTP 429 ErrorExceededMessageLimit"},
	{`HTTP 400 {"error":{"code":"ErrorExceededMessageLimitShowTierUpgrade","message":"x"}}`, "sending limit", "Wait", "HTTP 400 ErrorExceededMessageLimitShowTierUpgrade"},
	{`HTTP 400 {"error":{"code":"ErrorExceededMaxRecipientLimit","message":"x"}}`, "more recipients", "another message", "HTTP 400 ErrorExceededMaxRecipientLimit"},
	{`HTTP 403 {"error":{"code":"ErrorAccountSuspend","message":"Account suspended. Follow the instructions in your Inbox to verify your account."}}`, "blocked", "Restricted entities", "HTTP 403 ErrorAccountSuspend"},
	{`HTTP 429 {"error":{"code":"ApplicationThrottled","message":"Application is over its MailboxConcurrency limit."}}`, "4 at once", "as long as the reply says", "HTTP 429 ApplicationThrottled"},
	{`HTTP 503 {"error":{"code":"ErrorMailboxMoveInProgress","message":"x"}}`, "being moved", "tries again", "HTTP 503 ErrorMailboxMoveInProgress"},
	{`HTTP 401 {"error":{"code":"InvalidAuthenticationToken","message":"Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"}}`, "log in again", "smtp login", ""},
	// Gmail API.
	{`HTTP 401 {"error":{"code":401,"message":"Invalid Credentials","status":"UNAUTHENTICATED","errors":[{"domain":"global","reason":"authError"}]}}`, "does not accept the token", "smtp login", "HTTP 401 authError"},
	{`HTTP 403 {"error":{"code":403,"message":"Request had insufficient authentication scopes.","status":"PERMISSION_DENIED","details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}`, "unticked", "tick the box", "HTTP 403 insufficientPermissions"},
	{`HTTP 403 {"error":{"code":403,"message":"Gmail API has not been used in project 123456789012 before or it is disabled.","errors":[{"domain":"usageLimits","reason":"accessNotConfigured"}]}}`, "not enabled", "Cloud console", "HTTP 403 accessNotConfigured"},
	{`HTTP 403 {"error":{"code":403,"message":"The domain administrators have disabled Gmail apps.","errors":[{"domain":"global","reason":"domainPolicy"}]}}`, "Workspace", "API controls", "HTTP 403 domainPolicy"},
	{`HTTP 403 {"error":{"code":403,"message":"Delegation denied for a@example.com","errors":[{"domain":"global","reason":"forbidden"}]}}`, "another user", "`mailbox`", ""},
	{`HTTP 400 {"error":{"code":400,"message":"Mail service not enabled","status":"FAILED_PRECONDITION","errors":[{"reason":"failedPrecondition"}]}}`, "no Gmail", "`mailbox`", "HTTP 400 failedPrecondition"},
	{`HTTP 400 {"error":{"code":400,"message":"Precondition check failed.","errors":[{"reason":"failedPrecondition"}]}}`, "service account acts for no user", "`mailbox`", ""},
	{`HTTP 400 {"error":{"code":400,"message":"Invalid To header","errors":[{"domain":"global","reason":"invalidArgument"}]}}`, "recipient", "header", ""},
	{`HTTP 400 {"error":{"code":400,"message":"Attachment type not supported","errors":[{"domain":"global","reason":"invalidArgument"}]}}`, "attachment", "attachments", "HTTP 400 invalidArgument"},
	{`HTTP 429 {"error":{"code":429,"message":"User-rate limit exceeded.  Retry after 2026-10-05T20:00:00.000Z","errors":[{"domain":"usageLimits","reason":"rateLimitExceeded"}]}}`, "a minute", "time in the reply", "HTTP 429 rateLimitExceeded"},
	{`HTTP 429 {"error":{"code":429,"message":"User-rate limit exceeded.  Retry after 2026-10-05T20:00:00.000Z (Mail sending)","errors":[{"domain":"usageLimits","reason":"userRateLimitExceeded"}]}}`, "sending limit", "time in the reply", ""},
	{`HTTP 403 {"error":{"code":403,"message":"Daily Limit Exceeded.","errors":[{"domain":"usageLimits","reason":"dailyLimitExceeded"}]}}`, "project", "Cloud console", "HTTP 403 dailyLimitExceeded"},
	{`HTTP 503 {"error":{"code":503,"message":"Backend Error","errors":[{"domain":"global","reason":"backendError"}]}}`, "temporary", "tries again", "HTTP 503 backendError"},
	{`HTTP 413 {"error":{"code":413,"message":"Request entity too large: limit is 36700160"}}`, "larger", "smaller", ""},
	// Statuses without a code.
	{`HTTP 500 {"error":{"code":"generalException","message":"x"}}`, "failed within", "may have been sent", "HTTP 500"},
	{"HTTP 502 <html><head><title>502 Bad Gateway</title></head></html>", "between", "tries again", "HTTP 502"},
	{`HTTP 504 {"error":{"code":"UnknownError","message":""}}`, "not in time", "may have been sent", "HTTP 504"},
	// Authorization servers.
	{"invalid_grant: AADSTS135010: UserPrincipal doesn't have the key ID configured.", "key", "another way", "AADSTS135010"},
	{"invalid_grant: AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. Trace ID: 0d5a Correlation ID: 1e2b Timestamp: 2026-11-25 10:00:00Z", "sign-in frequency", "exempts", "AADSTS70043"},
	{"invalid_grant: AADSTS53003: Access has been blocked by Conditional Access policies.", "Conditional Access", "sign-in log", "AADSTS53003"},
	{"invalid_grant: AADSTS53000: Device is not in required device state: compliant.", "compliant device", "device policy", "AADSTS53000"},
	{"invalid_grant: AADSTS50053: The account is locked, you've tried to sign in too many times", "locked", "Wait", "AADSTS50053"},
	{"invalid_grant: AADSTS50057: The user account is disabled.", "disabled", "enables the user", "AADSTS50057"},
	{"invalid_grant: AADSTS50105: The signed in user is not assigned to a role for the application", "not assigned", "assigns", "AADSTS50105"},
	{"invalid_grant: AADSTS700082: The refresh token has expired due to inactivity.", "90 days", "smtp login", "AADSTS700082"},
	{"invalid_client: AADSTS7000215: Invalid client secret provided.", "client secret is wrong", "value", "AADSTS7000215"},
	{"invalid_client: AADSTS7000222: The provided client secret keys for app 'x' are expired.", "expired", "new secret", "AADSTS7000222"},
	{"invalid_resource: AADSTS500011: The resource principal named x was not found in the tenant named y.", "resource", "`scopes`", "AADSTS500011"},
	{"invalid_request: AADSTS28000: Provided value for the input parameter scope is not valid because it contains more than one resource.", "more than one resource", "one resource", "AADSTS28000"},
	{"invalid_grant: AADSTS65001: The user or administrator has not consented to use the application", "consented", "smtp login", "AADSTS65001"},
	{"AADSTS90094: The grant requires admin permission.", "administrator alone", "grants consent", "AADSTS90094"},
	{"AADSTS50011: The redirect URI 'https://x/' specified in the request does not match the redirect URIs configured for the application", "sent back to", "--redirect-url", "AADSTS50011"},
	{"invalid_grant: Token has been expired or revoked.", "revoked", "smtp login", ""},
	{"unauthorized_client: Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.", "domain-wide delegation", "admin console", ""},
	{"invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.", "clock", "NTP", ""},
}

// variants are what differs without meaning: who wrote the reply, its
// identifiers, the layout, and what quotes it.
func variants(text string) map[string]string {
	host := regexp.MustCompile(`\[[^\]]*(?i:outlook\.com)[^\]]*\]`)
	id := regexp.MustCompile(`\bx-?20? - gsmtp|AS\(\d+\)|AS\d+|\(10\)|Trace ID: \w+`)
	return map[string]string{
		"as it comes":      text,
		"another host":     host.ReplaceAllString(text, "[QA9PR99CA0999.lamprd99.prod.outlook.com 2027-03-01T23:59:59.999Z 08DFFFFF]"),
		"another id":       id.ReplaceAllString(text, "5b1f17b1804b1-477c3a 9 - gsmtp"),
		"with an address":  text + " [2001:db8::7]",
		"in capitals":      strings.ToUpper(text),
		"on one line":      strings.ReplaceAll(text, "\n", " "),
		"with blanks":      strings.ReplaceAll(text, " ", "  "),
		"quoted by ours":   "454 4.7.0 The provider refused the gateway's authentication for this account: " + text,
		"quoted in errors": "upstream \"m365\": reply to AUTH: " + text,
	}
}

// TestProviderTexts holds that a refusal is explained whoever words it.
func TestProviderTexts(t *testing.T) {
	about := About{Account: "scanner", Mailbox: "scanner@contoso.com"}
	check := func(name, text, cause, remedy string) {
		t.Helper()
		e, ok := about.Of(text)
		if !ok || e.General || !strings.Contains(strings.ToLower(e.Cause), strings.ToLower(cause)) || !strings.Contains(strings.ToLower(e.Remedy), strings.ToLower(remedy)) {
			t.Errorf("%s: %q is explained as %s: %q, %q; want %q and %q", name, text, e.ID, e.Cause, e.Remedy, cause, remedy)
		}
	}
	for _, p := range providerTexts {
		for name, text := range variants(p.text) {
			check(name, text, p.cause, p.remedy)
		}
		if p.code != "" {
			check("other words", p.code+" Quite other words than those that were ever seen", p.cause, p.remedy)
			check("no words", p.code, p.cause, p.remedy)
		}
	}
}

// TestUnknownWordsOfKnownCodes: where words decide and are not known, what is
// said is what the code alone tells, and is true of all that carry it.
func TestUnknownWordsOfKnownCodes(t *testing.T) {
	for _, p := range providerTexts {
		code := regexp.MustCompile(`^\d{3}[ -]\d\.\d+\.\d+`).FindString(p.text)
		if code == "" {
			continue
		}
		text := strings.Replace(code, "-", " ", 1) + " Zorp"
		e, ok := Of(text)
		if !ok || e.Cause == "" || e.Remedy == "" {
			t.Errorf("%q is not explained: %+v", text, e)
		}
		if e.RetryHelps != (code[0] == '4') && e.General {
			t.Errorf("%q: retry helps %t", text, e.RetryHelps)
		}
	}
}
