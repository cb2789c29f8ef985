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
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

func signPayload(t testing.TB, s *issuer, kid, payload string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestAmbiguousClaims has claims twice, in one case or two: whichever is taken, it
// may be another's.
func TestAmbiguousClaims(t *testing.T) {
	s := newIssuer(t)
	p := provisioned(t, &Provider{Kind: "generic", ClientID: "client", Issuer: s.URL, TokenURL: s.URL + "/token", Scopes: []string{"openid"}})
	ep := p.configured()
	ep.keys = s.URL + "/keys"
	good := fmt.Sprintf(`"iss":%q,"aud":"client","sub":"owner","email":"a@example.com","exp":%d`, s.URL, time.Now().Add(time.Hour).Unix())
	for payload, want := range map[string]string{
		`{` + good + `}`:                                        "",
		`{` + good + `,"sub":"thief"}`:                          "twice",
		`{` + good + `,"Sub":"thief"}`:                          "another name",
		`{"SUB":"thief",` + good + `}`:                          "another name",
		`{` + good + `,"\u0073ub":"thief"}`:                     "twice",
		`{` + good + `,"\u017fub":"thief"}`:                     "another name", // folds to s
		`{` + good + `,"Email":"boss@example.com"}`:             "another name",
		`{` + good + `,"aud":["client","x"]}`:                   "twice",
		`{` + good + `,"nested":{"sub":"x","Sub":"y"}}`:         "",
		`{` + good + `,"at_hash":"a","at_hash":"b","x":[{},1]}`: "",
		`[` + `"iss"]`:                                          "malformed",
	} {
		id, _, err := p.identify(context.Background(), signPayload(t, s, "k", payload), ep, "")
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", payload, err, want)
		case want == "" && (err != nil || id.Subject != "owner"):
			t.Errorf("%s: %+v, %v", payload, id, err)
		}
	}
}

// TestForgedIDTokens are those of who knows the public key only, and of a server of
// keys that is none.
func TestForgedIDTokens(t *testing.T) {
	s := newIssuer(t)
	payload := fmt.Sprintf(`{"iss":%q,"aud":"client","sub":"owner","exp":%d}`, s.URL, time.Now().Add(time.Hour).Unix())
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := func(header string) string { return b64([]byte(header)) + "." + b64([]byte(payload)) + "." }
	public, err := json.Marshal(jose.JSONWebKey{Key: s.key.Public(), KeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	hs := unsigned(`{"alg":"HS256","kid":"k"}`)
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(strings.TrimSuffix(hs, ".")))
	sent := 0
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/away":
			http.Redirect(w, r, s.URL+"/keys", http.StatusFound)
		case "/huge":
			_, _ = io.WriteString(w, `{"keys":[`)
			chunk := strings.Repeat(" ", 64<<10)
			for sent = 0; sent < 64<<20; sent += len(chunk) {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, string(public)+`]}`)
		case "/hung":
			<-r.Context().Done()
		case "/octets":
			_, _ = io.WriteString(w, `{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0"}]}`)
		}
	}))
	p := provisioned(t, &Provider{Kind: "generic", ClientID: "client", Issuer: s.URL, TokenURL: s.URL + "/token", Scopes: []string{"openid"}})
	t.Cleanup(keys.Close)
	good := signPayload(t, s, "k", payload)
	for name, tc := range map[string]struct{ token, keys string }{
		"alg none":                   {unsigned(`{"alg":"none"}`), s.URL + "/keys"},
		"alg None":                   {unsigned(`{"alg":"None"}`), s.URL + "/keys"},
		"no alg":                     {unsigned(`{}`), s.URL + "/keys"},
		"HS256 with the public key":  {hs + b64(mac.Sum(nil)), s.URL + "/keys"},
		"no such key":                {signPayload(t, s, "other", payload), s.URL + "/keys"},
		"a key in the header itself": {unsigned(`{"alg":"ES256","jwk":`+string(public)+`}`) + "AAAA", s.URL + "/keys"},
		"keys down":                  {good, keys.URL + "/down"},
		"keys elsewhere":             {good, keys.URL + "/away"},
		"keys without end":           {good, keys.URL + "/huge"},
		"keys of another kind":       {good, keys.URL + "/octets"},
		"no keys in time":            {good, keys.URL + "/hung"},
	} {
		t.Run(name, func(t *testing.T) {
			ep := p.configured()
			ep.keys = tc.keys
			p := p
			if name == "no keys in time" {
				hasty := *p
				hasty.Timeout = caddy.Duration(200 * time.Millisecond)
				p = &hasty
			}
			if id, _, err := p.identify(context.Background(), tc.token, ep, ""); err == nil {
				t.Fatalf("taken for %+v", id)
			}
		})
	}
	ep := p.configured()
	ep.keys = s.URL + "/keys"
	if _, _, err := p.identify(context.Background(), good, ep, ""); err != nil {
		t.Fatal(err)
	}
	keys.Close() // which waits for its handlers
	if sent > 16<<20 {
		t.Errorf("%d octets of keys were taken", sent)
	}
}
