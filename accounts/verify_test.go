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
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddymail/mailgateway/accounts/password"
)

func argonHash(t testing.TB, password string, memory, passes uint32) string {
	t.Helper()
	salt := []byte("saltsaltsaltsalt")
	key := argon2.IDKey([]byte(password), salt, passes, memory, 1, 32)
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$%s$%s", memory, passes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func bcryptHash(t testing.TB, password string) string {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// cost returns the hash computations of one login.
func cost(t *testing.T, d *Directory, name, pass string, want error) [password.Kinds]int64 {
	t.Helper()
	before := d.verifier.Computations()
	if _, err := d.Authenticate(t.Context(), name, pass); !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", name, err, want)
	}
	after := d.verifier.Computations()
	for i := range after {
		after[i] -= before[i]
	}
	return after
}

func TestAuthenticateAlgorithms(t *testing.T) {
	argon, bc := argonHash(t, "argon", 64, 1), bcryptHash(t, "bcrypt")
	_, generated := password.Generate()
	d := NewDirectory([]Source{newMemory(t,
		Record{Name: "argon", PasswordHashes: []string{argon}},
		Record{Name: "bcrypt", PasswordHashes: []string{bc}},
		Record{Name: "y", PasswordHashes: []string{"$2y" + bc[3:]}},
		Record{Name: "b", PasswordHashes: []string{"$2b" + bc[3:]}},
		Record{Name: "base64", PasswordHashes: []string{base64.StdEncoding.EncodeToString([]byte(bc))}},
		Record{Name: "several", PasswordHashes: []string{bc, argon, generated}},
	)}, nil)
	for name, password := range map[string]string{
		"argon": "argon", "bcrypt": "bcrypt", "y": "bcrypt", "b": "bcrypt", "base64": "bcrypt", "several": "argon",
	} {
		for range 2 {
			if _, err := d.Authenticate(t.Context(), name, password); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := d.Authenticate(t.Context(), name, password+" "); !errors.Is(err, ErrBadCredentials) {
				t.Errorf("%s, wrong password: %v", name, err)
			}
		}
	}
	if _, err := d.Authenticate(t.Context(), "several", "bcrypt"); err != nil {
		t.Errorf("second password: %v", err)
	}
}

// A wrong password, an unknown name, and an account without a password go the
// same way and cost the same hashes.
func TestUnknownNameCostsTheSame(t *testing.T) {
	plain, generated := password.Generate()
	argon := argonHash(t, "argon", 64, 1)
	for what, hashes := range map[string][]string{
		"sha256": {generated}, "argon2id": {argon}, "bcrypt": {bcryptHash(t, "b")}, "both": {argon, generated},
	} {
		t.Run(what, func(t *testing.T) {
			d := NewDirectory([]Source{newMemory(t,
				Record{Name: "known", PasswordHashes: hashes}, Record{Name: "none"},
				Record{Name: "paused", Paused: true, PasswordHashes: hashes},
			)}, nil)
			d.verifier = password.NewVerifier(1)
			want := cost(t, d, "known", "wrong", ErrBadCredentials)
			if n := want[0] + want[1] + want[2]; n != int64(len(hashes)) {
				t.Errorf("a wrong password costs %v", want)
			}
			for _, name := range []string{"unknown", "UNKNOWN", "none", "paused", strings.Repeat("long", 1000)} {
				if got := cost(t, d, name, "wrong", ErrBadCredentials); got != want {
					t.Errorf("%.10s costs %v, a wrong password %v", name, got, want)
				}
			}
			_ = plain
		})
	}
}

// A password with letters beyond ASCII has several forms. That the first of them is right
// is told by nothing where the account is paused.
func TestPausedCostsTheSameInEachForm(t *testing.T) {
	const right, wrong = "caf\u00e9", "caf\u00ea"
	d := NewDirectory([]Source{newMemory(t, Record{Name: "paused", Paused: true, PasswordHashes: []string{argonHash(t, right, 64, 1)}})}, nil)
	d.verifier = password.NewVerifier(1)
	want := cost(t, d, "paused", wrong, ErrBadCredentials)
	if want[password.Argon2id] < 2 {
		t.Fatalf("a wrong password costs %v", want)
	}
	for range 2 {
		if got := cost(t, d, "paused", right, ErrPaused); got != want {
			t.Errorf("the right password costs %v, a wrong one %v", got, want)
		}
	}
}

// In a directory with several kinds of hashes, unknown names are spread over
// them as the accounts are, and each stays with its kind.
func TestUnknownNamesAreSpread(t *testing.T) {
	m := &memory{name: "memory"}
	argon := argonHash(t, "argon", 64, 1)
	for i := range 300 {
		r := Record{Name: fmt.Sprint("a", i), PasswordHashes: []string{password.HashGenerated("x")}}
		if i%3 == 0 {
			r.PasswordHashes = []string{argon}
		}
		m.index.Set(mustCompile(t, r))
	}
	d := NewDirectory([]Source{m}, nil)
	slow := 0
	kinds := make(map[string]string)
	for i := range 2000 {
		name := fmt.Sprint("unknown", i)
		kinds[name] = d.fakes(name)[0].Cost()
		if strings.HasPrefix(kinds[name], "argon2id") {
			slow++
		}
	}
	if slow < 500 || slow > 850 { // 667 +- 21; 8 standard deviations
		t.Errorf("%d of 2000 unknown names look like argon2id accounts, a third of the accounts are", slow)
	}
	m.index.Set(mustCompile(t, Record{Name: "another", PasswordHashes: []string{argon}}))
	changed := 0
	for name, kind := range kinds {
		if d.fakes(name)[0].Cost() != kind {
			changed++
		}
	}
	if changed > 50 {
		t.Errorf("one more account, and %d of 2000 unknown names look different", changed)
	}
}

func TestSuccessIsRemembered(t *testing.T) {
	synctest.Test(t, testSuccessIsRemembered)
}

func testSuccessIsRemembered(t *testing.T) {
	const kept = 6 * time.Hour // as docs/security.md says
	m := newMemory(t, Record{Name: "a", PasswordHashes: []string{argonHash(t, "one", 64, 1)}})
	d := NewDirectory([]Source{m}, nil)
	d.verifier = password.NewVerifier(1)

	expect := func(plain string, want error, ops int64) {
		t.Helper()
		if got := cost(t, d, "a", plain, want); got[password.Argon2id] != ops {
			t.Errorf("%d computations, want %d", got[password.Argon2id], ops)
		}
	}
	expect("one", nil, 1)
	expect("one", nil, 0)
	expect("two", ErrBadCredentials, 1)
	expect("two", ErrBadCredentials, 1)
	time.Sleep(kept - time.Second)
	expect("one", nil, 0)
	time.Sleep(kept - time.Second) // since its last use
	expect("one", nil, 0)
	time.Sleep(kept + time.Second)
	expect("one", nil, 1)
	// A changed password counts at the next AUTH, and so does the old one.
	m.index.Set(mustCompile(t, Record{Name: "a", PasswordHashes: []string{argonHash(t, "two", 64, 1)}}))
	expect("one", ErrBadCredentials, 1)
	expect("two", nil, 1)
	expect("two", nil, 0)
	// The same password of another account is another check.
	m.index.Set(mustCompile(t, Record{Name: "b", PasswordHashes: []string{argonHash(t, "two", 64, 1)}}))
	if got := cost(t, d, "b", "two", nil); got[password.Argon2id] != 1 {
		t.Errorf("other account: %d computations", got[password.Argon2id])
	}
	m.index.Delete("a")
	if _, err := d.Authenticate(t.Context(), "a", "two"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("deleted account: %v", err)
	}
}

// BenchmarkAuthenticate is a login whose password is known already.
func BenchmarkAuthenticate(b *testing.B) {
	plain, hash := password.Generate()
	for _, c := range []struct{ name, hash, password string }{
		{"sha256", hash, plain}, {"argon2id-cached", argonHash(b, "x", 47104, 1), "x"},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := NewDirectory([]Source{newMemory(b, Record{Name: "a", PasswordHashes: []string{c.hash}})}, nil)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := d.Authenticate(context.Background(), "a", c.password); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
