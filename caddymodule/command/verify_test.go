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
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/sandbox"
)

func TestTestCommand(t *testing.T) {
	g := gatewaytest.New(t)
	const name = "doctor@example.com"
	g.MustRun(t, "rt-"+name, "account", "add", name, "--upstream", "oauth", "--refresh-token-file", "-")

	out := g.MustRun(t, "", "test", name, "--from", name)
	for _, want := range []string{"tls", "token", "auth", "mail", name + " can send through oauth."} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.Contains(out, ", PIPELINING, ") {
		t.Errorf("a reply of several lines is not on one:\n%s", out)
	}
	if g.Sandbox.MessageCount() != 0 {
		t.Error("a message was sent")
	}

	for _, tc := range []struct {
		what  string
		fault sandbox.Fault
		args  []string
		want  []string
	}{
		{
			"SMTP AUTH disabled",
			sandbox.Fault{Stage: "auth", Action: "reply", Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."},
			nil,
			[]string{"FAILED", "5.7.139", "switched off for this mailbox", "Set-CASMailbox", "Retry helps:   no"},
		},
		{
			"concurrent connections",
			sandbox.Fault{Stage: "auth", Action: "reply", Reply: "432 4.3.2 Concurrent connections limit exceeded."},
			nil,
			[]string{"More than 3 connections", "Retry helps:   yes"},
		},
		{
			"sender refused",
			sandbox.Fault{Stage: "mail", Action: "reply", Reply: "550 5.7.60 SMTP; Client does not have permissions to send as this sender"},
			[]string{"--from", "other@example.com"},
			[]string{"no permission to send as this sender", "Add-RecipientPermission"},
		},
		{
			"wrong certificate",
			sandbox.Fault{Stage: "tls", Action: "wrong_certificate"},
			nil,
			[]string{"FAILED", "certificate"},
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if _, err := g.Sandbox.AddFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			defer g.Sandbox.ClearFaults()
			out, stderr, err := g.Run(t, "", append([]string{"test", name}, tc.args...)...)
			if err == nil || !strings.Contains(stderr, "cannot send through") {
				t.Errorf("%v, %s", err, stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}

	const revoked = "revoked@example.com"
	g.MustRun(t, "rt-"+revoked, "account", "add", revoked, "--upstream", "oauth", "--refresh-token-file", "-")
	g.Sandbox.RevokeMailbox(revoked)
	out, _, err := g.Run(t, "", "test", revoked, "--json")
	var result operate.VerifyResult
	if jsonErr := json.Unmarshal([]byte(out), &result); err == nil || jsonErr != nil {
		t.Fatalf("%v, %v, %s", err, jsonErr, out)
	}
	last := result.Steps[len(result.Steps)-1]
	if result.OK || last.Name != "token" || result.Explanation == nil || result.Explanation.ID != "google_revoked" {
		t.Errorf("revoked: %+v", result)
	}
	if strings.Contains(out, "rt-"+revoked) {
		t.Errorf("the refresh token is shown: %s", out)
	}
	if _, stderr, err := g.Run(t, "", "test", "nobody@example.com"); err == nil || !strings.Contains(stderr, "no such account") {
		t.Errorf("unknown account: %v, %s", err, stderr)
	}
}
