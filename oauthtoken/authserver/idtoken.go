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
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/caddymail/mailgateway/internal/fold"
)

// Identity is who consented, as a checked ID token says.
type Identity struct {
	// Issuer is the issuer of the ID token. At Microsoft it names the tenant.
	Issuer string `json:"iss,omitempty"`
	// Tenant is Microsoft's tenant ID.
	Tenant string `json:"tid,omitempty"`
	// Subject is what never changes: Microsoft's object ID, elsewhere `sub`.
	Subject string `json:"sub"`
	// Name is how the owner is shown: an address. It may change.
	Name string `json:"name,omitempty"`
	// Own: the mailbox was one of the identity's own addresses, which a delegate's is not.
	Own bool `json:"own,omitempty"`
}

// same reports whether two consents came from one person.
func (i *Identity) same(o *Identity) bool {
	if i.Tenant != "" || o.Tenant != "" {
		// Entra's issuer differs between its clouds and versions for one user.
		return i.Tenant == o.Tenant && i.Subject == o.Subject
	}
	return i.Issuer == o.Issuer && i.Subject == o.Subject
}

// Tenants of Entra that stand for many. The ID is the tenant of personal
// accounts (https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference).
var manyTenants = []string{"common", "organizations", "consumers"}

const personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// idTokenAlgorithms are those of RFC 7518 and RFC 8037 with a public key.
var idTokenAlgorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// idClaims are the claims that say who somebody is.
type idClaims struct {
	AuthorizedParty string `json:"azp"`
	Tenant          string `json:"tid"`
	Object          string `json:"oid"`
	Email           string `json:"email"`
	EmailVerified   any    `json:"email_verified"`
	Preferred       string `json:"preferred_username"`
	UPN             string `json:"upn"`
	Groups          any    `json:"groups"`
	// IdentityProvider is who has signed a guest in, at Entra: another tenant, or
	// that of personal accounts.
	IdentityProvider string `json:"idp"`
}

// guest reports whether a user of a tenant comes from elsewhere.
// https://learn.microsoft.com/entra/external-id/user-token
func (c *idClaims) guest() bool {
	return c.Tenant != "" && c.Tenant != personalTenant && c.IdentityProvider != "" && !strings.Contains(strings.ToLower(c.IdentityProvider), c.Tenant)
}

// identify checks an ID token (OpenID Connect Core section 3.1.3.7) and
// returns who it is about, and the addresses that may stand for a mailbox.
//
// Without a configured issuer neither `iss` nor the signature can be checked: the token came over
// TLS from the token endpoint itself, which item 6 of that section lets stand for the signature.
func (p *Provider) identify(ctx context.Context, raw string, ep *endpoints, nonce string) (*Identity, []string, error) {
	id, c, err := p.checkIDToken(ctx, raw, ep, nonce)
	if err != nil {
		return nil, nil, err
	}
	names := p.addresses(c)
	if len(names) > 0 {
		id.Name = OneLine(names[0])
	}
	return id, names, nil
}

func (p *Provider) checkIDToken(ctx context.Context, raw string, ep *endpoints, nonce string) (*Identity, *idClaims, error) {
	cfg := &oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: idTokenAlgorithms, Now: func() time.Time { return p.clock.now() }}
	issuer, keys, err := p.idTokenIssuer(ctx, ep)
	if err != nil {
		return nil, nil, err
	}
	if err := checkClaimNames(raw); err != nil {
		return nil, nil, err
	}
	var set oidc.KeySet
	if keys == "" {
		cfg.SkipIssuerCheck, cfg.InsecureSkipSignatureCheck = true, true
	} else {
		// Entra's issuer follows from a claim, and is checked below.
		cfg.SkipIssuerCheck = issuer == ""
		set = oidc.NewRemoteKeySet(oidc.ClientContext(ctx, p.boundedClient()), keys)
	}
	t, err := oidc.NewVerifier(issuer, set, cfg).Verify(ctx, raw)
	if err != nil {
		return nil, nil, errors.New(Sanitize(strings.TrimPrefix(err.Error(), "oidc: "), raw))
	}
	var c idClaims
	if err := t.Claims(&c); err != nil {
		return nil, nil, errors.New("malformed claims")
	}
	switch {
	case nonce != "" && t.Nonce != nonce:
		return nil, nil, errors.New("it belongs to another login (nonce differs)")
	case (len(t.Audience) > 1 || c.AuthorizedParty != "") && c.AuthorizedParty != p.ClientID:
		return nil, nil, errors.New("it was issued to another client (azp differs)")
	}
	id := &Identity{Issuer: t.Issuer, Subject: t.Subject}
	// Another server in Entra's place has no tenants.
	entra := p.Kind == "microsoft" && (!p.ownServer || c.Tenant != "")
	if entra {
		if err := p.checkTenant(t.Issuer, &c, keys != ""); err != nil {
			return nil, nil, err
		}
		id.Tenant, id.Subject = c.Tenant, c.Object
	}
	if id.Subject == "" {
		return nil, nil, errors.New("it names nobody: no " + map[bool]string{true: "oid", false: "sub"}[entra])
	}
	return id, &c, nil
}

// idTokenIssuer returns who issues ID tokens and where the keys are; no issuer
// where the token itself names it, no keys where none are known.
func (p *Provider) idTokenIssuer(ctx context.Context, ep *endpoints) (issuer, keys string, err error) {
	if p.Issuer != "" {
		if ep.keys == "" {
			got, err := p.discoverCached(ctx)
			if err != nil {
				return "", "", fmt.Errorf("it cannot be checked: %w", err)
			}
			ep = got
		}
		if ep.keys == "" {
			return "", "", errors.New("it cannot be checked: the discovery document names no jwks_uri")
		}
		return ep.issuer, ep.keys, nil
	}
	if p.ownServer || p.kind.keysURL == "" {
		return "", "", nil
	}
	return p.kind.issuer, p.fill(p.kind.keysURL), nil
}

// checkTenant checks what Entra says of the tenant: its issuer names it, and
// it must be the configured one.
func (p *Provider) checkTenant(issuer string, c *idClaims, signed bool) error {
	switch {
	case !guid.MatchString(c.Tenant):
		return errors.New("it names no tenant (tid)")
	case signed && !p.ownServer && issuer != p.fill("{login}/")+c.Tenant+"/v2.0":
		return errors.New("it comes from another issuer")
	case guid.MatchString(strings.ToLower(p.Tenant)) && !strings.EqualFold(p.Tenant, c.Tenant):
		return fmt.Errorf("it comes from another tenant (%s)", c.Tenant)
	case p.Tenant == "consumers" && c.Tenant != personalTenant, p.Tenant == "organizations" && c.Tenant == personalTenant:
		return fmt.Errorf("it comes from a tenant that `tenant %s` does not cover", p.Tenant)
	}
	return nil
}

// addresses are the claims that may stand for a mailbox. At Entra any
// tenant's administrator sets `email` as he likes, so that it counts only where
// the tenant is fixed; the user principal name lies in a domain that the tenant
// has proved to own. A guest's addresses are what that other tenant says, or what the
// owner of a personal account calls it: none of them stands for a mailbox of this one.
func (p *Provider) addresses(c *idClaims) []string {
	if p.Kind == "microsoft" && c.guest() {
		return nil
	}
	if c.EmailVerified == false || c.EmailVerified == "false" ||
		p.Kind == "microsoft" && slices.Contains(manyTenants, p.Tenant) {
		c.Email = ""
	}
	return slices.DeleteFunc([]string{c.Email, c.UPN, c.Preferred}, func(s string) bool { return s == "" })
}

// SaysOwner reports whether the provider says who consents.
func (p *Provider) SaysOwner() bool {
	return slices.Contains(p.consentScopes(), "openid")
}

// belongs reports whether the mailbox is that of who has consented: the owner
// of its grant so far, or a name of the mailbox.
func (p *Provider) belongs(mailbox string, id *Identity, names []string) error {
	id.Own = slices.ContainsFunc(names, func(s string) bool { return fold.Equal(s, mailbox) })
	if p.owner != nil {
		if o := p.owner(mailbox); o != nil {
			id.Own = id.Own || o.Own && o.same(id)
			return o.Expect(id)
		}
	}
	if id.Own {
		return nil
	}
	return &IdentityError{Used: Sanitize(id.shown()), Expected: mailbox}
}

// Expect returns an error if another identity has consented than before.
func (i *Identity) Expect(got *Identity) error {
	if got == nil || !i.same(got) {
		return &IdentityError{Used: Sanitize(got.shown()), Expected: Sanitize(i.shown()), before: true}
	}
	return nil
}

func (i *Identity) shown() string {
	if i == nil {
		return "unknown"
	}
	return cmp.Or(i.Name, i.Subject)
}
