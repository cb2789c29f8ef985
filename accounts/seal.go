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

package accounts

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// envelope is a record as it lies in the storage.
type envelope struct {
	V int `json:"v"`
	// Revision is random, and new with each change. It is the record's
	// version in the admin API: a digest of the record would let whoever
	// sees it try passwords.
	Revision string `json:"rev"`
	// Record is the record in the clear.
	Record json.RawMessage `json:"record,omitempty"`
	// Key tells which key sealed the record.
	Key string `json:"key,omitempty"`
	// Sealed is nonce and AES-256-GCM ciphertext, bound to the storage key
	// and the revision.
	Sealed []byte `json:"sealed,omitempty"`
}

// sealer seals records with its first key and opens them with any.
type sealer struct {
	keys []sealKey
}

type sealKey struct {
	id   string
	aead cipher.AEAD
}

// newSealer reads keys of 32 octets in base64 or hex.
func newSealer(keys []string) (*sealer, error) {
	s := new(sealer)
	for i, text := range keys {
		key, err := decodeKey(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("field 'encryption_keys[%d]': %w", i, err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		id := sha256.Sum256(append([]byte("mailgateway key id\x00"), key...))
		s.keys = append(s.keys, sealKey{hex.EncodeToString(id[:4]), aead})
	}
	return s, nil
}

func decodeKey(s string) ([]byte, error) {
	if b, err := hex.DecodeString(s); err == nil && len(b) == 32 {
		return b, nil
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(s); err == nil && len(b) == 32 {
			return b, nil
		}
	}
	return nil, errors.New("want 32 octets in base64 or hex, as `openssl rand -base64 32` prints them")
}

// identity tells key lists apart.
func (s *sealer) identity() string {
	ids := make([]string, len(s.keys))
	for i, k := range s.keys {
		ids[i] = k.id
	}
	return strings.Join(ids, ",")
}

func additionalData(key, revision string) []byte {
	return []byte("mailgateway account\x00" + key + "\x00" + revision)
}

func (s *sealer) seal(key, revision string, record []byte) ([]byte, error) {
	e := envelope{V: 1, Revision: revision}
	if len(s.keys) == 0 {
		e.Record = record
	} else {
		k := s.keys[0]
		nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(record)+k.aead.Overhead())
		_, _ = rand.Read(nonce)
		e.Key = k.id
		e.Sealed = k.aead.Seal(nonce, nonce, record, additionalData(key, revision))
	}
	return json.Marshal(e)
}

// open returns the record. A record in the clear is accepted even if there are
// keys: it was written before they were given, and is sealed at its next change.
func (s *sealer) open(key string, blob []byte) (record []byte, revision string, err error) {
	var e envelope
	if err := json.Unmarshal(blob, &e); err != nil || e.V == 0 || e.Revision == "" {
		return nil, "", errors.New("not a stored account")
	}
	if e.V != 1 {
		return nil, "", fmt.Errorf("written by a newer version of this program (format %d)", e.V)
	}
	if e.Sealed == nil {
		if e.Record == nil {
			return nil, "", errors.New("not a stored account")
		}
		return e.Record, e.Revision, nil
	}
	if len(s.keys) == 0 {
		return nil, "", fmt.Errorf("%w: it is sealed with key %s, and none is configured", ErrSealed, e.Key)
	}
	for _, k := range s.keys {
		if k.id != e.Key {
			continue
		}
		n := k.aead.NonceSize()
		if len(e.Sealed) < n {
			break
		}
		record, err := k.aead.Open(nil, e.Sealed[:n], e.Sealed[n:], additionalData(key, e.Revision))
		if err != nil {
			return nil, "", fmt.Errorf("%w: it has been altered, or belongs to another account", ErrSealed)
		}
		return record, e.Revision, nil
	}
	return nil, "", fmt.Errorf("%w: it is sealed with key %q, which is not configured", ErrSealed, e.Key)
}

func newRevision() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
