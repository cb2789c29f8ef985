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

package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func refreshForm(rt string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {rt}}
}

func wantError(t *testing.T, s *Sandbox, form url.Values, status int, code string) map[string]any {
	t.Helper()
	got, out := post(t, s, form)
	if got != status || out["error"] != code {
		t.Errorf("%v: got %d %v, want %d %s", form.Get("grant_type"), got, out, status, code)
	}
	return out
}

func TestRefresh(t *testing.T) {
	s := start(t, &App{Mailboxes: map[string]string{"b@example.com": "secret"}, TokenSize: 4000})
	tok := refresh(t, s, "rt-a@example.com")
	if len(tok) != 4000 || s.oauth.Check(tok, "a@example.com") != "ok" || s.oauth.Check(tok, "b@example.com") != "wrong_mailbox" {
		t.Error("the token does not fit")
	}
	refresh(t, s, "secret")
	wantError(t, s, refreshForm("rt-b@example.com"), 400, "invalid_grant")
	wantError(t, s, refreshForm("nonsense"), 400, "invalid_grant")
	form := refreshForm("secret")
	form.Set("client_id", "sandbox")
	form.Set("client_secret", "no")
	wantError(t, s, form, 401, "invalid_client")
	wantError(t, s, url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type")

	s.RevokeMailbox("a@example.com")
	wantError(t, s, refreshForm("rt-a@example.com"), 400, "invalid_grant")
	if r := s.oauth.Check(tok, "a@example.com"); r != "bad_token" {
		t.Errorf("revoked mailbox's token: %s", r)
	}
	s.RestoreMailbox("a@example.com")
	refresh(t, s, "rt-a@example.com")
	if n := s.TokenPosts("a@example.com"); n != 3 {
		t.Errorf("%d posts", n)
	}
}

func TestRotation(t *testing.T) {
	s := start(t, &App{RotateRefreshTokens: true, Profile: "microsoft"})
	_, one := post(t, s, refreshForm("rt-a@example.com"))
	next := one["refresh_token"].(string)
	_, two := post(t, s, refreshForm(next))
	last := two["refresh_token"].(string)
	if last == next {
		t.Fatal("not rotated")
	}
	// The second use of a token ends the family.
	out := wantError(t, s, refreshForm(next), 400, "invalid_grant")
	if !strings.HasPrefix(out["error_description"].(string), "AADSTS70008: ") {
		t.Errorf("%v", out)
	}
	wantError(t, s, refreshForm(last), 400, "invalid_grant")
	if r := s.oauth.Check(two["access_token"].(string), "a@example.com"); r != "bad_token" {
		t.Errorf("access token after reuse: %s", r)
	}
	s.RestoreMailbox("a@example.com")
	if status, _ := post(t, s, refreshForm(last)); status != 200 {
		t.Error("not restored")
	}
	// Without rotation, Microsoft gives a new one and the old ones live.
	s = start(t, &App{Profile: "microsoft"})
	for range 2 {
		_, out := post(t, s, refreshForm("rt-a@example.com"))
		if out["refresh_token"] == nil {
			t.Fatal("no refresh token")
		}
	}
}

// TestRotationGrace: a token whose successor nobody has used gets another one;
// once the successor was used, it is a reuse.
func TestRotationGrace(t *testing.T) {
	s := start(t, &App{RotateRefreshTokens: true, RotationGrace: true})
	_, lost := post(t, s, refreshForm("rt-a@example.com"))
	_, again := post(t, s, refreshForm("rt-a@example.com"))
	next, ok := again["refresh_token"].(string)
	if !ok || next == lost["refresh_token"] {
		t.Fatalf("answered %v after %v", again, lost)
	}
	_, out := post(t, s, refreshForm(next))
	wantError(t, s, refreshForm("rt-a@example.com"), 400, "invalid_grant")
	wantError(t, s, refreshForm(out["refresh_token"].(string)), 400, "invalid_grant")
}

func TestTokenLifetime(t *testing.T) {
	s := start(t, &App{TokenLifetime: 1})
	tok := s.IssueToken("a@example.com")
	if r := s.oauth.Check(tok, "a@example.com"); r != "expired" {
		t.Errorf("%s", r)
	}
}

func TestTokenFailures(t *testing.T) {
	s := start(t, &App{Profile: "google"})
	s.FailTokens(TokenFailure{Times: 2})
	wantError(t, s, refreshForm("rt-a@example.com"), 503, "temporarily_unavailable")
	wantError(t, s, refreshForm("rt-a@example.com"), 503, "temporarily_unavailable")
	refresh(t, s, "rt-a@example.com")
	s.FailTokens(TokenFailure{Times: 1, Delay: 20e6, Status: 200})
	from := time.Now()
	if refresh(t, s, "rt-a@example.com"); time.Since(from) < 20*time.Millisecond {
		t.Error("not delayed")
	}
	s.FailTokens(TokenFailure{Times: -1, HTML: true, Status: 502, Mailbox: "a@example.com"})
	resp, err := http.PostForm(s.TokenURL(), refreshForm("rt-a@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 502 || !strings.HasPrefix(string(body), "<!DOCTYPE html>") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	refresh(t, s, "rt-b@example.com")
	http.DefaultClient.CloseIdleConnections()
}

// signed makes a JWT and writes its public key to a file.
func signed(t *testing.T, key *ecdsa.PrivateKey, c jwt.Claims) string {
	t.Helper()
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jwt.Signed(sig).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAssertions(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalPKIXPublicKey(key.Public())
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, &App{
		Clients:       map[string]string{"app": "", "web": "pw"},
		AssertionKeys: map[string]string{"app": file, "robot@project.example": file},
	})
	claims := func(iss, sub string) jwt.Claims {
		return jwt.Claims{Issuer: iss, Subject: sub, Audience: jwt.Audience{s.TokenURL()}, Expiry: jwt.NewNumericDate(time.Now().Add(10 * time.Minute))}
	}
	cc := func(assertion string) url.Values {
		return url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"app"}, "client_assertion": {assertion},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		}
	}
	status, out := post(t, s, cc(signed(t, key, claims("app", "app"))))
	if status != 200 || s.oauth.Check(out["access_token"].(string), "anyone@example.com") != "ok" {
		t.Errorf("%d %v", status, out)
	}
	wantError(t, s, cc(signed(t, other, claims("app", "app"))), 401, "invalid_client")
	bad := claims("app", "app")
	bad.Audience = jwt.Audience{"https://elsewhere.example/token"}
	wantError(t, s, cc(signed(t, key, bad)), 401, "invalid_client")
	bad = claims("app", "app")
	bad.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour))
	wantError(t, s, cc(signed(t, key, bad)), 401, "invalid_client")
	wantError(t, s, cc("x.y.z"), 401, "invalid_client")
	// A public client has no credentials, another one has a secret.
	wantError(t, s, url.Values{"grant_type": {"client_credentials"}, "client_id": {"app"}}, 401, "unauthorized_client")
	if status, _ := post(t, s, url.Values{"grant_type": {"client_credentials"}, "client_id": {"web"}, "client_secret": {"pw"}}); status != 200 {
		t.Error("client secret refused")
	}

	bearer := func(assertion string) url.Values {
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}, "client_id": {""}}
	}
	status, out = post(t, s, bearer(signed(t, key, claims("robot@project.example", "a@example.com"))))
	if status != 200 || s.oauth.Check(out["access_token"].(string), "a@example.com") != "ok" ||
		s.oauth.Check(out["access_token"].(string), "b@example.com") != "wrong_mailbox" {
		t.Errorf("%d %v", status, out)
	}
	wantError(t, s, bearer(signed(t, other, claims("robot@project.example", "a@example.com"))), 400, "invalid_grant")
	s.RevokeMailbox("a@example.com")
	wantError(t, s, bearer(signed(t, key, claims("robot@project.example", "a@example.com"))), 401, "unauthorized_client")
}

func TestAuthorizationCode(t *testing.T) {
	s := start(t, &App{Clients: map[string]string{"cli": ""}})
	verifier := rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true},
	}
	authorize := func(q url.Values) (int, url.Values) {
		resp, err := client.Get(s.HTTPURL() + "/authorize?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		u, _ := url.Parse(resp.Header.Get("Location"))
		return resp.StatusCode, u.Query()
	}
	q := url.Values{
		"response_type": {"code"}, "client_id": {"cli"}, "redirect_uri": {"http://127.0.0.1:1/cb?x=1"}, "state": {"st"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"login_hint": {"a@example.com"}, "scope": {"openid smtp"},
	}
	status, back := authorize(q)
	if status != 302 || back.Get("state") != "st" || back.Get("code") == "" || back.Get("iss") != s.HTTPURL() || back.Get("x") != "1" {
		t.Fatalf("%d %v", status, back)
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"cli"}, "code": {back.Get("code")},
		"redirect_uri": {"http://127.0.0.1:1/cb?x=1"}, "code_verifier": {verifier},
	}
	status, out := post(t, s, form)
	if status != 200 || s.oauth.Check(out["access_token"].(string), "a@example.com") != "ok" {
		t.Fatalf("%d %v", status, out)
	}
	var id map[string]any
	part, _ := base64.RawURLEncoding.DecodeString(strings.Split(out["id_token"].(string), ".")[1])
	if err := json.Unmarshal(part, &id); err != nil || id["email"] != "a@example.com" {
		t.Errorf("id token %s", part)
	}
	wantError(t, s, form, 400, "invalid_grant") // once only
	again := refreshForm(out["refresh_token"].(string))
	again.Set("client_id", "cli")
	if status, _ := post(t, s, again); status != 200 {
		t.Error("its refresh token is refused")
	}
	_, back = authorize(q)
	form.Set("code", back.Get("code"))
	form.Set("code_verifier", "wrong")
	wantError(t, s, form, 400, "invalid_grant")
	q.Set("client_id", "unknown")
	if status, _ := authorize(q); status != 400 {
		t.Errorf("unknown client: %d", status)
	}
}

func TestDeviceCode(t *testing.T) {
	s := start(t, &App{Clients: map[string]string{"cli": ""}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.PostForm(s.HTTPURL()+"/device", url.Values{"client_id": {"cli"}, "scope": {"smtp"}})
	if err != nil {
		t.Fatal(err)
	}
	var dev map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&dev)
	resp.Body.Close()
	if resp, err = client.Get(dev["verification_uri"].(string) + "?user_code=" + dev["user_code"].(string) + "&login_hint=d@example.com"); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"cli"}, "device_code": {dev["device_code"].(string)}}
	wantError(t, s, form, 400, "authorization_pending")
	status, out := post(t, s, form)
	if status != 200 || s.oauth.Check(out["access_token"].(string), "d@example.com") != "ok" || out["refresh_token"] == nil {
		t.Errorf("%d %v", status, out)
	}
	wantError(t, s, form, 400, "invalid_grant")
}

func TestIntrospection(t *testing.T) {
	s := start(t, &App{})
	tok := s.IssueToken("a@example.com")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for name, req := range map[string]func() (*http.Response, error){
		"post": func() (*http.Response, error) {
			return client.PostForm(s.HTTPURL()+"/introspect", url.Values{"token": {tok}})
		},
		"get": func() (*http.Response, error) {
			return client.Get(s.HTTPURL() + "/introspect?access_token=" + tok)
		},
		"auth": func() (*http.Response, error) {
			r, _ := http.NewRequest(http.MethodGet, s.HTTPURL()+"/introspect", nil)
			r.Header.Set("Authorization", "Bearer "+tok)
			return client.Do(r)
		},
	} {
		for _, live := range []bool{true, false} {
			if live {
				tok = s.IssueToken("a@example.com")
			} else {
				s.ExpireTokens("")
			}
			resp, err := req()
			if err != nil {
				t.Fatal(err)
			}
			var out map[string]any
			_ = json.NewDecoder(resp.Body).Decode(&out)
			resp.Body.Close()
			if out["active"] != live || (live && out["email"] != "a@example.com") {
				t.Errorf("%s, live %v: %v", name, live, out)
			}
		}
	}
	resp, err := client.Get(s.HTTPURL() + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&out)
	resp.Body.Close()
	if out["token_endpoint"] != s.TokenURL() || out["issuer"] != s.HTTPURL() {
		t.Errorf("%v", out)
	}
}
