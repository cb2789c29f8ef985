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
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddymail/mailgateway/internal/invoked"
)

// The bounds of the hashes that a configuration may hold: what one login may
// cost. Caddy's own defaults are argon2id with 46 MiB and one pass, and bcrypt
// with cost 14.
const (
	maxArgon2Memory  = 256 << 10 // KiB
	maxArgon2Time    = 16
	maxArgon2Work    = 1 << 20 // KiB times passes
	maxArgon2Threads = 64
	maxBcryptCost    = 16
)

// Kind is the algorithm of a hash.
type Kind uint8

// The algorithms, in the order of their cost.
const (
	SHA256 Kind = iota
	Argon2id
	Bcrypt
	External // nothing is known of the password, another program checks it
)

// Kinds is the number of algorithms.
const Kinds = 4

// String returns the algorithm's name.
func (k Kind) String() string {
	return [...]string{"sha256", "argon2id", "bcrypt", "external"}[k]
}

// Hash is one password hash, as it was configured.
type Hash struct {
	kind    Kind
	text    string // as hashed by bcrypt, and what the success cache binds to
	digest  []byte
	salt    []byte
	time    uint32
	memory  uint32
	threads uint8
	cost    int
	outside *Outside // of an External one
}

// foreign are hashes of other programs that cannot be checked here, or are too
// weak to be.
var foreign = map[string]string{
	"$1$": "md5crypt", "$apr1$": "the md5crypt of Apache", "$5$": "sha256crypt", "$6$": "sha512crypt", "$y$": "yescrypt", "$7$": "scrypt", "$scrypt$": "scrypt",
	"$2$": "the first bcrypt", "$2x$": "a damaged bcrypt", "{": "a scheme in braces",
}

// Parse reads a password hash. Errors never quote it.
func Parse(s string) (*Hash, error) {
	if s == "" {
		return nil, errors.New("must not be empty")
	}
	if digest, ok := strings.CutPrefix(s, "sha256:"); ok {
		b, err := hex.DecodeString(digest)
		if err != nil || len(b) != sha256.Size {
			return nil, errors.New("malformed hash: want sha256: and 64 hex digits")
		}
		return &Hash{kind: SHA256, text: "sha256:" + strings.ToLower(digest), digest: b}, nil
	}
	if s[0] != '$' {
		// Older versions of `caddy hash-password` print base64.
		if b, err := base64.StdEncoding.DecodeString(s); err == nil && len(b) > 0 && b[0] == '$' {
			s = string(b)
		}
	}
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon2id(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, "$argon2"):
		return nil, errors.New("malformed hash: of the argon2 family only argon2id is supported")
	}
	for prefix, name := range foreign {
		if strings.HasPrefix(s, prefix) {
			return nil, fmt.Errorf("malformed hash: %s (%s...) is not taken: %s", name, prefix, invoked.Words("make one of the password with `caddy hash-password`, which prints argon2id or bcrypt"))
		}
	}
	return nil, errors.New(invoked.Words("malformed hash: want argon2id or bcrypt as `caddy hash-password` prints them, or sha256: and 64 hex digits"))
}

// parseArgon2id reads the PHC string format, as in
// $argon2id$v=19$m=47104,t=1,p=1$SALT$DIGEST.
func parseArgon2id(s string) (*Hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return nil, errors.New(invoked.Words("malformed argon2id hash: want six parts separated by $, as `caddy hash-password` prints them; a shell takes $ for variables where it stands in no single quotes"))
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, fmt.Errorf("malformed argon2id hash: only version %d is supported", argon2.Version)
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return nil, errors.New("malformed argon2id hash: want the parameters m, t and p")
	}
	number := func(i int, name string, low, high uint64) (uint64, error) {
		digits, ok := strings.CutPrefix(params[i], name+"=")
		if !ok {
			return 0, fmt.Errorf("malformed argon2id hash: parameter %d must be %s", i+1, name)
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("malformed argon2id hash: parameter %s is not a number", name)
		}
		if n < low || n > high {
			return 0, fmt.Errorf("argon2id parameter %s must be from %d to %d", name, low, high)
		}
		return n, nil
	}
	memory, err := number(0, "m", 8, maxArgon2Memory)
	if err != nil {
		return nil, err
	}
	time, err := number(1, "t", 1, maxArgon2Time)
	if err != nil {
		return nil, err
	}
	threads, err := number(2, "p", 1, maxArgon2Threads)
	if err != nil {
		return nil, err
	}
	if memory < 8*threads {
		return nil, errors.New("argon2id parameter m must be at least 8 times p")
	}
	if memory*time > maxArgon2Work {
		return nil, fmt.Errorf("argon2id parameters are too expensive: m times t must not exceed %d", maxArgon2Work)
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return nil, errors.New("malformed argon2id hash: the salt must be 8 to 64 octets in base64 without padding")
	}
	digest, err := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(digest) < 16 || len(digest) > 128 {
		return nil, errors.New("malformed argon2id hash: the digest must be 16 to 128 octets in base64 without padding")
	}
	return &Hash{
		kind: Argon2id, text: s, digest: digest, salt: salt,
		memory: uint32(memory), time: uint32(time), threads: uint8(threads), //nolint:gosec // bounded above
	}, nil
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func parseBcrypt(s string) (*Hash, error) {
	// $2a$14$ and 22 characters of salt and 31 of digest.
	if len(s) != 60 || s[6] != '$' {
		return nil, errors.New(invoked.Words("malformed bcrypt hash: want 60 characters, as `caddy hash-password` prints them; a shell takes $ for variables where it stands in no single quotes"))
	}
	for i := 7; i < len(s); i++ {
		if strings.IndexByte(bcryptAlphabet, s[i]) < 0 {
			return nil, errors.New("malformed bcrypt hash: it has a character that bcrypt hashes do not have")
		}
	}
	cost, err := strconv.ParseUint(s[4:6], 10, 8)
	if err != nil {
		return nil, errors.New("malformed bcrypt hash: the cost is not a number")
	}
	if cost < uint64(bcrypt.MinCost) || cost > maxBcryptCost {
		return nil, fmt.Errorf("the bcrypt cost must be from %d to %d", bcrypt.MinCost, maxBcryptCost)
	}
	return &Hash{kind: Bcrypt, text: s, cost: int(cost)}, nil
}

// Same reports whether two are the same hash, if not the same value.
func (h *Hash) Same(o *Hash) bool { return h == o || h.text == o.text }

// Outside reports whether another program checks the password.
func (h *Hash) Outside() bool { return h.kind == External }

// matches does the whole work whatever the answer.
func (h *Hash) matches(password string) bool {
	switch h.kind {
	case SHA256:
		sum := sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare(sum[:], h.digest) == 1
	case Argon2id:
		key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.digest))) //nolint:gosec // at most 128
		return subtle.ConstantTimeCompare(key, h.digest) == 1
	case Bcrypt:
		return bcrypt.CompareHashAndPassword([]byte(h.text), []byte(password)) == nil
	}
	return false
}

// Cost is what tells apart two hashes by the time that they take.
func (h *Hash) Cost() string {
	switch h.kind {
	case Argon2id:
		return fmt.Sprintf("argon2id,m=%d,t=%d,p=%d,l=%d", h.memory, h.time, h.threads, len(h.digest))
	case Bcrypt:
		return fmt.Sprintf("bcrypt,%d", h.cost)
	case External:
		return "external," + h.outside.Name
	case SHA256:
	}
	return h.kind.String()
}

// fake returns a hash of the same cost that no password has.
func (h *Hash) fake() *Hash {
	f := *h
	if h.kind == External {
		other := *h.outside
		other.Check = other.Decoy
		f.text, f.outside = h.Cost(), &other
		return &f
	}
	f.digest = make([]byte, len(h.digest))
	f.salt = make([]byte, len(h.salt))
	_, _ = rand.Read(f.digest)
	_, _ = rand.Read(f.salt)
	if h.kind == Bcrypt {
		b := make([]byte, 53)
		_, _ = rand.Read(b)
		for i := range b {
			b[i] = bcryptAlphabet[b[i]%64]
		}
		f.text = h.text[:7] + string(b)
	} else {
		f.text = h.Cost() + hex.EncodeToString(f.digest)
	}
	return &f
}

// Algorithm names the algorithm of a hash that may be malformed.
func Algorithm(s string) string {
	h, err := Parse(s)
	if err != nil {
		return "malformed"
	}
	return h.kind.String()
}

// FastFirst sorts hashes by cost, so that a generated password never waits for
// the check of a slow one.
func FastFirst(hashes []*Hash) []*Hash {
	slices.SortStableFunc(hashes, func(a, b *Hash) int { return cmp.Compare(a.kind, b.kind) })
	return hashes
}
