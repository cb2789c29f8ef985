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

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/sandbox"
)

// TestGraphPermissions: what an administrator has not granted, or the mailbox does not
// have, is what "smtp test" names, with what helps, and after one message the doctor.
func TestGraphPermissions(t *testing.T) {
	const graph = "graph-permissions"
	cases := map[string]struct {
		reply string
		want  []string
	}{
		"granted": {want: []string{"can send through"}},
		"missing": {reply: "403 ErrorAccessDenied Access is denied. Check credentials and try again.",
			want: []string{"the permission Mail.Send is missing", "Test-ServicePrincipalAuthorization"}},
		"policy": {reply: "403 ErrorAccessDenied Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
			want: []string{"application access policy", "Test-ApplicationAccessPolicy"}},
		"entra": {reply: "403 Authorization_RequestDenied Insufficient privileges to complete the operation.",
			want: []string{"lacks a permission in Entra", "grants consent"}},
		"nomailbox": {reply: "404 MailboxNotEnabledForRESTAPI The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
			want: []string{"no licence", "Get-Recipient"}},
		"nouser": {reply: "404 ErrorInvalidUser The requested user 'nouser@example.com' is invalid.",
			want: []string{"no such user in the tenant", "tenant"}},
		"full": {reply: "507 ErrorQuotaExceeded The mailbox is full", want: []string{"Sent Items", "Empty the mailbox"}},
	}
	var opts []option
	for name := range cases {
		a := account(name+"@example.com", name+"@example.com")
		a["upstream"] = graph
		opts = append(opts, withAccount(a))
	}
	w := newProcessWorld(t, opts...)
	w.app("smtp_upstreams")["upstreams"].(object)[graph] = object{"transport": "graph", "provider": "sandbox", "endpoint": w.sandbox.HTTPURL()}
	admin := freeAddr(t)
	w.config["admin"] = object{"listen": admin, "config": object{"persist": false}}
	for name, tc := range cases {
		if tc.reply == "" {
			continue
		}
		if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "api_head", Action: "reply", Mailbox: name + "@example.com", Reply: tc.reply}); err != nil {
			t.Fatal(err)
		}
	}
	w.run()
	for name := range cases {
		if reply := apiSend(w.addr, name+"@example.com", false, 0); strings.HasPrefix(reply, "250 ") != (name == "granted") {
			t.Errorf("%s: %s", name, reply)
		}
	}
	report, _ := w.command(admin, "doctor", "--json")
	var found operate.DoctorReport
	if err := json.NewDecoder(strings.NewReader(report)).Decode(&found); err != nil {
		t.Fatalf("%v: %s", err, report)
	}
	said := make(map[string]string)
	for _, f := range found.Findings {
		if f.Check == "login" {
			said[f.Account] += f.Cause + " " + f.Remedy
		}
	}
	for name, tc := range cases {
		if got, ok := said[name+"@example.com"]; ok != (name != "granted") {
			t.Errorf("%s: the doctor says %q", name, got)
		}
		for _, words := range tc.want {
			if name != "granted" && !strings.Contains(said[name+"@example.com"], words) {
				t.Errorf("%s: the doctor does not say %q: %s", name, words, said[name+"@example.com"])
			}
		}
	}
	for name, tc := range cases {
		out, err := w.command(admin, "test", name+"@example.com")
		if (err == nil) != (name == "granted") {
			t.Errorf("%s: %v", name, err)
		}
		for _, words := range tc.want {
			if !strings.Contains(out, words) {
				t.Errorf("%s: it does not say %q:\n%s", name, words, out)
			}
		}
	}
	if n := len(w.sandbox.Messages()); n != 1 {
		t.Errorf("%d messages were sent", n)
	}
}
