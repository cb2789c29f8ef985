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
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/mscloud"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// Grants, as they stand in the configuration.
const (
	GrantRefreshToken      = "refresh_token"
	grantClientCredentials = "client_credentials"
	GrantServiceAccount    = "service_account"
	GrantExternal          = "external"
)

// kind is what is published of one sort of authorization server. Everything
// that differs between providers is in this table; there is no code per kind.
type kind struct {
	tokenURL, authURL, deviceURL string
	issuer                       string
	// keysURL is where the keys of ID tokens are.
	keysURL string
	// scopes are those of a mailbox's consent, appScopes those of a
	// program's own identity.
	scopes, appScopes []string
	// grants that the provider offers for mail.
	grants []string
	// refreshScope says that refresh requests name the scopes. Microsoft
	// answers AADSTS900144 without them.
	refreshScope bool
	// oneResource says that a token request may name the scopes of one
	// resource only (AADSTS28000).
	oneResource bool
	// static says that refresh tokens are never rotated.
	static bool
	// pss says that assertions of RSA keys are signed with PS256.
	pss bool
	// authParams go with the authorization request.
	authParams map[string]string
	// idleDays is how long a refresh token lives that nobody uses.
	idleDays int
	// loginScopes go with the consent, so that its answer says who consented.
	loginScopes []string
	// loopback is the host of the redirect URI of `caddy smtp login`.
	loopback string
	// noDevice says why the device grant is of no use, where it is not.
	noDevice string
}

// In URLs and scopes {login}, {outlook}, {app_outlook} and {tenant} stand for
// the parts that the provider's configuration gives.
var kinds = map[string]kind{
	// https://developers.google.com/identity/protocols/oauth2
	"google": {
		tokenURL:   "https://oauth2.googleapis.com/token",
		authURL:    "https://accounts.google.com/o/oauth2/v2/auth",
		issuer:     "https://accounts.google.com",
		keysURL:    "https://www.googleapis.com/oauth2/v3/certs",
		scopes:     []string{"https://mail.google.com/"},
		appScopes:  []string{"https://mail.google.com/"},
		grants:     []string{GrantRefreshToken, GrantServiceAccount, GrantExternal},
		authParams: map[string]string{"access_type": "offline", "prompt": "consent"},
		idleDays:   180,
		static:     true,

		loginScopes: []string{"openid", "email"},
		noDevice:    "Google does not allow mail scopes in the device flow",
	},
	// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
	"microsoft": {
		tokenURL:  "{login}/{tenant}/oauth2/v2.0/token",
		authURL:   "{login}/{tenant}/oauth2/v2.0/authorize",
		deviceURL: "{login}/{tenant}/oauth2/v2.0/devicecode",
		keysURL:   "{login}/{tenant}/discovery/v2.0/keys",
		// Without it a browser in which somebody is signed in consents as
		// that one without a word. Never `consent`: it asks users for an
		// administrator's approval that the tenant has given already.
		authParams:   map[string]string{"prompt": "select_account"},
		scopes:       []string{"{outlook}/SMTP.Send", "offline_access"},
		appScopes:    []string{"{app_outlook}/.default"},
		grants:       []string{GrantRefreshToken, grantClientCredentials, GrantExternal},
		refreshScope: true,
		oneResource:  true,
		pss:          true, // https://learn.microsoft.com/entra/identity-platform/certificate-credentials
		idleDays:     90,
		loginScopes:  []string{"openid", "email", "profile"},
		// Entra ignores the port of this host only.
		loopback: "localhost",
	},
	// https://developer.yahoo.com/oauth2/guide/
	"yahoo": {
		tokenURL: "https://api.login.yahoo.com/oauth2/get_token",
		authURL:  "https://api.login.yahoo.com/oauth2/request_auth",
		scopes:   []string{"mail-w"},
		grants:   []string{GrantRefreshToken, GrantExternal},
	},
	"aol": {
		tokenURL: "https://api.login.aol.com/oauth2/get_token",
		authURL:  "https://api.login.aol.com/oauth2/request_auth",
		scopes:   []string{"mail-w"},
		grants:   []string{GrantRefreshToken, GrantExternal},
	},
	// https://www.fastmail.com/for-developers/oauth/
	"fastmail": {
		tokenURL: "https://api.fastmail.com/oauth/refresh",
		authURL:  "https://api.fastmail.com/oauth/authorize",
		scopes:   []string{"https://www.fastmail.com/dev/protocol-smtp", "offline_access"},
		grants:   []string{GrantRefreshToken, GrantExternal},
	},
	"generic": {
		grants: []string{GrantRefreshToken, grantClientCredentials, GrantServiceAccount, GrantExternal},
	},
}

// Kinds returns the names of the kinds of providers, in order.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// applyKind fills in what the kind gives and the configuration doesn't.
func (p *Provider) applyKind() error {
	if p.Kind == "" {
		p.Kind = "generic"
		if _, ok := kinds[p.name]; ok {
			p.Kind = p.name
		}
	}
	k, ok := kinds[p.Kind]
	if !ok {
		return fmt.Errorf("unrecognized kind '%s', want %s%s", p.Kind, form.Or(Kinds()), nearest.Hint(p.Kind, Kinds()))
	}
	p.kind = k
	p.Grant = cmp.Or(p.Grant, GrantRefreshToken)
	if !slices.Contains(k.grants, p.Grant) {
		return fmt.Errorf("grant '%s' is not available with kind '%s', want %s%s", p.Grant, p.Kind, form.Or(k.grants), nearest.Hint(p.Grant, k.grants))
	}
	if p.Kind != "microsoft" && (p.Tenant != "" || p.Cloud != "") {
		return fmt.Errorf("tenant and cloud need kind 'microsoft', not '%s'", p.Kind)
	}
	c, err := mscloud.Find(p.Cloud)
	if err != nil {
		return err
	}
	p.Cloud, p.cloud = c.Name, c
	p.Tenant = cmp.Or(p.Tenant, "common")
	if err := form.Tenant.Check(p.Tenant); err != nil {
		return err
	}
	if p.Kind == "microsoft" && p.Grant == grantClientCredentials && p.TokenURL == "" &&
		slices.Contains([]string{"common", "organizations", "consumers"}, p.Tenant) {
		return fmt.Errorf("grant '%s' needs the tenant's domain or ID, not '%s'", p.Grant, p.Tenant)
	}
	// A user's own issuer or token endpoint is another server than the
	// kind's: the kind's other endpoints would not belong to it.
	own := p.TokenURL != "" || p.Issuer != ""
	p.ownServer = own
	if !own {
		p.TokenURL = p.fill(k.tokenURL)
	}
	if p.AuthURL == "" && !own {
		p.AuthURL = p.fill(k.authURL)
	}
	if p.DeviceAuthURL == "" && !own {
		p.DeviceAuthURL = p.fill(k.deviceURL)
	}
	if len(p.Scopes) == 0 {
		from := k.scopes
		if p.Grant != GrantRefreshToken {
			from = k.appScopes
		}
		for _, s := range from {
			p.Scopes = append(p.Scopes, p.fill(s))
		}
	}
	return nil
}

// fill puts the parts that the configuration gives into a URL or a scope.
func (p *Provider) fill(s string) string {
	c := p.cloud
	return strings.NewReplacer("{login}", c.Login, "{outlook}", c.Outlook, "{app_outlook}", c.AppOutlook, "{tenant}", p.Tenant).Replace(s)
}
