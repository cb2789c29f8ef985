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

package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddymail/mailgateway/sandbox/internal/answer"
)

// idTokenKey signs the ID tokens of this process.
var idTokenKey = sync.OnceValue(func() jose.JSONWebKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: "sandbox", Algorithm: string(jose.ES256), Use: "sig"}
})

// idTokenKeys answers GET /keys with the public half (RFC 7517 section 5).
func (s *Server) idTokenKeys(w http.ResponseWriter, _ *http.Request) {
	k := idTokenKey()
	answer.JSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.Public()}})
}

// idToken says who has consented: the mailbox (OpenID Connect Core section 2).
func (s *Server) idToken(g *grant) (string, error) {
	now := time.Now()
	claims := map[string]any{
		"iss": s.host.URL(), "aud": g.client, "sub": g.mailbox, "email": g.mailbox, "email_verified": true,
		"preferred_username": g.mailbox, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	b, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: idTokenKey()}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(b)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
