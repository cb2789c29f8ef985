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

package messagelog

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyName is the file with the key of hashed recipients. Whoever has the
// directory has it too: it protects what leaves the directory (answers, exports),
// and makes a guess at a log that was copied without it worthless.
const keyName = "recipients.key"

const hashMark = "#"

// hasher replaces recipients by a keyed hash.
type hasher struct{ key []byte }

// address returns the hash of an address, whatever its case.
func (h *hasher) address(a string) string {
	m := hmac.New(sha256.New, h.key)
	m.Write([]byte(strings.ToLower(a)))
	return hashMark + base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:16])
}

// entry hashes the recipients, also where a reply quotes one of them. It
// changes the entry's own slice, which nothing else holds.
func (h *hasher) entry(e *Entry) {
	quoted := make([]string, 0, 2*len(e.Recipients))
	for i := range e.Recipients {
		r := &e.Recipients[i]
		plain := r.Address
		r.Address = h.address(plain)
		if plain != "" {
			quoted = append(quoted, plain, r.Address)
		}
	}
	e.Reply = unquote(e.Reply, quoted)
	for i := range e.Recipients {
		e.Recipients[i].Reply = unquote(e.Recipients[i].Reply, quoted)
	}
}

// unquote replaces the first of each pair by the second, whatever its case.
func unquote(text string, pairs []string) string {
	if text == "" || !strings.Contains(text, "@") {
		return text
	}
	for i := 0; i < len(pairs); i += 2 {
		text = replaceFold(text, pairs[i], pairs[i+1])
	}
	return text
}

func replaceFold(text, old, by string) string {
	lower, want := strings.ToLower(text), strings.ToLower(old)
	if len(lower) != len(text) || !strings.Contains(lower, want) {
		if len(lower) != len(text) && strings.Contains(lower, want) {
			return by // its octets cannot be told apart: nothing of it is kept
		}
		return text
	}
	var b strings.Builder
	for {
		i := strings.Index(lower, want)
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		b.WriteString(by)
		text, lower = text[i+len(want):], lower[i+len(want):]
	}
}

// loadHasher reads the directory's key. Without one it makes it, if asked to,
// and returns nil otherwise.
func loadHasher(dir string, create bool) (*hasher, error) {
	name := filepath.Join(dir, keyName)
	text, err := os.ReadFile(name) //nolint:gosec // a path of ours
	switch {
	case err == nil:
		key, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(key) != sha256.Size {
			return nil, fmt.Errorf("%s holds no key of 32 octets in hex", name)
		}
		return &hasher{key}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !create:
		return nil, nil
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key)
	tmp := name + ".new"
	if err := writeSynced(tmp, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, name); err != nil {
		return nil, err
	}
	return &hasher{key}, nil
}

func writeSynced(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // a path of ours
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
