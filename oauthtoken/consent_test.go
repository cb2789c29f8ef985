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
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// authServer is the part of an authorization server that a browser and a
// device see.
type authServer struct {
	*httptest.Server
	t         testing.TB
	challenge string
	nonce     string
	redirect  string
	identity  string
	noRefresh bool
	scope     string // what is said to be granted; empty: nothing is
	iss       string
	claims    map[string]any    // over those of a good ID token; nil deletes
	key       *ecdsa.PrivateKey // signs; nil for none
	params    url.Values
	polls     []string
	times     []time.Time
}

func newAuthServer(t testing.TB) *authServer {
	s := &authServer{t: t, identity: "a@example.com", key: idKey()}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *authServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch r.URL.Path {
	case "/authorize":
		s.params = r.Form
		s.challenge, s.nonce, s.redirect = r.Form.Get("code_challenge"), r.Form.Get("nonce"), r.Form.Get("redirect_uri")
		q := url.Values{"state": {r.Form.Get("state")}, "code": {"the-code"}}
		if s.iss != "" {
			q.Set("iss", s.iss)
		}
		http.Redirect(w, r, s.redirect+"/?"+q.Encode(), http.StatusFound)
	case "/device":
		reply(200, map[string]any{
			"device_code": "the-device-code", "user_code": "ABCD-EFGH", "verification_uri": "https://id.test/device", "expires_in": "900", "interval": 5,
		})
	case "/.well-known/openid-configuration":
		reply(200, map[string]any{"issuer": s.URL, "token_endpoint": s.URL + "/token", "authorization_endpoint": s.URL + "/authorize", "jwks_uri": s.URL + "/keys"})
	case "/keys":
		reply(200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: idKey().Public(), KeyID: "k", Algorithm: "ES256"}}})
	case "/token":
		switch r.Form.Get("grant_type") {
		case "authorization_code":
			sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
			if r.Form.Get("code") != "the-code" || base64.RawURLEncoding.EncodeToString(sum[:]) != s.challenge || r.Form.Get("redirect_uri") != s.redirect {
				reply(400, map[string]string{"error": "invalid_grant"})
				return
			}
		case "urn:ietf:params:oauth:grant-type:device_code":
			s.times = append(s.times, time.Now())
			if len(s.polls) > 0 {
				p := s.polls[0]
				s.polls = s.polls[1:]
				if p == "503" {
					w.WriteHeader(503)
					return
				}
				reply(400, map[string]string{"error": p})
				return
			}
		}
		body := map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "consented"}
		if s.noRefresh {
			delete(body, "refresh_token")
		}
		if s.scope != "" {
			body["scope"] = s.scope
		}
		if s.identity != "" {
			body["id_token"] = s.idToken()
		}
		reply(200, body)
	default:
		w.WriteHeader(404)
	}
}

var idKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

// idToken is a good ID token, unless claims or key say otherwise.
func (s *authServer) idToken() string {
	now := time.Now()
	c := map[string]any{
		"iss": s.URL, "sub": "subject-1", "aud": "client", "email": s.identity, "nonce": s.nonce,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for k, v := range s.claims {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	b, _ := json.Marshal(c)
	if s.key == nil {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(b) + "."
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: "k"}}, nil)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(b)
	if err != nil {
		panic(err)
	}
	t, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return t
}

func loginApp(t testing.TB, s *authServer, more map[string]any) *testApp {
	cfg := map[string]any{
		"auth_url": s.URL + "/authorize", "device_auth_url": s.URL + "/device", "scopes": []string{"smtp", "offline_access", "openid"},
	}
	for k, v := range more {
		cfg[k] = v
	}
	return newApp(t, config(t.TempDir(), s.URL, cfg))
}

func TestAuthCodeLogin(t *testing.T) {
	s := newAuthServer(t)
	a := loginApp(t, s, nil)
	p, _ := a.Provider("p")
	ctx := context.Background()
	f, err := p.AuthCodeFlow(ctx, authserver.LoginOptions{Mailbox: "A@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !strings.HasPrefix(f.RedirectURL, "http://127.0.0.1:") {
		t.Fatal(f.RedirectURL)
	}
	// Strangers on loopback get nothing, and don't end the login.
	for path, want := range map[string]int{"/?code=x&state=wrong": 400, "/?code=x": 400, "/favicon.ico": 404} {
		resp, err := http.Get(f.RedirectURL + path)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s: %v %v", path, resp, err)
		}
		resp.Body.Close()
	}
	req, _ := http.NewRequest(http.MethodGet, f.RedirectURL+"/?code=x", nil)
	req.Host = "evil.test"
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 404 {
		t.Fatalf("rebinding: %v %v", resp, err)
	}
	resp.Body.Close()
	// The browser.
	resp, err = http.Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Referrer-Policy") != "no-referrer" || strings.Contains(string(page), "the-code") {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, page)
	}
	c, err := f.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c.RefreshToken != "consented" || c.Identity != "a@example.com" || c.Token.AccessToken != "access" {
		t.Fatalf("%+v", c)
	}
	if s.params.Get("code_challenge_method") != "S256" || s.params.Get("login_hint") != "A@example.com" || s.params.Get("scope") != "smtp offline_access openid" {
		t.Fatalf("params %v", s.params)
	}
	if err := a.StoreConsent(ctx, ask("p", "alice", "", ""), c.RefreshToken); err != nil {
		t.Fatal(err)
	}
	rec, err := a.records.Load(ctx, tokenstore.StorageKey("p", "alice"))
	if err != nil || rec.RefreshToken != "consented" || !rec.Login {
		t.Fatalf("%+v %v", rec, err)
	}
}

func TestPastedRedirect(t *testing.T) {
	s := newAuthServer(t)
	ctx := context.Background()
	for name, tc := range map[string]struct {
		change func(*authServer, *url.URL)
		opts   authserver.LoginOptions
		err    string
		is     error
	}{
		"well":           {nil, authserver.LoginOptions{Mailbox: "a@example.com"}, "", nil},
		"other identity": {nil, authserver.LoginOptions{Mailbox: "b@example.com"}, "'a@example.com' in place of 'b@example.com'", authserver.ErrIdentity},
		"delegate":       {nil, authserver.LoginOptions{Mailbox: "shared@example.com", AnyIdentity: true}, "", nil},
		"no id_token":    {func(s *authServer, _ *url.URL) { s.identity = "" }, authserver.LoginOptions{Mailbox: "b@example.com"}, "nothing says who has consented", authserver.ErrIdentity},
		"another state":  {func(_ *authServer, u *url.URL) { u.RawQuery = "code=the-code&state=x" }, authserver.LoginOptions{}, "state differs", nil},
		"another nonce":  {func(s *authServer, _ *url.URL) { s.nonce = "other" }, authserver.LoginOptions{}, "another login", nil},
		"another issuer": {func(_ *authServer, u *url.URL) { u.RawQuery += "&iss=https://evil.test" }, authserver.LoginOptions{}, "another issuer", nil},
		"denied": {func(_ *authServer, u *url.URL) {
			u.RawQuery = strings.Replace(u.RawQuery, "code=", "error=access_denied&x=", 1)
		}, authserver.LoginOptions{}, "access_denied", nil},
		"no code":         {func(_ *authServer, u *url.URL) { u.RawQuery = strings.Replace(u.RawQuery, "code=", "x=", 1) }, authserver.LoginOptions{}, "no code", nil},
		"wrong code":      {func(_ *authServer, u *url.URL) { u.RawQuery = strings.Replace(u.RawQuery, "the-code", "x", 1) }, authserver.LoginOptions{}, "invalid_grant", nil},
		"no refreshtoken": {func(s *authServer, _ *url.URL) { s.noRefresh = true }, authserver.LoginOptions{}, "no refresh token", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.identity, s.noRefresh = "a@example.com", false
			a := loginApp(t, s, map[string]any{"issuer": s.URL})
			p, _ := a.Provider("p")
			f, err := p.AuthCodeFlow(ctx, tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Finish(ctx, "not a redirect"); err == nil {
				t.Fatal("garbage is taken")
			}
			c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err := c.Get(f.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			u, _ := resp.Location()
			if tc.change != nil {
				tc.change(s, u)
			}
			got, err := f.Finish(ctx, " "+u.String()+"\n")
			if tc.err == "" {
				if err != nil || got.RefreshToken != "consented" {
					t.Fatalf("%v %v", got, err)
				}
				return
			}
			wantError(t, err, tc.err)
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Fatalf("%v is not %v", err, tc.is)
			}
		})
	}
}

func TestLoginScopesAndHosts(t *testing.T) {
	for kind, want := range map[string][2]string{
		"google":    {"https://mail.google.com/ openid email", "http://127.0.0.1:"},
		"microsoft": {"https://outlook.office.com/SMTP.Send offline_access openid email profile", "http://localhost:"},
	} {
		a := newApp(t, map[string]any{"providers": map[string]any{kind: map[string]any{"client_id": "c"}}})
		p, _ := a.Provider(kind)
		f, err := p.AuthCodeFlow(context.Background(), authserver.LoginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(f.URL)
		if s := u.Query().Get("scope"); s != want[0] || !strings.HasPrefix(f.RedirectURL, want[1]) {
			t.Errorf("%s: scope %s, redirect %s", kind, s, f.RedirectURL)
		}
		if kind == "microsoft" && u.Query().Get("prompt") != "select_account" {
			t.Errorf("microsoft: %s", f.URL)
		}
		if kind == "google" && (u.Query().Get("access_type") != "offline" || u.Query().Get("prompt") != "consent") {
			t.Errorf("google: %s", f.URL)
		}
		f.Close()
		if kind == "google" {
			_, err := p.DeviceFlow(context.Background(), authserver.LoginOptions{})
			wantError(t, err, "does not allow mail scopes")
		}
	}
}

func TestDeviceLogin(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		polls []string
		err   string
		gaps  []int
	}{
		"patience": {[]string{"authorization_pending", "slow_down", "authorization_pending", "503"}, "", []int{5, 10, 10, 20}},
		"refused":  {[]string{"authorization_pending", "access_denied"}, "access_denied", nil},
		"expired":  {[]string{"expired_token"}, "device code has expired", nil},
		"nobody":   {strings.Split(strings.Repeat("authorization_pending,", 500), ","), "device code has expired", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &authServer{t: t, identity: "a@example.com", polls: tc.polls, Server: &httptest.Server{URL: "http://127.0.0.1:1"}}
				a := newApp(t, config(dir, "http://127.0.0.1:1", map[string]any{"device_auth_url": "http://127.0.0.1:1/device"}), func(p *served) {
					p.SetTransport(handlerTransport{s})
				})
				defer a.stop()
				p, _ := a.Provider("p")
				f, err := p.DeviceFlow(context.Background(), authserver.LoginOptions{Mailbox: "a@example.com"})
				if err != nil {
					t.Fatal(err)
				}
				if f.UserCode != "ABCD-EFGH" || f.VerificationURI != "https://id.test/device" {
					t.Fatalf("%+v", f)
				}
				c, err := f.Wait(context.Background())
				if tc.err != "" {
					wantError(t, err, tc.err)
					return
				}
				if err != nil || c.RefreshToken != "consented" {
					t.Fatalf("%v %v", c, err)
				}
				for i, gap := range tc.gaps {
					if d := s.times[i+1].Sub(s.times[i]); d < time.Duration(gap)*time.Second {
						t.Errorf("poll %d came after %s", i+1, d)
					}
				}
			})
		})
	}
}
