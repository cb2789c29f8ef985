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
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// sealer encrypts records with AES-256-GCM. The record's storage key is the
// additional data, so that a record can't be put in another account's place.
type sealer struct {
	keys []sealKey
}

type sealKey struct {
	id   string
	aead cipher.AEAD
}

// envelope is a sealed record as it is stored.
type envelope struct {
	Alg   string `json:"alg"`
	KeyID string `json:"kid"`
	Nonce []byte `json:"nonce"`
	Data  []byte `json:"data"`
}

const sealAlg = "A256GCM"

// errSealed is a record that none of the configured keys opens. The record
// is left as it is.
var errSealed = errors.New("sealed record cannot be opened")

// newSealer makes a sealer of 32-byte keys in base64 or hex. Without keys it
// is nil.
func newSealer(keys []string) (*sealer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	s := new(sealer)
	for i, k := range keys {
		raw, err := parseKey(k)
		if err != nil {
			return nil, fmt.Errorf("encryption key %d: %v", i+1, err)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("encryption key %d: %v", i+1, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("encryption key %d: %v", i+1, err)
		}
		mac := hmac.New(sha256.New, raw)
		mac.Write([]byte("oauth_tokens key id"))
		s.keys = append(s.keys, sealKey{id: hex.EncodeToString(mac.Sum(nil)[:6]), aead: aead})
	}
	return s, nil
}

func parseKey(k string) ([]byte, error) {
	k = strings.TrimSpace(k)
	if raw, err := hex.DecodeString(k); err == nil && len(raw) == 32 {
		return raw, nil
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := enc.DecodeString(k); err == nil && len(raw) == 32 {
			return raw, nil
		}
	}
	return nil, errors.New("not 32 bytes in base64 or hex")
}

// seal encrypts with the first key.
func (s *sealer) seal(storageKey string, plain []byte) ([]byte, error) {
	k := s.keys[0]
	nonce := make([]byte, k.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return json.Marshal(envelope{
		Alg: sealAlg, KeyID: k.id, Nonce: nonce,
		Data: k.aead.Seal(nil, nonce, plain, []byte(storageKey)),
	})
}

// open decrypts with whichever key the record names.
func (s *sealer) open(storageKey string, b []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil || e.Alg != sealAlg {
		return nil, fmt.Errorf("%w: unknown format", errSealed)
	}
	if s == nil {
		return nil, fmt.Errorf("%w: no encryption_key is configured and the record was sealed with key %s", errSealed, sanitize(e.KeyID))
	}
	for _, k := range s.keys {
		if k.id != e.KeyID {
			continue
		}
		if len(e.Nonce) != k.aead.NonceSize() {
			return nil, fmt.Errorf("%w: %w: malformed nonce", errDamaged, errSealed)
		}
		plain, err := k.aead.Open(nil, e.Nonce, e.Data, []byte(storageKey))
		if err != nil {
			return nil, fmt.Errorf("%w: %w: it was changed, or belongs to another mailbox", errDamaged, errSealed)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("%w: it was sealed with key %s, which is not among the encryption_keys", errSealed, sanitize(e.KeyID))
}
