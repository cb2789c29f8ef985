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

// failureSamples are what servers and libraries really say, and what it means.
var failureSamples = []struct{ text, id string }{
	{"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information. [FR0P281CA0001.DEUP281.PROD.OUTLOOK.COM]", "ms_smtp_auth_disabled_tenant"},
	{"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled", "ms_smtp_auth_disabled_mailbox"},
	{"535 5.7.139 Authentication unsuccessful, basic authentication is disabled.", "ms_basic_auth_disabled"},
	{"550 5.7.30 Basic authentication is not supported for Client Submission.", "ms_basic_auth_disabled"},
	{"535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator.", "ms_security_defaults"},
	{"535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator.", "ms_criteria"},
	{"535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.", "ms_credentials"},
	{"535 5.7.139 Authentication unsuccessful.", "ms_5_7_139"},
	{"535 5.7.3 Authentication unsuccessful [AM0PR10CA0001.EURPRD10.PROD.OUTLOOK.COM]", "ms_5_7_3"},
	{"430 4.2.0 STOREDRV; mailbox logon failure; failed to process message", "ms_storedrv_logon"},
	{"554 5.2.252 SendAsDenied; robot@example.com not allowed to send as boss@example.com", "ms_send_as_denied"},
	{"550 5.7.60 SMTP; Client does not have permissions to send as this sender", "ms_client_send_as"},
	{"432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending", "ms_concurrent_connections"},
	{"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "ms_sender_threads"},
	{"554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", "ms_recipient_quota"},
	{"554 5.2.2 mailbox full", "ms_mailbox_full"},
	{"550 5.5.105 external recipients", "ms_hve_internal"},
	{"501 5.5.127 Token will expire soon", "ms_hve_token"},
	{"421 4.4.1 Connection timed out. Total session duration: 00:20:55", "ms_session_duration"},
	{`{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}`, "google_challenge"},
	{`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`, "google_challenge_400"},
	{"454 4.7.0 Too many login attempts, please try again later.", "google_too_many_logins"},
	{"550-5.4.5 Daily user sending limit exceeded.", "google_daily_limit"},
	{"534-5.7.9 Application-specific password required.", "google_app_password"},
	{"535-5.7.8 Username and Password not accepted.\n535 5.7.8 https://support.google.com/mail/?p=BadCredentials", "google_bad_credentials"},
	{"421 4.3.0 Temporary System Problem. Try again later (10).", "google_temporary"},
	{"452 4.5.3 Your message has too many recipients.", "too_many_recipients"},
	{"550 5.7.1 Invalid credentials for relay [192.0.2.1].", "relay_denied"},
	{"450 4.2.1 The user you are trying to contact is receiving mail at a rate that...", "recipient_rate"},
	{"555 5.5.2 Syntax error, cannot decode response", "line_too_long"},
	{"535 5.7.0 (#AUTH005) Too many bad auth attempts.", "yahoo_bad_auth_attempts"},
	{"550 5.4.6 Unusual sending activity detected.", "zoho_limit"},
	{"554 5.1.8 Email Outgoing Blocked", "zoho_blocked"},
	{"454 4.7.0 The mailbox needs consent again: run `caddy smtp login` for this account", "own_needs_consent"},
	{"tls: failed to verify certificate: x509: certificate signed by unknown authority", "cert_unknown_authority"},
	{"tls: failed to verify certificate: x509: certificate is valid for mail.example.com, not smtp.example.com", "cert_name"},
	{"tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time ...", "cert_expired"},
	{"tls: failed to verify certificate: x509: certificate specifies an incompatible key usage", "cert_other"},
	{"tls: first record does not look like a TLS handshake", "tls_mode"},
	{"upstream does not offer STARTTLS", "no_starttls"},
	{"graph.microsoft.com: http: server gave HTTP response to HTTPS client", "no_tls"},
	{"graph.microsoft.com: the proxy answers HTTP 407 to CONNECT", "proxy_refused"},
	{"graph.microsoft.com: tls: failed to verify certificate: x509: certificate signed by unknown authority (the certificate is by 'Example Inspection CA')", "cert_unknown_authority"},
	{"451 4.3.5 What answered is not the provider's API: HTTP 403", "own_api_elsewhere"},
	{"451 4.3.5 The provider's API is elsewhere: HTTP 308", "own_api_elsewhere"},
	{"remote error: tls: handshake failure", "tls_refused"},
	{"dial tcp: lookup smtp.example.invalid: no such host", "dns_no_host"},
	{"dial tcp 192.0.2.1:587: socket: too many open files", "descriptors"},
	{"dial tcp: lookup smtp.example.com: dial udp 127.0.0.1:53: socket: too many open files", "descriptors"},
	{"dial tcp: lookup smtp.example.com on 127.0.0.1:53: server misbehaving", "dns_trouble"},
	{"dial tcp 192.0.2.9:0->192.0.2.1:587: bind: cannot assign requested address", "source_ip"},
	{"dial tcp 127.0.0.1:1: connect: connection refused", "refused"},
	{"dial tcp 192.0.2.1:465: i/o timeout", "timeout"},
	{"dial tcp [2001:db8::1]:587: connect: network is unreachable", "no_route"},
	{"read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "reset"},
}

func TestExplain(t *testing.T) {
	for _, s := range failureSamples {
		got, ok := Of(s.text)
		if !ok || got.ID != s.id {
			t.Errorf("%q is explained as %q, want %q", s.text, got.ID, s.id)
		}
		if got.General {
			t.Errorf("%q is explained in general only", s.text)
		}
	}
	for _, text := range []string{"250 2.0.0 OK", "", "it rains", "235 2.7.0 Accepted"} {
		if got, ok := Of(text); ok {
			t.Errorf("%q is explained as %q", text, got.ID)
		}
	}
}

// moreSamples are of users' reports, with words that the cause must hold.
var moreSamples = []struct{ text, cause string }{
	{"provider 'prov': invalid_grant: AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.", "frequency"},
	{"invalid_grant: AADSTS53000: Device is not in required device state: compliant.", "compliant device"},
	{"invalid_grant: AADSTS50053: The account is locked, you have tried to sign in too many times", "locked"},
	{"invalid_resource: AADSTS500011: The resource principal named x was not found in the tenant", "resource"},
	{"interaction_required: AADSTS50079: Due to a configuration change", "enrol"},
	{"invalid_grant: AADSTS50105: The signed in user is not assigned to a role", "not assigned"},
	{"invalid_grant: AADSTS50055: The password is expired.", "password"},
	{"invalid_client: AADSTS7000229: The client application is missing service principal in the tenant", "enterprise application"},
	{"unauthorized_client: AADSTS700213: No matching federated identity record found", "federated"},
	{"invalid_request: AADSTS28000: Provided value for the input parameter scope is not valid because it contains more than one resource.", "more than one"},
	{"550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP. AS(7230)", "address"},
	{"554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message", "Send As"},
	{"550 5.7.233 Your message cannot be sent because your trial tenant has exceeded its tenant external recipient rate limit", "limit"},
	{"530 5.7.57 Client not authenticated to send mail. [X]", "login"},
	{"535 5.7.57 Client was not authenticated, basic authentication is disabled", "password"},
	{"550 5.7.501 Access denied, spam abuse detected.", "spam"},
	{"550 5.7.705 Access denied, tenant has exceeded threshold.", "tenant"},
	{"550 5.1.8 Access denied, bad outbound sender.", "blocked"},
	{"550 5.7.64 TenantAttribution; Relay Access Denied SMTP.", "connector"},
	{"550 5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources", "Direct Send"},
	{"550 5.7.606 Access denied, banned sending IP [192.0.2.1].", "address"},
	{"451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)", "address"},
	{"554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException", "full"},
	{"550-5.7.26 Unauthenticated email from example.com is not accepted due to\n550 5.7.26 domain's DMARC policy.", "vouch"},
	{"421-4.7.28 Gmail has detected an unusual rate of unsolicited mail", "rate"},
	{"534-5.7.14 <https://accounts.google.com/signin/continue> Please log in via your web browser", "browser"},
	{"552-5.7.0 This message was blocked because its content presents a potential security issue.", "attachment"},
	{"550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup", "DNS"},
	{"552 5.3.4 Message size exceeds fixed maximum message size", "larger"},
	{"421 4.4.2 Timeout - closing connection", "idle"},
	// The gateway's own reply goes before the provider's.
	{"454 4.7.0 The provider refused the gateway's authentication for this account: 535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.", "token for this mailbox"},
	// Graph and Gmail, in the reply that is made of them and as they come.
	{`{"error":{"code":"ErrorSendAsDenied","message":"The user account which was used to submit this request does not have the right"}}`, "Send As"},
	{"550 5.7.1 Graph: ErrorAccessDenied: Access is denied. Check credentials and try again.", "Mail.Send"},
	{`{"error":{"code":"ApplicationThrottled","message":"Application is over its MailboxConcurrency limit."}}`, "Too many requests"},
	{`{"error":{"code":"MailboxNotEnabledForRESTAPI","message":"The mailbox is either inactive, soft-deleted, or is hosted on-premise."}}`, "no mailbox"},
	{`{"error":{"code":"InvalidAuthenticationToken","message":"Access token validation failure. Invalid audience."}}`, "another resource"},
	{`{"error":{"code":"ErrorExceededMessageLimit","message":"Cannot send mail. Daily Message limit exceeded"}}`, "sending limit"},
	{`{"error":{"code":"ErrorMessageSubmissionBlocked","message":"x"}}`, "blocked"},
	{`{"error":{"code":"errorserverbusy","message":"x"}}`, "busy"},
	{`{"error":{"code":403,"status":"PERMISSION_DENIED","errors":[{"domain":"global","reason":"insufficientPermissions","message":"x"}]}}`, "unticked"},
	{`{"error":{"code":403,"errors":[{"domain":"usageLimits","reason":"accessNotConfigured"}]}}`, "not enabled"},
	{`{"error":{"code":403,"errors":[{"reason":"domainPolicy"}]}}`, "Workspace"},
	{`{"error":{"code":403,"errors":[{"reason":"forbidden","message":"Delegation denied for a@example.com"}]}}`, "another user"},
	{`{"error":{"code":400,"errors":[{"reason":"failedPrecondition","message":"Mail service not enabled"}]}}`, "no Gmail"},
	{`{"error":{"code":400,"errors":[{"reason":"invalidArgument","message":"Recipient address required"}]}}`, "recipient"},
	{`{"error":{"code":429,"errors":[{"reason":"userRateLimitExceeded","message":"User-rate limit exceeded.  (Mail sending)"}]}}`, "sending limit"},
	{`{"error":{"code":429,"errors":[{"reason":"rateLimitExceeded","message":"x"}]}}`, "a minute"},
	{`{"error":{"code":403,"errors":[{"reason":"dailyLimitExceeded","message":"x"}]}}`, "project"},
}

func TestMoreSamples(t *testing.T) {
	for _, s := range moreSamples {
		got, ok := Of(s.text)
		if !ok || got.General || !strings.Contains(got.Cause, s.cause) || got.Remedy == "" {
			t.Errorf("%q is explained as %+v, want %q in its cause", s.text, got, s.cause)
		}
	}
}

// TestCodeBeforeWords: what a server words differently means the same.
func TestCodeBeforeWords(t *testing.T) {
	for text, id := range map[string]string{
		"554 5.2.252 quite other words":                       "ms_send_as_denied",
		"550-5.7.708 andere Worte\n550 5.7.708 und noch mehr": "ms_address_low_reputation",
		"invalid_client: aadsts7000222 (localised text)":      "aadsts7000222",
		"432 4.3.2 x":               "ms_concurrent_connections",
		"535 5.7.139 etwas anderes": "ms_5_7_139",
		"550 5.7.1 connection refused by policy of relay": "relay_denied",
	} {
		if got, _ := Of(text); got.ID != id {
			t.Errorf("%q is explained as %q, want %q", text, got.ID, id)
		}
	}
}

// TestUnknownCodes: what no row knows is explained in general, and says so.
func TestUnknownCodes(t *testing.T) {
	for _, s := range []struct {
		text, id, cause string
		retry           bool
	}{
		{"550 5.7.999 Something new", "reply_5_7_999", "a right, a policy or a login", false},
		{"451 4.4.99 Something new", "reply_4_4_99", "the network", true},
		{"559 5.9.1 Something new", "reply_5_9_1", "does not name", false},
		{"554 Something new", "reply_554", "does not name", false},
		{"421 go away", "reply_421", "the network", true},
		{"454 4.7.0 x: 550 5.6.77 y", "reply_5_6_77", "content", false},
		{"invalid_grant: AADSTS99999999: something new", "aadsts99999999", "not in the gateway's table", false},
		{`{"error":{"code":"ErrorSomethingNew","message":"x"}}`, "api_other", "not in the gateway's table", false},
	} {
		got, ok := Of(s.text)
		if !ok || !got.General || got.ID != s.id || !strings.Contains(got.Cause, s.cause) || got.RetryHelps != s.retry {
			t.Errorf("%q is explained as %+v", s.text, got)
		}
	}
	// Addresses and versions are no status codes.
	for _, text := range []string{"seen at 192.5.7.1 today", "version 10.5.7.139.2", "dial 5.7.1.9:25"} {
		if got, ok := Of(text); ok {
			t.Errorf("%q is explained as %+v", text, got)
		}
	}
}

// TestPersonalMailbox: the owner of a personal mailbox is sent to no
// administrator, whatever the provider says.
func TestPersonalMailbox(t *testing.T) {
	forbidden := regexp.MustCompile(`Exchange|Set-CASMailbox|Set-Transport|Entra|An administrator|dministrator (?:grants|enables|runs|looks|finds)`)
	abouts := []About{
		{Mailbox: "me@outlook.com"},
		{Mailbox: "me@hotmail.co.uk"},
		{Mailbox: "me@live.de"},
		{Mailbox: "ME@MSN.COM"},
		{Mailbox: "me@example.org", Host: "smtp-mail.outlook.com"},
	}
	for i := range table {
		r := &table[i]
		text := strings.ToUpper(strings.Join(r.codes[:min(1, len(r.codes))], " ")) + " "
		for _, w := range r.words {
			alt, _, _ := strings.Cut(w, "|")
			text += alt + " "
		}
		for _, a := range abouts {
			got, ok := a.Of(text)
			if !ok {
				t.Errorf("%s: %q is not explained", r.ID, text)
			}
			if m := forbidden.FindString(got.Remedy); m != "" {
				t.Errorf("%s: %s is told %q: %s", r.ID, a.Mailbox, m, got.Remedy)
			}
		}
	}
	text := "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."
	if got, _ := abouts[0].Of(text); !strings.Contains(got.Remedy, "Graph") || !strings.Contains(got.Cause, "personal") {
		t.Errorf("%+v", got)
	}
	if got, _ := (About{Mailbox: "x@outlook-services.example"}).Of(text); !strings.Contains(got.Remedy, "`Set-CASMailbox -Identity x@outlook-services.example ") {
		t.Errorf("%+v", got)
	}
}

func TestNamesArePutIn(t *testing.T) {
	got, _ := About{Account: "scanner", Mailbox: "s@example.com"}.Of("invalid_grant: AADSTS700082: x")
	if !strings.Contains(got.Remedy, "`caddy smtp login scanner`") {
		t.Errorf("%+v", got)
	}
}

// TestTable holds that each row says all it must, and can be found.
func TestTable(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9_]+$`)
	seen := make(map[string]bool)
	for i := range table {
		r := &table[i]
		if !id.MatchString(r.ID) || seen[r.ID] {
			t.Errorf("ID %q is malformed or stands twice", r.ID)
		}
		seen[r.ID] = true
		texts := []string{r.Cause, r.Remedy}
		if r.personal != nil {
			texts = append(texts, r.personal.cause, r.personal.remedy)
		}
		for _, text := range texts {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is not a sentence", r.ID, text)
			}
		}
		if len(r.codes)+len(r.words) == 0 {
			t.Errorf("%s matches everything", r.ID)
		}
		for _, m := range append(r.words, r.codes...) {
			if m != strings.ToLower(m) || m == "" || strings.HasPrefix(m, "|") || strings.HasSuffix(m, "|") || strings.Contains(m, "||") {
				t.Errorf("%s: %q is malformed", r.ID, m)
			}
		}
		// Each of its codes leads to it, if its words are there.
		words := ""
		for _, w := range r.words {
			alt, _, _ := strings.Cut(w, "|")
			words += " " + alt
		}
		for _, c := range r.codes {
			if got := find(c + words); got == nil {
				t.Errorf("%s is not found by %q", r.ID, c+words)
			}
		}
		if len(r.codes) > 0 {
			if got := find(r.codes[0] + words); got != r {
				t.Errorf("%q finds %s in place of %s", r.codes[0]+words, got.ID, r.ID)
			}
		}
	}
}

func FuzzOf(f *testing.F) {
	for _, s := range moreSamples {
		f.Add(s.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := About{Account: "a", Mailbox: "a@example.com"}.Of(text)
		if ok != (e.ID != "") || ok && (e.Cause == "" || e.Remedy == "") {
			t.Errorf("%q: %+v, %t", text, e, ok)
		}
	})
}

// TestOwnWords: what the gateway itself says with a code that providers use too is
// not taken for their word.
func TestOwnWords(t *testing.T) {
	for text, want := range map[string]string{
		"454 4.7.0 The mailbox needs consent again: run `caddy smtp login` for this account":                                "own_needs_consent",
		"454 4.7.0 The provider's token endpoint is unavailable, try again later":                                           "own_token_endpoint",
		"454 4.7.0 The access token is another user's: the mailbox's owner has to consent":                                  "own_other_user",
		"454 4.7.0 Temporary authentication failure, try again later":                                                       "own_busy_logins",
		"454 4.7.0 The provider refused the gateway's authentication for this account: 535 5.7.99 Zorp":                     "reply_5_7_99",
		"454 4.7.0 The provider refused the gateway's authentication for this account: 535 Zorp":                            "reply_535",
		"454 4.7.0 The provider refused the gateway's authentication for this account: Zorp":                                "own_login_refused",
		"451 4.7.1 The provider refuses the gateway's connection: 554 5.7.1 Your address 192.0.2.1 is on our block list":    "own_connection_refused",
		"greeting: the provider refuses the gateway's connection: 554 Your address 192.0.2.1 is on our block list":          "own_connection_refused",
		"451 4.3.2 The provider refuses the gateway's connection: 421 4.7.0 Try again later":                                "own_connection_refused_now",
		"451 4.3.2 The provider refuses the gateway's connection: 421 4.7.0 IP not in whitelist":                            "own_connection_refused_now",
		"451 4.3.2 The provider refuses the gateway's connection: 454 4.7.0 TLS not available due to temporary reason":      "own_connection_refused_now",
		"451 4.3.2 The provider refuses the gateway's connection: 421 4.7.0 Temporary System Problem. Try again later (7).": "google_temporary",
		"451 4.7.1 The provider refuses the gateway's connection: 550 5.7.1 Your address 192.0.2.1 is on our block list":    "own_connection_refused",
		"451 4.3.2 The provider limits this account's connections: 432 4.3.2 Concurrent connections limit exceeded":         "ms_concurrent_connections",
		"454 4.7.0 The provider does not announce mechanism xoauth2":                                                        "own_mechanism",
		"auth: the provider does not announce mechanism xoauth2; `force` uses it anyway":                                    "no_mechanism",
		"454 4.7.0 No upstream of this account takes its mailbox: 550 5.7.99 Zorp":                                          "reply_5_7_99",
		"451 4.4.2 The provider's API gave no clear answer after the message, delivery unknown: Gmail API: HTTP 502":        "http_502",
	} {
		if e, ok := Of(text); !ok || e.ID != want {
			t.Errorf("%q is explained as %q: %s", text, e.ID, e.Cause)
		}
	}
}
