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
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

// issuer signs ID tokens, and has its keys at /keys.
type issuer struct {
	*httptest.Server
	t   testing.TB
	key *ecdsa.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &issuer{t: t, key: key}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}})
	}))
	t.Cleanup(s.Close)
	return s
}

// sign returns an ID token for the client that is good now, but for the claims;
// nil takes one away.
func (s *issuer) sign(claims map[string]any) string {
	now := time.Now()
	c := map[string]any{"aud": "client", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(c, claims)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	b, _ := json.Marshal(c)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: "k"}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := signer.Sign(b)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Fatalf("error %v, want %q in it", err, p)
		}
	}
}

func provisioned(t testing.TB, p *Provider) *Provider {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := p.Provision(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.CloseIdleConnections)
	return p
}

// The keys are not to be had: nothing says who has consented.
func TestIDTokenWithoutKeys(t *testing.T) {
	s := newIssuer(t)
	p := provisioned(t, &Provider{
		Kind: "generic", ClientID: "client", Issuer: "http://127.0.0.1:1", TokenURL: s.URL + "/token", AuthURL: s.URL + "/authorize", DeviceAuthURL: s.URL + "/device",
		Scopes: []string{"openid"},
	})
	f, err := p.AuthCodeFlow(context.Background(), LoginOptions{Mailbox: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _, err = p.identify(context.Background(), s.sign(map[string]any{"iss": p.Issuer, "sub": "x", "nonce": f.nonce, "email": "a@example.com"}), f.ep, f.nonce)
	if err == nil || !strings.Contains(err.Error(), "cannot be checked") {
		t.Fatal(err)
	}
}

// entraClaims are those of a user of a tenant.
func entraClaims(p *Provider, tid, oid, upn string) map[string]any {
	return map[string]any{"iss": p.fill("{login}/") + tid + "/v2.0", "tid": tid, "oid": oid, "email": nil, "preferred_username": upn}
}

func TestEntraIdentity(t *testing.T) {
	const ours, theirs = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
	for name, tc := range map[string]struct {
		tenant string
		change map[string]any
		Err    string
	}{
		"user principal name":           {"common", nil, ""},
		"fixed tenant":                  {ours, nil, ""},
		"fixed tenant, mail":            {ours, map[string]any{"preferred_username": "u1@tenant.test", "email": "a@example.com"}, ""},
		"domain":                        {"example.com", map[string]any{"preferred_username": "u1@tenant.test", "email": "a@example.com"}, ""},
		"any tenant's email":            {"common", map[string]any{"preferred_username": "evil@tenant.test", "email": "a@example.com"}, "another identity"},
		"any organization's email":      {"organizations", map[string]any{"preferred_username": "evil@tenant.test", "email": "a@example.com"}, "another identity"},
		"another tenant":                {ours, map[string]any{"tid": theirs, "iss": "https://login.microsoftonline.com/" + theirs + "/v2.0"}, "another tenant"},
		"issuer of another tenant":      {"common", map[string]any{"iss": "https://login.microsoftonline.com/" + theirs + "/v2.0"}, "another issuer"},
		"guest of another tenant":       {ours, map[string]any{"email": "a@example.com", "idp": "https://sts.windows.net/" + theirs + "/"}, "another identity"},
		"guest with a personal account": {ours, map[string]any{"email": "a@example.com", "idp": "live.com"}, "another identity"},
		"guest by the tenant's name":    {"example.com", map[string]any{"email": "a@example.com", "idp": "https://sts.windows.net/" + theirs + "/"}, "another identity"},
		"one of our own, with idp":      {ours, map[string]any{"idp": "https://sts.windows.net/" + ours + "/"}, ""},
		"no tenant":                     {"common", map[string]any{"tid": nil}, "names no tenant"},
		"tenant that leads elsewhere":   {"common", map[string]any{"tid": "../x"}, "names no tenant"},
		"no object":                     {"common", map[string]any{"oid": nil}, "names nobody"},
		"personal, where none belongs":  {"organizations", map[string]any{"tid": personalTenant, "iss": "https://login.microsoftonline.com/" + personalTenant + "/v2.0"}, "does not cover"},
		"personal":                      {"consumers", map[string]any{"tid": personalTenant, "iss": "https://login.microsoftonline.com/" + personalTenant + "/v2.0"}, ""},
		"of work, where personal ought": {"consumers", nil, "does not cover"},
		"personal, with idp":            {"consumers", map[string]any{"tid": personalTenant, "idp": "live.com", "iss": "https://login.microsoftonline.com/" + personalTenant + "/v2.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuer(t)
			p := provisioned(t, &Provider{Kind: "microsoft", ClientID: "client", Tenant: tc.tenant})
			p.kind.keysURL = s.URL + "/keys"
			claims := entraClaims(p, ours, "object-1", "a@example.com")
			for k, v := range tc.change {
				claims[k] = v
			}
			id, names, err := p.identify(context.Background(), s.sign(claims), p.configured(), "")
			if err == nil {
				err = p.belongs("A@Example.com", id, names)
			}
			if tc.Err != "" {
				wantError(t, err, tc.Err)
				return
			}
			if err != nil || id.Subject != "object-1" || id.Tenant == "" {
				t.Fatalf("%+v %v", id, err)
			}
		})
	}
}

// TestGuestIsNoOperator holds that a guest of a tenant signs in to the console as nobody but
// a subject: addresses are another tenant's word.
func TestGuestIsNoOperator(t *testing.T) {
	const ours = "11111111-2222-3333-4444-555555555555"
	p := provisioned(t, &Provider{Kind: "microsoft", ClientID: "client", Tenant: ours})
	guest := &idClaims{Tenant: ours, Object: "o", Email: "op@example.com", Preferred: "op@example.com", UPN: "op@example.com", IdentityProvider: "https://sts.windows.net/99999999-2222-3333-4444-555555555555/"}
	if got := p.vouched(guest); got != "" {
		t.Errorf("a guest is taken for %q", got)
	}
	member := *guest
	member.IdentityProvider = ""
	if got := p.vouched(&member); got != "op@example.com" {
		t.Errorf("a member is taken for %q", got)
	}
}
