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

package authserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMissingScopes(t *testing.T) {
	entra := &Provider{Kind: "microsoft", Scopes: []string{"https://outlook.office.com/SMTP.Send", "https://graph.microsoft.com/Mail.Send", "offline_access"}}
	google := &Provider{Kind: "google"}
	for _, p := range []*Provider{entra, google} {
		if err := p.applyKind(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		p       *Provider
		granted string
		want    []string
	}{
		{google, "", nil},
		{google, "openid https://mail.google.com/ https://www.googleapis.com/auth/userinfo.email", nil},
		{google, "openid,https://mail.google.com/", nil},
		{google, "openid https://www.googleapis.com/auth/userinfo.email", []string{"https://mail.google.com/"}},
		{entra, "https://outlook.office.com/SMTP.Send", nil},
		{entra, "HTTPS://outlook.office.com/smtp.send openid", nil},
		{entra, "https://outlook.office.com/IMAP.AccessAsUser.All", []string{"https://outlook.office.com/SMTP.Send"}},
		{entra, "Mail.Send openid profile", nil},
	} {
		if got := c.p.missingScopes(c.granted); !slices.Equal(got, c.want) {
			t.Errorf("granted %q: missing %q, want %q", c.granted, got, c.want)
		}
	}
}

func TestAdminConsentURL(t *testing.T) {
	for tenant, want := range map[string]string{"common": "organizations", "contoso.onmicrosoft.com": "contoso.onmicrosoft.com"} {
		p := &Provider{Kind: "microsoft", Tenant: tenant, ClientID: "app"}
		if err := p.applyKind(); err != nil {
			t.Fatal(err)
		}
		got := p.AdminConsentURL("https://mail.example.com/connect/callback/m", "admin")
		if !strings.HasPrefix(got, "https://login.microsoftonline.com/"+want+"/v2.0/adminconsent?client_id=app&redirect_uri=https%3A%2F%2Fmail.example.com") ||
			!strings.Contains(got, "state=admin") || !strings.Contains(got, "SMTP.Send") {
			t.Errorf("tenant %s: %s", tenant, got)
		}
	}
	g := &Provider{Kind: "google"}
	if err := g.applyKind(); err != nil || g.AdminConsentURL("https://a/b", "admin") != "" {
		t.Errorf("Google: %v, %q", err, g.AdminConsentURL("https://a/b", "admin"))
	}
	if g.promptChoice() != "select_account consent" {
		t.Errorf("Google's picker: %s", g.promptChoice())
	}
	for want, p := range map[string]*Provider{
		"select_account": {Kind: "microsoft", Tenant: "example.com"}, "login": {TokenURL: "https://a/token"},
	} {
		if err := p.applyKind(); err != nil || p.promptChoice() != want {
			t.Errorf("the picker of kind '%s': %q, %v", p.Kind, p.promptChoice(), err)
		}
	}
}

func TestFlowStateIsSecret(t *testing.T) {
	s := FlowState{Provider: "p", State: "the-state", Nonce: "the-nonce", Verifier: "the-verifier"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, s); strings.Contains(got, "the-") {
			t.Errorf("%s shows %q", format, got)
		}
	}
}
