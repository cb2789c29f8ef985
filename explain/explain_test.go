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
	{"454 4.7.0 The mailbox needs consent again: run `caddy smtp login` for this account", "consent_required"},
	{"tls: failed to verify certificate: x509: certificate signed by unknown authority", "cert_unknown_authority"},
	{"tls: failed to verify certificate: x509: certificate is valid for mail.example.com, not smtp.example.com", "cert_name"},
	{"tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time ...", "cert_expired"},
	{"tls: failed to verify certificate: x509: certificate specifies an incompatible key usage", "cert_other"},
	{"tls: first record does not look like a TLS handshake", "tls_mode"},
	{"upstream does not offer STARTTLS", "no_starttls"},
	{"remote error: tls: handshake failure", "tls_refused"},
	{"dial tcp: lookup smtp.example.invalid: no such host", "dns_no_host"},
	{"dial tcp: lookup smtp.example.com on 127.0.0.1:53: server misbehaving", "dns_trouble"},
	{"dial tcp 192.0.2.9:0->192.0.2.1:587: bind: cannot assign requested address", "source_ip"},
	{"dial tcp 127.0.0.1:1: connect: connection refused", "refused"},
	{"dial tcp 192.0.2.1:465: i/o timeout", "timeout"},
	{"dial tcp [2001:db8::1]:587: connect: network is unreachable", "no_route"},
	{"read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "reset"},
}

func TestExplain(t *testing.T) {
	sampled := make(map[string]bool)
	for _, s := range failureSamples {
		got, ok := SMTP(s.text)
		if !ok || got.ID != s.id {
			t.Errorf("%q is explained as %q, want %q", s.text, got.ID, s.id)
		}
		sampled[s.id] = true
	}
	for _, f := range failures {
		if !sampled[f.ID] {
			t.Errorf("%s has no sample", f.ID)
		}
	}
	if got, ok := SMTP("250 2.0.0 OK"); ok {
		t.Errorf("success is explained as %q", got.ID)
	}
}

// TestFailureList holds that each entry says all it must.
func TestFailureList(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9_]+$`)
	seen := make(map[string]bool)
	for _, f := range failures {
		if !id.MatchString(f.ID) || seen[f.ID] {
			t.Errorf("ID %q is malformed or stands twice", f.ID)
		}
		seen[f.ID] = true
		for _, text := range []string{f.Cause, f.Remedy} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is not a sentence", f.ID, text)
			}
		}
		if len(f.match) == 0 {
			t.Errorf("%s matches everything", f.ID)
		}
		for _, m := range f.match {
			if m != strings.ToLower(m) || m == "" || strings.HasPrefix(m, "|") || strings.HasSuffix(m, "|") || strings.Contains(m, "||") {
				t.Errorf("%s: match %q is malformed", f.ID, m)
			}
		}
	}
}
