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

package oauthtoken

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// loginBy is a login whose answer holds the server's ID token.
func loginBy(t *testing.T, a *testApp, provider string, o LoginOptions) (*Consent, error) {
	t.Helper()
	p, _ := a.Provider(provider)
	f, err := p.AuthCodeFlow(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	u, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	return f.Finish(context.Background(), u.String())
}

func TestIDTokenIsChecked(t *testing.T) {
	foreign := ecKey(t, elliptic.P256())
	for name, tc := range map[string]struct {
		claims map[string]any
		key    *ecdsa.PrivateKey
		issuer bool // is configured, so that signature and issuer are checked
		err    string
	}{
		"well":                  {nil, idKey(), true, ""},
		"not signed":            {nil, nil, true, "id_token"},
		"signed by another key": {nil, foreign, true, "signature"},
		"another issuer":        {map[string]any{"iss": "https://evil.test"}, idKey(), true, "different provider"},
		"another client":        {map[string]any{"aud": "other"}, idKey(), true, "audience"},
		"several audiences":     {map[string]any{"aud": []string{"client", "other"}}, idKey(), true, "azp"},
		"authorized party":      {map[string]any{"aud": []string{"client", "other"}, "azp": "client"}, idKey(), true, ""},
		"another party":         {map[string]any{"azp": "other"}, idKey(), true, "azp"},
		"expired":               {map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, idKey(), true, "expired"},
		"no expiry":             {map[string]any{"exp": nil}, idKey(), true, "expired"},
		"another login":         {map[string]any{"nonce": "x"}, idKey(), true, "nonce"},
		"no nonce":              {map[string]any{"nonce": nil}, idKey(), true, "nonce"},
		"nobody":                {map[string]any{"sub": nil}, idKey(), true, "names nobody"},
		"no address":            {map[string]any{"email": nil}, idKey(), true, "another identity"},
		"address not verified":  {map[string]any{"email_verified": false}, idKey(), true, "another identity"},

		// Nothing is known of the issuer but its token endpoint.
		"no issuer":                 {nil, nil, false, ""},
		"no issuer, another client": {map[string]any{"aud": "other"}, nil, false, "audience"},
		"no issuer, expired":        {map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, nil, false, "expired"},
		"no issuer, another login":  {map[string]any{"nonce": "x"}, nil, false, "nonce"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAuthServer(t)
			s.claims, s.key = tc.claims, tc.key
			more := map[string]any{}
			if tc.issuer {
				more["issuer"] = s.URL
			}
			c, err := loginBy(t, loginApp(t, s, more), "p", LoginOptions{Mailbox: "a@example.com"})
			if tc.err != "" {
				wantError(t, err, tc.err)
				if strings.Contains(err.Error(), "eyJ") {
					t.Fatalf("the token is in the error: %v", err)
				}
				return
			}
			if err != nil || c.Owner == nil || c.Owner.Subject != "subject-1" || c.Owner.Issuer != s.URL || c.Identity != "a@example.com" {
				t.Fatalf("%+v %v", c, err)
			}
		})
	}
}

// The keys are not to be had: nothing says who has consented.
func TestIDTokenWithoutKeys(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, map[string]any{"issuer": "http://127.0.0.1:1"})
	p, _ := a.Provider("p")
	f, err := p.AuthCodeFlow(context.Background(), LoginOptions{Mailbox: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _, err = p.identify(context.Background(), s.idToken(), f.ep, f.nonce)
	wantError(t, err, "cannot be checked")
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
		err    string
	}{
		"user principal name":           {"common", nil, ""},
		"fixed tenant":                  {ours, nil, ""},
		"fixed tenant, mail":            {ours, map[string]any{"preferred_username": "u1@tenant.test", "email": "a@example.com"}, ""},
		"domain":                        {"example.com", map[string]any{"preferred_username": "u1@tenant.test", "email": "a@example.com"}, ""},
		"any tenant's email":            {"common", map[string]any{"preferred_username": "evil@tenant.test", "email": "a@example.com"}, "another identity"},
		"any organization's email":      {"organizations", map[string]any{"preferred_username": "evil@tenant.test", "email": "a@example.com"}, "another identity"},
		"another tenant":                {ours, map[string]any{"tid": theirs, "iss": "https://login.microsoftonline.com/" + theirs + "/v2.0"}, "another tenant"},
		"issuer of another tenant":      {"common", map[string]any{"iss": "https://login.microsoftonline.com/" + theirs + "/v2.0"}, "another issuer"},
		"no tenant":                     {"common", map[string]any{"tid": nil}, "names no tenant"},
		"tenant that leads elsewhere":   {"common", map[string]any{"tid": "../x"}, "names no tenant"},
		"no object":                     {"common", map[string]any{"oid": nil}, "names nobody"},
		"personal, where none belongs":  {"organizations", map[string]any{"tid": personalTenant, "iss": "https://login.microsoftonline.com/" + personalTenant + "/v2.0"}, "does not cover"},
		"personal":                      {"consumers", map[string]any{"tid": personalTenant, "iss": "https://login.microsoftonline.com/" + personalTenant + "/v2.0"}, ""},
		"of work, where personal ought": {"consumers", nil, "does not cover"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAuthServer(t)
			a := newApp(t, map[string]any{"providers": map[string]any{"p": map[string]any{"kind": "microsoft", "client_id": "client", "tenant": tc.tenant}}},
				func(p *Provider) { p.kind.keysURL = s.URL + "/keys" })
			p, _ := a.Provider("p")
			s.claims = entraClaims(p, ours, "object-1", "a@example.com")
			for k, v := range tc.change {
				s.claims[k] = v
			}
			id, names, err := p.identify(context.Background(), s.idToken(), p.configured(), "")
			if err == nil {
				err = p.belongs("A@Example.com", id, names)
			}
			if tc.err != "" {
				wantError(t, err, tc.err)
				return
			}
			if err != nil || id.Subject != "object-1" || id.Tenant == "" {
				t.Fatalf("%+v %v", id, err)
			}
		})
	}
}

// Who has consented once is the owner: an address that comes to somebody else
// changes nothing, nor does a new address of the owner's.
func TestOwnerIsPinned(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, map[string]any{"issuer": s.URL})
	ctx := context.Background()
	who := ask("p", "scanner", "a@example.com", "")
	login := func(o LoginOptions) error {
		t.Helper()
		o.Mailbox = "a@example.com"
		c, err := loginBy(t, a, "p", o)
		if err != nil {
			return err
		}
		return a.StoreLogin(ctx, who, c)
	}
	if err := login(LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	if st := a.StatusOf(who); st.Owner != "a@example.com" {
		t.Fatalf("status %+v", st)
	}
	s.identity = "renamed@example.com"
	if err := login(LoginOptions{}); err != nil {
		t.Fatalf("the owner's address has changed: %v", err)
	}
	s.identity, s.claims = "a@example.com", map[string]any{"sub": "subject-2"}
	if err := login(LoginOptions{}); !errors.Is(err, ErrIdentity) {
		t.Fatalf("another subject with the same address: %v", err)
	}
	// What is stored counts, also where memory knows nothing.
	c, err := loginBy(t, a, "p", LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.StoreLogin(ctx, who, c); !errors.Is(err, ErrIdentity) {
		t.Fatalf("stored for another owner: %v", err)
	}
	if err := login(LoginOptions{AnyIdentity: true}); err != nil {
		t.Fatal(err)
	}
	s.identity = "delegate@example.com"
	if err := login(LoginOptions{}); err != nil {
		t.Fatalf("the delegate is the owner now: %v", err)
	}
}

func TestLoginOptions(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, nil)
	p, _ := a.Provider("p")
	for _, o := range []LoginOptions{
		{ListenAddress: "0.0.0.0:0"}, {ListenAddress: ":0"}, {ListenAddress: "[::]:0"}, {ListenAddress: "192.0.2.1:80"}, {ListenAddress: "example.com:80"},
		{ListenAddress: "127.0.0.1"}, {ListenAddress: "127.0.0.1.evil.test:80"},
		{RedirectURL: "javascript:alert(1)"}, {RedirectURL: "http://example.com/cb"}, {RedirectURL: "http://127.0.0.1.evil.test/"}, {RedirectURL: "ftp://127.0.0.1/"},
		{RedirectURL: "https://u:p@example.com/"}, {RedirectURL: "https://example.com/#x"}, {RedirectURL: "https:///cb"}, {RedirectURL: "//127.0.0.1/"}, {RedirectURL: "data:text/html,x"}, {RedirectURL: "app://callback"}, {RedirectURL: "http://[::"},
	} {
		if f, err := p.AuthCodeFlow(context.Background(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
			if err == nil {
				f.Close()
			}
		}
	}
	for _, o := range []LoginOptions{
		{ListenAddress: "127.0.0.1:0"}, {ListenAddress: "localhost:0"}, {ListenAddress: "127.0.0.2:0"},
		{RedirectURL: "https://gateway.example.com/connect"}, {RedirectURL: "http://localhost:8080/cb"}, {RedirectURL: "http://[::1]:1/"},
	} {
		f, err := p.AuthCodeFlow(context.Background(), o)
		if err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		if u, err := url.Parse(f.URL); err != nil || o.RedirectURL != "" && u.Query().Get("redirect_uri") != o.RedirectURL {
			t.Errorf("%+v: %s", o, f.URL)
		}
		f.Close()
	}
}
