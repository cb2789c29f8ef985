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

package assertion

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// ServiceAccount speaks for mailboxes of a Google Workspace domain that has
// delegated to it. https://developers.google.com/identity/protocols/oauth2/service-account
type ServiceAccount struct {
	Email string
	// TokenURI is where its key says that tokens are asked for.
	TokenURI string

	signer jose.Signer // nil: something else signs
}

// ParseServiceAccount reads a service account's JSON key.
func ParseServiceAccount(b []byte) (*ServiceAccount, error) {
	var k struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKey   string `json:"private_key"`
		PrivateKeyID string `json:"private_key_id"`
		TokenURI     string `json:"token_uri"`
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, errors.New("not a JSON file")
	}
	if k.Type != "service_account" || k.ClientEmail == "" || k.PrivateKey == "" {
		return nil, errors.New("not a service account's key: type, client_email and private_key are needed")
	}
	key, err := pemKey([]byte(k.PrivateKey))
	if err != nil {
		return nil, fmt.Errorf("private_key: %w", err)
	}
	opts := new(jose.SignerOptions).WithType("JWT")
	if k.PrivateKeyID != "" {
		opts = opts.WithHeader("kid", k.PrivateKeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, opts)
	if err != nil {
		return nil, fmt.Errorf("private_key: %w", err)
	}
	return &ServiceAccount{Email: k.ClientEmail, TokenURI: k.TokenURI, signer: signer}, nil
}

// Signs reports whether its key is here.
func (a *ServiceAccount) Signs() bool { return a.signer != nil }

// Sign signs claims with its key.
func (a *ServiceAccount) Sign(claims map[string]any) (string, error) {
	return signClaims(a.signer, claims)
}
