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
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddymail/mailgateway/internal/seal"
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
type sealer struct{ *seal.Keys }

// newSealer reads keys of 32 octets in base64 or hex.
func newSealer(keys []string) (sealer, error) {
	k, err := seal.New(keys, func(key []byte) string {
		id := sha256.Sum256(append([]byte("mailgateway key id\x00"), key...))
		return hex.EncodeToString(id[:4])
	})
	return sealer{k}, err
}

func sealPlace(key, revision string) []byte {
	return []byte("mailgateway account\x00" + key + "\x00" + revision)
}

func (s sealer) seal(key, revision string, record []byte) ([]byte, error) {
	e := envelope{V: 1, Revision: revision}
	if s.Empty() {
		e.Record = record
	} else {
		id, nonce, data := s.Seal(record, sealPlace(key, revision))
		e.Key, e.Sealed = id, append(nonce, data...)
	}
	return json.Marshal(e)
}

// open returns the record. A record in the clear is accepted even if there are
// keys: it was written before they were given, and is sealed at its next change.
func (s sealer) open(key string, blob []byte) (record []byte, revision string, err error) {
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
	n := min(len(e.Sealed), seal.NonceSize)
	record, err = s.Open(e.Key, e.Sealed[:n], e.Sealed[n:], sealPlace(key, e.Revision))
	switch {
	case errors.Is(err, seal.ErrNoKeys):
		return nil, "", fmt.Errorf("%w: it is sealed with key %s, and none is configured", ErrSealed, e.Key)
	case errors.Is(err, seal.ErrOtherKey):
		return nil, "", fmt.Errorf("%w: it is sealed with key %q, which is not configured", ErrSealed, e.Key)
	case err != nil:
		return nil, "", fmt.Errorf("%w: it has been altered, or belongs to another account", ErrSealed)
	}
	return record, e.Revision, nil
}

func newRevision() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
