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

package interop

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/testpki"
	_ "github.com/caddymail/mailgateway/oauthtoken"
)

const oidcSecret = "made-up-oidc-secret"

type object = map[string]any

// tokenApp is what upstreams ask of the app `oauth_tokens`.
type tokenApp interface {
	Token(ctx context.Context, r grant.Request) (*oauth2.Token, error)
	Reject(r grant.Request, t *oauth2.Token)
}

// oidcServer is oidc-provider in a process of its own.
type oidcServer struct {
	*process
	issuer string
}

func startOIDC(t *testing.T, clients ...object) *oidcServer {
	t.Helper()
	node := needNode(t, "oidc")
	addr := freeAddrs(t, 1)[0]
	arg, err := json.Marshal(map[string]any{"port": json.Number(port(addr)), "clients": clients})
	if err != nil {
		t.Fatal(err)
	}
	s := &oidcServer{process: start(t, exec.Command(node, "oidc/server.mjs", string(arg))), issuer: "http://" + addr}
	s.waitOutput("listening")
	return s
}

func oidcClient(id string) object {
	return object{
		"client_id": id, "client_secret": oidcSecret, "token_endpoint_auth_method": "client_secret_post",
		"application_type": "native", "redirect_uris": []string{"http://127.0.0.1", "http://127.0.0.1/callback"},
		"response_types": []string{"code"},
		"grant_types":    []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
	}
}

func (s *oidcServer) get(path, bearer string) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.issuer+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, b
}

// owner is the mailbox that an access token is for, as the server says.
func (s *oidcServer) owner(token string) string {
	s.t.Helper()
	status, b := s.get("/me", token)
	var claims struct {
		Sub string `json:"sub"`
	}
	if err := json.Unmarshal(b, &claims); err != nil || status != http.StatusOK {
		return "" // refused
	}
	return claims.Sub
}

func (s *oidcServer) count(event string) int {
	s.t.Helper()
	_, b := s.get("/count", "")
	var n map[string]int
	if err := json.Unmarshal(b, &n); err != nil {
		s.t.Fatalf("%v\n%s", err, b)
	}
	return n[event]
}

// consent gets a mailbox's first refresh token, as a person would at a browser:
// authorization code with PKCE (RFC 7636).
func (s *oidcServer) consent(client, mailbox string) string {
	s.t.Helper()
	config := oauth2.Config{
		ClientID: client, ClientSecret: oidcSecret, RedirectURL: "http://127.0.0.1:1/callback",
		Scopes:   []string{"openid", "email", "offline_access", "smtp"},
		Endpoint: oauth2.Endpoint{AuthURL: s.issuer + "/auth", TokenURL: s.issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	away := browse(s.t, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "consent")), mailbox)
	if away == nil || away.Query().Get("code") == "" {
		s.t.Fatalf("no code: %v", away)
	}
	tok, err := config.Exchange(context.Background(), away.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		s.t.Fatal(err)
	}
	if tok.RefreshToken == "" {
		s.t.Fatal("no refresh token")
	}
	return tok.RefreshToken
}

// loadTokens runs Caddy in this process with the providers and returns the
// app. A second call replaces the first one's.
func loadTokens(t *testing.T, storage string, providers object) tokenApp {
	t.Helper()
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"storage": object{"module": "file_system", "root": storage},
		"logging": object{"logs": object{"default": object{"level": "ERROR"}}},
		"apps":    object{"oauth_tokens": object{"providers": providers}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().App("oauth_tokens")
	if err != nil {
		t.Fatal(err)
	}
	return app.(tokenApp)
}

func stopTokens(t *testing.T) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
}

func reauthRequired(err error) bool {
	var r interface{ ReauthRequired() bool }
	return errors.As(err, &r) && r.ReauthRequired()
}

// TestOIDCRotation refreshes against a server that rotates refresh tokens and
// ends the grant at the second use of one: discovery, many mailboxes at once,
// and a restart in between, with the seed still in the configuration.
func TestOIDCRotation(t *testing.T) {
	s := startOIDC(t, oidcClient("gateway"))
	storage := t.TempDir()
	providers := object{"oidc": object{
		"kind": "generic", "issuer": s.issuer, "client_id": "gateway", "client_secret": oidcSecret,
		"scopes": []string{"smtp", "offline_access"},
	}}
	mailboxes := []string{"a@provider.test", "b@provider.test", "c@provider.test"}
	seeds := make(map[string]string)
	for _, m := range mailboxes {
		seeds[m] = s.consent("gateway", m)
	}

	const restarts = 5
	for restart := range restarts {
		app := loadTokens(t, storage, providers)
		var wg sync.WaitGroup
		for _, m := range mailboxes {
			// Several askers of one account: one refresh must serve all. A
			// rejected token makes a second refresh, but no third: refusals
			// may not cause a refresh more often than once a minute.
			for range 4 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					for range 10 {
						tok, err := app.Token(ctx, ask("oidc", m, m, seeds[m]))
						if err != nil {
							t.Errorf("after %d restarts, %s: %v", restart, m, err)
							return
						}
						app.Reject(ask("oidc", m, m, ""), tok)
					}
				})
			}
		}
		wg.Wait()
		// A token that nobody rejects is good.
		for _, m := range mailboxes {
			tok, err := app.Token(context.Background(), ask("oidc", m, m, seeds[m]))
			if err != nil {
				t.Fatalf("%s: %v", m, err)
			}
			if owner := s.owner(tok.AccessToken); owner != m {
				t.Errorf("the token for %s is for %q", m, owner)
			}
		}
		stopTokens(t)
		if t.Failed() {
			return
		}
	}
	// The stored access token serves after a restart, until it is rejected.
	if n := s.count("grant.success refresh_token"); n < restarts*len(mailboxes) || n > (restarts+1)*len(mailboxes) {
		t.Errorf("%d refreshes of %d mailboxes in %d runs, want one for each and one more at first", n, len(mailboxes), restarts)
	}
	if n := s.count("grant.error refresh_token"); n != 0 {
		t.Errorf("%d refreshes failed, want none: a refresh token was used twice", n)
	}

	// The server does detect a second use: the seeds are long spent. Using
	// one ends the grant, and the gateway must say that it needs consent.
	m := mailboxes[0]
	res, err := http.PostForm(s.issuer+"/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {seeds[m]}, "client_id": {"gateway"}, "client_secret": {oidcSecret},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Fatalf("a spent refresh token: %s, want 400", res.Status)
	}
	app := loadTokens(t, storage, providers)
	defer stopTokens(t)
	before := s.count("grant.error refresh_token")
	for range 3 {
		tok, err := app.Token(context.Background(), ask("oidc", m, m, seeds[m]))
		if err == nil {
			app.Reject(ask("oidc", m, m, ""), tok) // kept from before; the next one must fail
			tok, err = app.Token(context.Background(), ask("oidc", m, m, seeds[m]))
		}
		if err == nil || !reauthRequired(err) {
			t.Fatalf("after the grant ended: token %v, error %v; want one that asks for consent", tok != nil, err)
		}
		if strings.Contains(err.Error(), seeds[m]) {
			t.Errorf("the error names the token: %v", err)
		}
	}
	if n := s.count("grant.error refresh_token") - before; n != 1 {
		t.Errorf("%d requests after invalid_grant, want 1", n)
	}
	// The others go on.
	if tok, err := app.Token(context.Background(), ask("oidc", mailboxes[1], mailboxes[1], seeds[mailboxes[1]])); err != nil || s.owner(tok.AccessToken) != mailboxes[1] {
		t.Errorf("another mailbox: %v", err)
	}
	// New consent: a new seed wins over what is stored.
	seed := s.consent("gateway", m)
	tok, err := app.Token(context.Background(), ask("oidc", m, m, seed))
	if err != nil || s.owner(tok.AccessToken) != m {
		t.Errorf("after new consent: %v", err)
	}
}

// TestOIDCPrivateKeyJWT authenticates the client by a certificate (RFC 7523).
func TestOIDCPrivateKeyJWT(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var clients []object
	providers := object{}
	for _, k := range []struct {
		id, alg string
		key     crypto.Signer
	}{{"rsa", "", rsaKey}, {"ec", "ES256", ecKey}} {
		file, jwk := certificateFile(t, dir, k.id, k.key)
		client := object{
			"client_id": k.id, "token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"client_credentials"},
			"redirect_uris": []string{}, "response_types": []string{}, "jwks": object{"keys": []any{jwk}},
		}
		if k.alg != "" {
			client["token_endpoint_auth_signing_alg"] = k.alg
		}
		clients = append(clients, client)
		providers[k.id] = object{
			"kind": "generic", "grant": "client_credentials", "client_id": k.id, "client_certificate": file, "scopes": []string{"smtp"},
		}
	}
	s := startOIDC(t, clients...)
	for id := range providers {
		providers[id].(object)["issuer"] = s.issuer
	}
	app := loadTokens(t, t.TempDir(), providers)
	defer stopTokens(t)
	for id := range providers {
		for range 3 {
			tok, err := app.Token(context.Background(), ask(id, "app@provider.test", "app@provider.test", ""))
			if err != nil {
				t.Errorf("%s: %v", id, err)
				break
			}
			if d := time.Until(tok.Expiry); d <= 0 || d > time.Hour {
				t.Errorf("%s: expires in %s, want up to an hour", id, d)
			}
			app.Reject(ask(id, "app@provider.test", "app@provider.test", ""), tok)
		}
	}
	// One at first and one after the rejection; see TestOIDCRotation.
	if n := s.count("grant.success client_credentials"); n != 4 {
		t.Errorf("%d tokens from the server, want 4", n)
	}
}

// certificateFile writes a PEM file with a certificate and its key, and
// returns the public key for the server.
func certificateFile(t *testing.T, dir, name string, key crypto.Signer) (file string, jwk jose.JSONWebKey) {
	t.Helper()
	b, keyPEM := testpki.PEM(testpki.SelfSigned(testpki.Leaf{CommonName: name, Key: key}))
	b = append(b, keyPEM...)
	file = filepath.Join(dir, name+".pem")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, jose.JSONWebKey{Key: key.Public(), Use: "sig"}
}

func ask(provider, account, mailbox, seed string) grant.Request {
	return grant.Request{Provider: provider, Account: account, Mailbox: mailbox, Seed: seed}
}
