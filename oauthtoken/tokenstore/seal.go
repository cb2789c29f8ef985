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

package tokenstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// Sealer encrypts records. The record's storage key is its place, so that a
// record can't be put in another mailbox's place.
type Sealer struct{ *seal.Keys }

// envelope is a sealed record as it is stored.
type envelope struct {
	Alg   string `json:"alg"`
	KeyID string `json:"kid"`
	Nonce []byte `json:"nonce"`
	Data  []byte `json:"data"`
}

const sealAlg = "A256GCM"

// ErrSealed is a record that none of the configured keys opens. The record
// is left as it is.
var ErrSealed = errors.New("sealed record cannot be opened")

// NewSealer makes a sealer of 32-byte keys in base64 or hex. Without keys it
// is nil.
func NewSealer(keys []string) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	k, err := seal.New(keys, func(key []byte) string {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("oauth_tokens key id"))
		return hex.EncodeToString(mac.Sum(nil)[:6])
	})
	if err != nil {
		return nil, err
	}
	return &Sealer{k}, nil
}

func (s *Sealer) seal(storageKey string, plain []byte) ([]byte, error) {
	id, nonce, data := s.Seal(plain, []byte(storageKey))
	return json.Marshal(envelope{Alg: sealAlg, KeyID: id, Nonce: nonce, Data: data})
}

func (s *Sealer) open(storageKey string, b []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil || e.Alg != sealAlg {
		return nil, fmt.Errorf("%w: unknown format", ErrSealed)
	}
	var keys *seal.Keys
	if s != nil {
		keys = s.Keys
	}
	plain, err := keys.Open(e.KeyID, e.Nonce, e.Data, []byte(storageKey))
	switch {
	case errors.Is(err, seal.ErrAltered):
		return nil, fmt.Errorf("%w: %w: %w", errDamaged, ErrSealed, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w (it was sealed with key %s)", ErrSealed, err, authserver.Sanitize(e.KeyID))
	}
	return plain, nil
}
