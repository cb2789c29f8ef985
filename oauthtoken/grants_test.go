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
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddymail/mailgateway/internal/testpki"
)

var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func pemOf(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testServiceAccount(t testing.TB, url string) string {
	b, _ := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "robot@project.test", "private_key_id": "k1",
		"private_key": string(pemOf(t, testRSA())), "token_uri": url + "/token",
	})
	return writeFile(t, "sa.json", b)
}

func selfSigned(t testing.TB, key crypto.Signer) *x509.Certificate {
	t.Helper()
	return testpki.SelfSigned(testpki.Leaf{Key: key, NotAfter: time.Now().Add(10 * 24 * time.Hour)}).Leaf
}

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// claims verifies a JWT and returns its header and claims.
func claims(t testing.TB, jwt string, key crypto.PublicKey) (jose.Header, map[string]any) {
	t.Helper()
	j, err := jose.ParseSigned(jwt, []jose.SignatureAlgorithm{jose.PS256, jose.RS256, jose.ES256, jose.ES384})
	if err != nil {
		t.Fatal(err)
	}
	b, err := j.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return j.Signatures[0].Header, c
}

func TestPrivateKeyJWT(t *testing.T) {
	p256, p384 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384())
	for name, tc := range map[string]struct {
		key crypto.Signer
		alg string
		how string
	}{
		"rsa, one PEM file":  {testRSA(), "RS256", "one"},
		"rsa, two PEM files": {testRSA(), "RS256", "two"},
		"rsa, PKCS#12":       {testRSA(), "RS256", "p12"},
		"rsa, microsoft":     {testRSA(), "PS256", "one"},
		"ec 256":             {p256, "ES256", "one"},
		"ec 384, PKCS#12":    {p384, "ES384", "p12"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			cert := selfSigned(t, tc.key)
			cpem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
			more := map[string]any{"client_secret": "", "grant": "client_credentials"}
			if strings.HasSuffix(name, "microsoft") {
				more["kind"] = "microsoft"
			}
			switch tc.how {
			case "one":
				more["client_certificate"] = writeFile(t, "both.pem", append(pemOf(t, tc.key), cpem...))
			case "two":
				more["client_certificate"], more["client_key"] = writeFile(t, "cert.pem", cpem), writeFile(t, "key.pem", pemOf(t, tc.key))
			case "p12":
				b, err := pkcs12.Modern.Encode(tc.key, cert, nil, "open sesame")
				if err != nil {
					t.Fatal(err)
				}
				more["client_certificate"], more["client_certificate_password"] = writeFile(t, "c.p12", b), "open sesame"
			}
			a := newApp(t, config(t.TempDir(), s.URL, more))
			mustToken(t, a.App, "p", "x", "")
			f := s.forms[0]
			if f.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || f.Has("client_secret") {
				t.Fatalf("form %v", f)
			}
			h, c := claims(t, f.Get("client_assertion"), tc.key.Public())
			sum := sha256.Sum256(cert.Raw)
			if h.Algorithm != tc.alg || h.ExtraHeaders["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
				t.Fatalf("header %+v", h)
			}
			if c["iss"] != "client" || c["sub"] != "client" || c["aud"] != s.URL+"/token" || c["jti"] == "" {
				t.Fatalf("claims %v", c)
			}
			w := a.ProviderStatus()[0].Warnings
			if len(w) != 1 || !strings.Contains(w[0], "client_certificate expires at") {
				t.Fatalf("warnings %v", w)
			}
		})
	}
}

func TestFederatedTokenIsReadAtEachUse(t *testing.T) {
	s := newEndpoint(t)
	path := writeFile(t, "token", []byte("first.jwt.x\n"))
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{"client_secret": "", "grant": "client_credentials", "federated_token_file": path}))
	mustToken(t, a.App, "p", "x", "")
	if err := os.WriteFile(path, []byte("second.jwt.x"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.entryOf("").cur.Store(nil)
	mustToken(t, a.App, "p", "x", "")
	if s.forms[0].Get("client_assertion") != "first.jwt.x" || s.forms[1].Get("client_assertion") != "second.jwt.x" {
		t.Fatalf("forms %v", s.forms)
	}
	_ = os.Remove(path)
	a.entryOf("").cur.Store(nil)
	_, err := a.Token(context.Background(), ask("p", "x", "x", ""))
	wantError(t, err, "federated_token_file")
	if s.count() != 2 {
		t.Fatal("a request without an assertion")
	}
}

func TestServiceAccount(t *testing.T) {
	s := newEndpoint(t)
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{
		"kind": "google", "token_url": "", "grant": "service_account", "client_id": "", "client_secret": "",
		"service_account_file": testServiceAccount(t, s.URL),
	}), func(p *served) { p.TokenURL = s.URL + "/token" })
	for _, m := range []string{"one@x.test", "two@x.test", "one@x.test"} {
		if _, err := a.Token(context.Background(), ask("p", "account", m, "ignored")); err != nil {
			t.Fatal(err)
		}
	}
	if s.count() != 2 {
		t.Fatalf("%d requests for 2 mailboxes", s.count())
	}
	f := s.forms[1]
	h, c := claims(t, f.Get("assertion"), testRSA().Public())
	if f.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || h.KeyID != "k1" || h.Algorithm != "RS256" {
		t.Fatalf("form %v, header %+v", f, h)
	}
	if c["sub"] != "two@x.test" || c["iss"] != "robot@project.test" || c["scope"] != "https://mail.google.com/" || c["aud"] != s.URL+"/token" {
		t.Fatalf("claims %v", c)
	}
	if c["exp"].(float64)-c["iat"].(float64) > 3600 {
		t.Fatal("longer than an hour")
	}
}

func TestServiceAccountWithoutKey(t *testing.T) {
	s := newEndpoint(t)
	var calls int
	iam := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		var b struct{ Payload string }
		_ = json.NewDecoder(r.Body).Decode(&b)
		if r.URL.Path != "/v1/projects/-/serviceAccounts/robot@project.test:signJwt" || r.Header.Get("Authorization") != "Bearer outer-token" {
			w.WriteHeader(403)
			_, _ = w.Write([]byte(`{"error":{"status":"PERMISSION_DENIED","message":"no outer-token for you"}}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"signedJwt": "signed:" + b.Payload})
	}))
	defer iam.Close()
	path := writeFile(t, "outer", []byte(`{"access_token":"outer-token","expiry":"2099-01-01T00:00:00Z"}`))
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{
		"grant": "service_account", "client_id": "", "client_secret": "", "scopes": []string{"mail"},
		"service_account": "robot@project.test", "external_token_file": path, "iam_credentials_url": iam.URL,
	}))
	if _, err := a.Token(context.Background(), ask("p", "a", "one@x.test", "")); err != nil {
		t.Fatal(err)
	}
	payload, ok := strings.CutPrefix(s.forms[0].Get("assertion"), "signed:")
	if !ok || !strings.Contains(payload, `"sub":"one@x.test"`) || calls != 1 {
		t.Fatalf("assertion %s", payload)
	}
	_ = os.WriteFile(path, []byte("other"), 0o600)
	_, err := a.Token(context.Background(), ask("p", "a", "two@x.test", ""))
	wantError(t, err, "signJwt: no", "permission_denied")
}

func TestExternalToken(t *testing.T) {
	path := writeFile(t, "token", []byte("one\n"))
	a := newApp(t, map[string]any{"providers": map[string]any{"p": map[string]any{"grant": "external", "external_token_file": path}}})
	if tok := mustToken(t, a.App, "p", "x", ""); tok != "one" {
		t.Fatal(tok)
	}
	for content, want := range map[string]string{
		"": "holds no token", "{": "malformed JSON", "a b": "not allowed",
		`{"access_token":"x","expiry":"2001-01-01T00:00:00Z"}`: "expired", strings.Repeat("x", 70000): "larger",
	} {
		_ = os.WriteFile(path, []byte(content), 0o600)
		_, err := a.Token(context.Background(), ask("p", "x", "x", ""))
		wantError(t, err, "external_token_file", want)
	}
	_ = os.WriteFile(path, []byte(`{"access_token":"two","expiry":"2099-01-01T00:00:00Z"}`), 0o600)
	if tok := mustToken(t, a.App, "p", "x", ""); tok != "two" {
		t.Fatal(tok)
	}
}

func TestDiscovery(t *testing.T) {
	s := newEndpoint(t)
	var fetched int
	doc := map[string]any{"token_endpoint": s.URL + "/token"}
	status := 503
	op := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched++
		if r.URL.Path != "/tenant/.well-known/openid-configuration" {
			w.WriteHeader(404)
			return
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(doc)
	}))
	defer op.Close()
	doc["issuer"] = "https://somebody.else"
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{"token_url": "", "issuer": op.URL + "/tenant", "grant": "client_credentials", "max_attempts": 1}))
	if fetched != 0 {
		t.Fatal("discovery before the first use")
	}
	get := func() error {
		e := a.served["p"].man.entry("")
		e.mu.Lock()
		e.blockUntil = time.Time{}
		e.cur.Store(nil)
		e.mu.Unlock()
		_, err := a.Token(context.Background(), ask("p", "x", "x", ""))
		return err
	}
	wantError(t, get(), "no discovery document", "503")
	status = 200
	wantError(t, get(), "names another issuer")
	doc["issuer"] = op.URL + "/tenant"
	doc["token_endpoint"] = "http://192.0.2.1/token"
	wantError(t, get(), "must be https")
	doc["token_endpoint"] = s.URL + "/token"
	n := fetched
	for range 3 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	if fetched != n+1 {
		t.Fatal("the document is not kept")
	}
	// It offers no client_secret_post: the default is basic.
	if u, pw, _ := (&http.Request{Header: s.headers[0]}).BasicAuth(); u != "client" || pw != "the-client-secret" || s.forms[0].Has("client_secret") {
		t.Fatalf("headers %v", s.headers[0])
	}
}

func TestAssertionForADiscoveredIssuer(t *testing.T) {
	s := newEndpoint(t)
	var op *httptest.Server
	op = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": op.URL, "token_endpoint": s.URL + "/token", "token_endpoint_auth_signing_alg_values_supported": []string{"PS256", "ES256"},
		})
	}))
	defer op.Close()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t, testRSA()).Raw})
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{
		"token_url": "", "issuer": op.URL, "client_secret": "", "grant": "client_credentials",
		"client_certificate": writeFile(t, "both.pem", append(pemOf(t, testRSA()), cert...)),
	}))
	mustToken(t, a.App, "p", "x", "")
	h, c := claims(t, s.forms[0].Get("client_assertion"), testRSA().Public())
	if c["aud"] != op.URL || h.Algorithm != "PS256" {
		t.Fatalf("%+v %v", h, c)
	}
}

func TestClockSkew(t *testing.T) {
	s := newEndpoint(t)
	// A server whose clock is an hour ahead refuses assertions that are
	// over by then.
	s.setFault(func(w http.ResponseWriter, r *http.Request, _ int, after bool) bool {
		if after {
			return false
		}
		server := time.Now().Add(time.Hour)
		w.Header().Set("Date", server.UTC().Format(http.TimeFormat))
		_, c := claims(t, r.PostForm.Get("assertion"), testRSA().Public())
		if exp := time.Unix(int64(c["exp"].(float64)), 0); exp.After(server) {
			return false
		}
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}`))
		return true
	})
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{
		"grant": "service_account", "client_id": "", "client_secret": "", "scopes": []string{"mail"},
		"service_account_file": testServiceAccount(t, s.URL),
	}))
	if _, err := a.Token(context.Background(), ask("p", "a", "one@x.test", "")); err != nil {
		t.Fatal(err)
	}
	if s.count() != 2 {
		t.Fatalf("%d requests", s.count())
	}
}
