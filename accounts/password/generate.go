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

package password

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// letters are 32, of 5 bits each, without 0, 1, l and o, which are
// mistaken for others when a password is typed into a device.
const letters = "abcdefghijkmnpqrstuvwxyz23456789"

// The lengths of generated passwords. Devices take 16 characters (HP), 20 or
// 31 (Dell); 16 are 80 random bits, and 12, the least, are 60.
const (
	DefaultLength = 16
	MinLength     = 12
	MaxLength     = 31
)

// Generate is GenerateOf the default length.
func Generate() (plain, hash string) {
	plain, hash, err := GenerateOf(DefaultLength)
	if err != nil {
		panic(err) // the default is within the bounds
	}
	return plain, hash
}

// GenerateOf returns a password of so many random letters and digits,
// and its hash for Record.PasswordHashes.
//
// So many random bits need no slow hash: the hash is a plain SHA-256, which
// costs a microsecond per login. To try half of 80 bits takes a thousand billion
// tries a second for 19,000 years.
func GenerateOf(length int) (plain, hash string, err error) {
	if length < MinLength || length > MaxLength {
		return "", "", fmt.Errorf("the length of a generated password must be from %d to %d, not %d", MinLength, MaxLength, length)
	}
	b := make([]byte, length)
	_, _ = rand.Read(b) // never fails: crypto/rand crashes the program instead
	for i := range b {
		b[i] = letters[b[i]%byte(len(letters))]
	}
	return string(b), HashGenerated(string(b)), nil
}

// Bits is the entropy of a generated password of that length.
func Bits(length int) int { return 5 * length }

// HashGenerated returns the hash of a generated password. It is not for
// passwords that people choose: `caddy hash-password` hashes those.
func HashGenerated(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return "sha256:" + hex.EncodeToString(sum[:])
}
