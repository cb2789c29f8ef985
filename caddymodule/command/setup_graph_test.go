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

package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

const (
	graphClient = "22222222-3333-4444-5555-666666666666"
	graphObject = "33333333-4444-5555-6666-777777777777"
)

// startMicrosoft is a sandbox with Microsoft's manners, and the flags that lead there.
func startMicrosoft(t *testing.T) (sb *sandbox.Sandbox, flags []string) {
	t.Helper()
	tmp := t.TempDir()
	ca, secret := filepath.Join(tmp, "ca.pem"), filepath.Join(tmp, "secret")
	sb, err := sandbox.Start(&sandbox.App{Profile: "microsoft", CAFile: ca, Clients: map[string]string{graphClient: "abc8Q~sandbox-secret"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	if err := os.WriteFile(secret, []byte("abc8Q~sandbox-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tenant := sb.HTTPURL() + "/contoso.example/oauth2/v2.0"
	return sb, []string{
		"--provider", "microsoft", "--token-url", tenant + "/token", "--auth-url", tenant + "/authorize", "--graph-url", sb.HTTPURL(), "--ca-file", ca,
		"--client-id", graphClient, "--client-secret-file", secret, "--to", "kim@example.org", "--hostname", "localhost",
	}
}

// TestSetupGraphApp is an office whose tenant does not switch SMTP AUTH on: SMTP fails and
// says so, and the same directory goes on with Graph, at first before the script was run.
func TestSetupGraphApp(t *testing.T) {
	sb, flags := startMicrosoft(t)
	dir := filepath.Join(t.TempDir(), "gateway")
	flags = append(flags, "--way", "app", "--tenant", "contoso.example", "--object-id", graphObject, "--mailbox", "scanner@contoso.example")
	_, err := sb.AddFault(sandbox.Fault{Stage: "auth", Action: "reply", Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information."})
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := consentTo(t, setupIn(t, dir, append(flags, "--dial", sb.SMTPAddr())...))
	if err == nil || !strings.Contains(out, "smtp setup --transport graph") {
		t.Fatalf("SMTP AUTH is off: %v, and nothing leads to Graph\n%s", err, out)
	}

	denied, err := sb.AddFault(sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "403 ErrorAccessDenied Access is denied. Check credentials and try again."})
	if err != nil {
		t.Fatal(err)
	}
	// What was answered is kept, the secret too.
	out, _, err = consentTo(t, setupIn(t, dir, "--transport", "graph", "--replace"))
	for _, want := range []string{
		"New-ServicePrincipal -AppId '" + graphClient + "' -ObjectId '" + graphObject + "'", `New-ManagementRoleAssignment -App '` + graphClient + `' -Role "Application Mail.Send" -CustomResourceScope mailgateway`,
		"Set-Mailbox -Identity 'scanner@contoso.example' -CustomAttribute1 mailgateway", "Test-ServicePrincipalAuthorization -Identity '" + graphClient + "' -Resource 'scanner@contoso.example'",
		"ok      Microsoft Graph", "FAILED  mailbox scanner@contoso.example: the application may not send as it yet", "2 hours",
	} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("before the script was run: %v, and no %q", err, want)
		}
	}
	if config, err := os.ReadFile(filepath.Join(dir, "Caddyfile")); err != nil || strings.Contains(string(config), "graph") {
		t.Errorf("a configuration was written that cannot send (%v):\n%s", err, config)
	}
	sb.RemoveFault(denied)
	out, consents, err := consentTo(t, setupIn(t, dir, "--replace"))
	if err != nil || consents != 0 || !strings.Contains(out, "ok      mailbox scanner@contoso.example: the application may send as it") ||
		!strings.Contains(out, "was accepted by the provider") || !strings.Contains(out, "--upstream graph") {
		t.Fatalf("%v, %d consents\n%s", err, consents, out)
	}
	if strings.Contains(out, "sandbox-secret") {
		t.Error("the secret is shown")
	}
	got := sb.Messages()
	if len(got) != 1 || got[0].From != "scanner@contoso.example" || got[0].Rcpts[0] != "kim@example.org" || got[0].Framing != "GRAPH" {
		t.Errorf("the provider has %+v", got)
	}
}

// TestSetupGraphOwners: each owner agrees to Mail.Send; a personal mailbox's owner is led
// there without a word of tenants.
func TestSetupGraphOwners(t *testing.T) {
	for name, tc := range map[string]struct {
		mailbox, upstream string
		flags             []string
	}{
		"an office's": {"scanner@contoso.example", "graph", []string{"--way", "user", "--transport", "graph", "--tenant", "contoso.example"}},
		"a personal":  {"kim@outlook.com", "outlook", []string{"--way", "personal"}},
	} {
		t.Run(name, func(t *testing.T) {
			sb, flags := startMicrosoft(t)
			dir := filepath.Join(t.TempDir(), "gateway")
			flags = append(append(flags, tc.flags...), "--mailbox", tc.mailbox)
			// At first the tenant wants its administrator.
			sb.AnswerConsents(sandbox.ConsentAnswer{Error: "access_denied", Description: "AADSTS65004: User declined to consent to access the app."})
			out, consents, err := consentTo(t, setupIn(t, dir, flags...))
			if err == nil || consents != 1 || !strings.Contains(out, "AADSTS65004") || strings.Contains(out, "PowerShell") {
				t.Errorf("declined: %v, %d consents\n%s", err, consents, out)
			}
			sb.AnswerConsents(sandbox.ConsentAnswer{Mailbox: tc.mailbox})
			out, consents, err = consentTo(t, setupIn(t, dir, flags...))
			if err != nil || consents != 1 || !strings.Contains(out, "consent of "+tc.mailbox) || !strings.Contains(out, "the mailbox may send") || !strings.Contains(out, "--upstream "+tc.upstream) {
				t.Fatalf("%v, %d consents\n%s", err, consents, out)
			}
			if strings.Contains(out, "smtp.office365.com") || strings.Contains(out, "SmtpClientAuthentication") {
				t.Errorf("SMTP is spoken of:\n%s", out)
			}
			if got := sb.Messages(); len(got) != 1 || got[0].From != tc.mailbox || got[0].Framing != "GRAPH" {
				t.Errorf("the provider has %+v", got)
			}
		})
	}
}
