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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// loginBy is a login whose answer holds the server's ID token.
func loginBy(t *testing.T, a *testApp, provider string, o authserver.LoginOptions) (*authserver.Consent, error) {
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
			c, err := loginBy(t, loginApp(t, s, more), "p", authserver.LoginOptions{Mailbox: "a@example.com"})
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

// Who has consented once is the owner: an address that comes to somebody else
// changes nothing, nor does a new address of the owner's.
func TestOwnerIsPinned(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, map[string]any{"issuer": s.URL})
	ctx := context.Background()
	who := ask("p", "scanner", "a@example.com", "")
	login := func(o authserver.LoginOptions) error {
		t.Helper()
		o.Mailbox = "a@example.com"
		c, err := loginBy(t, a, "p", o)
		if err != nil {
			return err
		}
		return a.StoreLogin(ctx, who, c)
	}
	if err := login(authserver.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	if st := a.StatusOf(who); st.Owner != "a@example.com" {
		t.Fatalf("status %+v", st)
	}
	s.identity = "renamed@example.com"
	if err := login(authserver.LoginOptions{}); err != nil {
		t.Fatalf("the owner's address has changed: %v", err)
	}
	s.identity, s.claims = "a@example.com", map[string]any{"sub": "subject-2"}
	if err := login(authserver.LoginOptions{}); !errors.Is(err, authserver.ErrIdentity) {
		t.Fatalf("another subject with the same address: %v", err)
	}
	// What is stored counts, also where memory knows nothing.
	c, err := loginBy(t, a, "p", authserver.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.StoreLogin(ctx, who, c); !errors.Is(err, authserver.ErrIdentity) {
		t.Fatalf("stored for another owner: %v", err)
	}
	if err := login(authserver.LoginOptions{AnyIdentity: true}); err != nil {
		t.Fatal(err)
	}
	s.identity = "delegate@example.com"
	if err := login(authserver.LoginOptions{}); err != nil {
		t.Fatalf("the delegate is the owner now: %v", err)
	}
}

// A consent that leaves out what was asked for does not take the place of one that
// does not.
func TestScopesLeftOut(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, map[string]any{"issuer": s.URL, "scopes": []string{"mail.send", "mail.read", "openid"}})
	who := ask("p", "scanner", "a@example.com", "")
	login := func(granted string) error {
		t.Helper()
		s.scope = granted
		c, err := loginBy(t, a, "p", authserver.LoginOptions{Mailbox: "a@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		return a.StoreLogin(t.Context(), who, c)
	}
	if err := login("mail.send mail.read openid"); err != nil {
		t.Fatal(err)
	}
	before := a.StatusOf(who).Consent
	err := login("mail.read openid")
	if e, ok := errors.AsType[*authserver.ScopeError](err); !ok || !slices.Equal(e.Missing, []string{"mail.send"}) || !strings.Contains(err.Error(), "leaves out mail.send") {
		t.Errorf("%v", err)
	}
	if st := a.StatusOf(who); !st.Consent.Equal(before) {
		t.Errorf("the consent before is gone: %+v", st)
	}
	if err := login(""); err != nil { // which says: as asked for (RFC 6749 section 5.1)
		t.Error(err)
	}
}

func TestLoginOptions(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, nil)
	p, _ := a.Provider("p")
	for _, o := range []authserver.LoginOptions{
		{ListenAddress: "0.0.0.0:0"}, {ListenAddress: ":0"}, {ListenAddress: "[::]:0"}, {ListenAddress: "192.0.2.1:80"}, {ListenAddress: "example.com:80"},
		{ListenAddress: "127.0.0.1"}, {ListenAddress: "127.0.0.1.evil.test:80"},
		{RedirectURL: "javascript:alert(1)"}, {RedirectURL: "http://example.com/cb"}, {RedirectURL: "http://127.0.0.1.evil.test/"}, {RedirectURL: "ftp://127.0.0.1/"},
		{RedirectURL: "https://u:p@example.com/"}, {RedirectURL: "https://example.com/#x"}, {RedirectURL: "https:///cb"}, {RedirectURL: "//127.0.0.1/"}, {RedirectURL: "data:text/html,x"}, {RedirectURL: "app://callback"}, {RedirectURL: "http://[::"},
	} {
		if f, err := p.AuthCodeFlow(context.Background(), o); !errors.Is(err, authserver.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
			if err == nil {
				f.Close()
			}
		}
	}
	for _, o := range []authserver.LoginOptions{
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

// Microsoft's object ID is the mailbox's where its own user has consented, whatever
// the name is by now; a delegate's is another mailbox's.
func TestObjectID(t *testing.T) {
	const tid, oid = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
	s := newAuthServer(t)
	a := loginApp(t, s, map[string]any{"kind": "microsoft", "issuer": s.URL})
	who := ask("p", "scanner", "a@example.com", "")
	s.claims = map[string]any{"tid": tid, "oid": oid, "preferred_username": "a@example.com"}
	for _, step := range []struct {
		name, upn, oid string
		any            bool
		want           string
	}{
		{"a delegate", "delegate@example.com", "77777777-7777-8888-9999-000000000000", true, ""},
		{"the user itself", "a@example.com", oid, true, oid},
		{"with another name", "renamed@example.com", oid, false, oid},
		{"the delegate again", "delegate@example.com", "77777777-7777-8888-9999-000000000000", true, ""},
	} {
		s.identity = step.upn
		s.claims["preferred_username"], s.claims["oid"] = step.upn, step.oid
		c, err := loginBy(t, a, "p", authserver.LoginOptions{Mailbox: "a@example.com", AnyIdentity: step.any})
		if err == nil {
			err = a.StoreLogin(t.Context(), who, c)
		}
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := a.ObjectID(who); got != step.want {
			t.Errorf("%s: '%s', want '%s'", step.name, got, step.want)
		}
	}
	if got := a.ObjectID(ask("p", "x", "never@example.com", "")); got != "" {
		t.Errorf("without a consent: %s", got)
	}
}
