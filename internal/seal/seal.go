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

// Package seal encrypts stored records with AES-256-GCM and keys that rotate:
// the first key seals, any key opens. How a record looks in the storage is its
// package's own affair; what is sealed is bound to the place it lies in, so that
// a record moved to another place does not open there.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeySize is the length of a key in octets.
const KeySize = 32

// NonceSize is the length of a nonce in octets.
const NonceSize = 12

// Reasons for which a record does not open. No key and none of its text is part
// of an error.
var (
	// ErrNoKeys: the record is sealed, and no key is configured.
	ErrNoKeys = errors.New("no encryption key is configured")
	// ErrOtherKey: the record was sealed with a key that is not configured.
	ErrOtherKey = errors.New("its key is not configured")
	// ErrAltered: the key is right, and the record is not what was sealed, or
	// not where it was sealed.
	ErrAltered = errors.New("it has been altered, or belongs to another record")
)

// Keys are a ring of keys. A nil *Keys has none.
type Keys struct {
	keys []key
}

type key struct {
	id   string
	aead cipher.AEAD
}

// New reads keys of 32 octets in base64 or hex. The id that names a key in the
// records is derived by the caller's function, which must not let the key be
// guessed. An error names the key as 'encryption_keys[i]' and says nothing of it.
func New(texts []string, id func(key []byte) string) (*Keys, error) {
	r := new(Keys)
	for i, text := range texts {
		raw, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("field 'encryption_keys[%d]': %w", i, err)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("field 'encryption_keys[%d]': %w", i, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("field 'encryption_keys[%d]': %w", i, err)
		}
		r.keys = append(r.keys, key{id(raw), aead})
	}
	return r, nil
}

func parse(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if b, err := hex.DecodeString(text); err == nil && len(b) == KeySize {
		return b, nil
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(text); err == nil && len(b) == KeySize {
			return b, nil
		}
	}
	return nil, errors.New("want 32 octets in base64 or hex, as `openssl rand -base64 32` prints them")
}

// Empty reports whether there is no key, so that records are stored as they are.
func (r *Keys) Empty() bool { return r == nil || len(r.keys) == 0 }

// Identity tells one ring from another.
func (r *Keys) Identity() string {
	if r == nil {
		return ""
	}
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return strings.Join(ids, ",")
}

// ID returns the id of the key that seals. There must be one.
func (r *Keys) ID() string { return r.keys[0].id }

// Seal encrypts with the first key; there must be one. The place is what Open
// must be given to open it again.
func (r *Keys) Seal(plain, place []byte) (id string, nonce, data []byte) {
	k := r.keys[0]
	nonce = make([]byte, NonceSize)
	_, _ = rand.Read(nonce) // never fails
	return k.id, nonce, k.aead.Seal(nil, nonce, plain, place)
}

// SealAs encrypts with the key of that id, for what is added to a record that was sealed
// before another key became the first.
func (r *Keys) SealAs(id string, plain, place []byte) (nonce, data []byte, err error) {
	if r.Empty() {
		return nil, nil, ErrNoKeys
	}
	for _, k := range r.keys {
		if k.id == id {
			nonce = make([]byte, NonceSize)
			_, _ = rand.Read(nonce) // never fails
			return nonce, k.aead.Seal(nil, nonce, plain, place), nil
		}
	}
	return nil, nil, ErrOtherKey
}

// Open decrypts with the key of that id. The error is one of ErrNoKeys,
// ErrOtherKey and ErrAltered.
func (r *Keys) Open(id string, nonce, data, place []byte) ([]byte, error) {
	if r.Empty() {
		return nil, ErrNoKeys
	}
	known := false
	for _, k := range r.keys {
		// Ids are short: two keys may have the same.
		if k.id != id {
			continue
		}
		known = true
		if len(nonce) != NonceSize {
			break
		}
		if plain, err := k.aead.Open(nil, nonce, data, place); err == nil {
			return plain, nil
		}
	}
	if !known {
		return nil, ErrOtherKey
	}
	return nil, ErrAltered
}
