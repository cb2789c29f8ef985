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
	"encoding/base32"
	"encoding/hex"
)

// passwordEncoding has no 0, 1, l and o, which are mistaken for others when a
// password is typed into a device.
var passwordEncoding = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// GeneratePassword returns a password of 160 random bits, 32 letters and
// digits, and its hash for Record.PasswordHashes. So many random bits need no
// slow hash: the hash is a plain SHA-256, which costs a microsecond per login.
func GeneratePassword() (plain, hash string) {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails: crypto/rand crashes the program instead
	plain = passwordEncoding.EncodeToString(b)
	return plain, HashGenerated(plain)
}

// HashGenerated returns the hash of a generated password. It is not for
// passwords that people choose: `caddy hash-password` hashes those.
func HashGenerated(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return "sha256:" + hex.EncodeToString(sum[:])
}
