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

func (v *verifier) counts() [hashKinds]int64 {
	var n [hashKinds]int64
	for i := range n {
		n[i] = v.ops[i].Load()
	}
	return n
}

// cost returns the hash computations of one login.
func cost(t *testing.T, d *Directory, name, password string, want error) [hashKinds]int64 {
	t.Helper()
	before := d.verifier.counts()
	if _, err := d.Authenticate(t.Context(), name, password); !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", name, err, want)
	}
	after := d.verifier.counts()
	for i := range after {
		after[i] -= before[i]
	}
	return after
}

func TestAuthenticateAlgorithms(t *testing.T) {
	argon, bc := argonHash(t, "argon", 64, 1), bcryptHash(t, "bcrypt")
	_, generated := GeneratePassword()
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
	plain, generated := GeneratePassword()
	argon := argonHash(t, "argon", 64, 1)
	for what, hashes := range map[string][]string{
		"sha256": {generated}, "argon2id": {argon}, "bcrypt": {bcryptHash(t, "b")}, "both": {argon, generated},
	} {
		t.Run(what, func(t *testing.T) {
			d := NewDirectory([]Source{newMemory(t,
				Record{Name: "known", PasswordHashes: hashes}, Record{Name: "none"},
				Record{Name: "paused", Paused: true, PasswordHashes: hashes},
			)}, nil)
			d.verifier = newVerifier(1)
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

// In a directory with several kinds of hashes, unknown names are spread over
// them as the accounts are, and each stays with its kind.
func TestUnknownNamesAreSpread(t *testing.T) {
	m := &memory{name: "memory"}
	argon := argonHash(t, "argon", 64, 1)
	for i := range 300 {
		r := Record{Name: fmt.Sprint("a", i), PasswordHashes: []string{HashGenerated("x")}}
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
		kinds[name] = d.fakes(name)[0].costID()
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
		if d.fakes(name)[0].costID() != kind {
			changed++
		}
	}
	if changed > 50 {
		t.Errorf("one more account, and %d of 2000 unknown names look different", changed)
	}
}

func TestSuccessIsRemembered(t *testing.T) {
	m := newMemory(t, Record{Name: "a", PasswordHashes: []string{argonHash(t, "one", 64, 1)}})
	d := NewDirectory([]Source{m}, nil)
	v := newVerifier(1)
	now := time.Unix(1_700_000_000, 0)
	v.cache.now = func() time.Time { return now }
	d.verifier = v

	expect := func(password string, want error, ops int64) {
		t.Helper()
		if got := cost(t, d, "a", password, want); got[hashArgon2id] != ops {
			t.Errorf("%d computations, want %d", got[hashArgon2id], ops)
		}
	}
	expect("one", nil, 1)
	expect("one", nil, 0)
	expect("two", ErrBadCredentials, 1)
	expect("two", ErrBadCredentials, 1)
	now = now.Add(cacheTTL - time.Second)
	expect("one", nil, 0)
	now = now.Add(cacheTTL - time.Second) // since its last use
	expect("one", nil, 0)
	now = now.Add(cacheTTL + time.Second)
	expect("one", nil, 1)
	// A changed password counts at the next AUTH, and so does the old one.
	m.index.Set(mustCompile(t, Record{Name: "a", PasswordHashes: []string{argonHash(t, "two", 64, 1)}}))
	expect("one", ErrBadCredentials, 1)
	expect("two", nil, 1)
	expect("two", nil, 0)
	// The same password of another account is another check.
	m.index.Set(mustCompile(t, Record{Name: "b", PasswordHashes: []string{argonHash(t, "two", 64, 1)}}))
	if got := cost(t, d, "b", "two", nil); got[hashArgon2id] != 1 {
		t.Errorf("other account: %d computations", got[hashArgon2id])
	}
	m.index.Delete("a")
	if _, err := d.Authenticate(t.Context(), "a", "two"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("deleted account: %v", err)
	}
}

func (c *successCache) len() (n int) {
	for i := range c.shards {
		c.shards[i].Lock()
		n += len(c.shards[i].m)
		c.shards[i].Unlock()
	}
	return n
}

func TestCacheIsBounded(t *testing.T) {
	var c successCache
	c.init(256, time.Hour, time.Now)
	for i := range 10_000 {
		c.add(cacheKey{byte(i), byte(i >> 8)}, 0)
	}
	if n := c.len(); n != 256 {
		t.Errorf("%d entries", n)
	}
}

// slowDirectory is a directory with slow accounts whose one core is busy until
// the returned function is called.
func slowDirectory(t *testing.T, names ...string) (*Directory, func()) {
	t.Helper()
	m := &memory{name: "memory"}
	for _, n := range names {
		m.index.Set(mustCompile(t, Record{Name: n, PasswordHashes: []string{argonHash(t, "right", 64, 1)}}))
	}
	d := NewDirectory([]Source{m}, nil)
	d.verifier = newVerifier(1)
	d.verifier.slots <- struct{}{}
	return d, func() { <-d.verifier.slots }
}

func TestIdenticalChecksAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, free := slowDirectory(t, "a")
		results := make(chan error, 100)
		for range cap(results) {
			go func() {
				_, err := d.Authenticate(t.Context(), "a", "right")
				results <- err
			}()
		}
		synctest.Wait()
		free()
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if n := d.verifier.ops[hashArgon2id].Load(); n != 1 {
			t.Errorf("%d computations", n)
		}
	})
}

func TestOneAccountCannotFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, free := slowDirectory(t, "victim", "other")
		// Known and unknown names have the same share.
		for _, name := range []string{"victim", "unknown"} {
			results := make(chan error, 50)
			for i := range cap(results) {
				go func() {
					_, err := d.Authenticate(t.Context(), name, fmt.Sprint("guess", i))
					results <- err
				}()
			}
			synctest.Wait()
			if n := len(results); n != cap(results)-accountShare {
				t.Errorf("%s: %d of %d were refused", name, n, cap(results))
			}
			for range len(results) {
				if err := <-results; !errors.Is(err, ErrOverloaded) {
					t.Errorf("%s: %v", name, err)
				}
			}
			defer func() {
				for range accountShare {
					if err := <-results; !errors.Is(err, ErrBadCredentials) {
						t.Errorf("%s: %v", name, err)
					}
				}
			}()
		}
		other := make(chan error, 1)
		go func() {
			_, err := d.Authenticate(t.Context(), "other", "right")
			other <- err
		}()
		synctest.Wait()
		free()
		if err := <-other; err != nil {
			t.Errorf("the other account: %v", err)
		}
	})
}

func TestOneClientCannotFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, free := slowDirectory(t, "a")
		flood := WithClient(t.Context(), "192.0.2.1")
		results := make(chan error, 200)
		for i := range cap(results) {
			go func() {
				_, err := d.Authenticate(flood, fmt.Sprint("random", i), "x")
				results <- err
			}()
		}
		synctest.Wait()
		if n := len(results); n != cap(results)-clientShare {
			t.Errorf("%d of %d were refused", n, cap(results))
		}
		honest := make(chan error, 1)
		go func() {
			_, err := d.Authenticate(WithClient(t.Context(), "192.0.2.2"), "a", "right")
			honest <- err
		}()
		synctest.Wait()
		free()
		if err := <-honest; err != nil {
			t.Error(err)
		}
		for range cap(results) {
			<-results
		}
		d.verifier.mu.Lock()
		defer d.verifier.mu.Unlock()
		if len(d.verifier.shares) != 0 || len(d.verifier.flights) != 0 {
			t.Errorf("left over: %v", d.verifier.shares)
		}
	})
}

func TestQueueIsBoundedAndHonoursContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, free := slowDirectory(t, "a")
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 1000)
		for i := range cap(results) {
			go func() {
				_, err := d.Authenticate(ctx, fmt.Sprint("random", i), "x")
				results <- err
			}()
		}
		synctest.Wait()
		if n := len(results); n != cap(results)-maxQueued-1 {
			t.Errorf("%d of %d were refused", n, cap(results))
		}
		// One who waits for the same check as one who leaves is served.
		keeps := make(chan error, 1)
		for range len(results) {
			<-results
		}
		leaves, leave := context.WithTimeout(ctx, time.Minute)
		defer leave()
		cancel()
		synctest.Wait()
		if n := len(results); n != maxQueued+1 {
			t.Errorf("%d of %d left when their contexts ended", n, maxQueued+1)
		}
		for range len(results) {
			if err := <-results; !errors.Is(err, ErrOverloaded) || !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if _, err := d.Authenticate(leaves, "a", "right"); !errors.Is(err, ErrOverloaded) {
			t.Errorf("with a context that has ended: %v", err)
		}
		first, leaveFirst := context.WithCancel(t.Context())
		go func() {
			_, err := d.Authenticate(first, "a", "right")
			results <- err
		}()
		synctest.Wait()
		go func() {
			_, err := d.Authenticate(t.Context(), "a", "right")
			keeps <- err
		}()
		synctest.Wait()
		leaveFirst()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		free()
		if err := <-keeps; err != nil {
			t.Errorf("who stayed: %v", err)
		}
		if n := d.verifier.ops[hashArgon2id].Load(); n != 1 {
			t.Errorf("%d computations for who did not wait", n-1)
		}
	})
}

func TestGeneratePassword(t *testing.T) {
	seen := make(map[string]bool)
	for n := MinPasswordLength; n <= MaxPasswordLength; n++ {
		if plain, hash, err := GeneratePasswordOf(n); err != nil || len(plain) != n || hash != HashGenerated(plain) {
			t.Fatalf("%d: %q %v", n, plain, err)
		}
	}
	for _, n := range []int{-1, 0, MinPasswordLength - 1, MaxPasswordLength + 1} {
		if _, _, err := GeneratePasswordOf(n); err == nil {
			t.Errorf("length %d is taken", n)
		}
	}
	used := make(map[rune]bool)
	for range 100 {
		plain, hash := GeneratePassword()
		for _, c := range plain {
			used[c] = true
		}
		if len(plain) != 16 || strings.ContainsAny(plain, "01lo") || seen[plain] {
			t.Fatalf("password %q", plain)
		}
		seen[plain] = true
		h, err := parseHash(hash)
		if err != nil || !h.matches(plain) || h.matches(plain[1:]) {
			t.Fatal(err)
		}
	}
	if len(used) != 32 {
		t.Errorf("%d letters are used, which is not 5 bits", len(used))
	}
}

func TestParseHash(t *testing.T) {
	// As `caddy hash-password --algorithm argon2id` printed it for "antitiming".
	const caddys = "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"
	if h, err := parseHash(caddys); err != nil || !h.matches("antitiming") {
		t.Errorf("caddy's own: %v", err)
	}
	const salt, digest = "c2FsdHNhbHRzYWx0", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for text, want := range map[string]string{
		"":              "must not be empty",
		"MARKED":        "malformed hash: want",
		"$2x$10$MARKED": "malformed hash: want",
		"$argon2i$v=19$m=64,t=1,p=1$MARKED$MARKED": "only argon2id",
		"sha256:MARKED":                                                  "64 hex digits",
		"sha256:" + strings.Repeat("a", 63):                              "64 hex digits",
		"$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + digest:             "version",
		"$argon2id$v=19$m=64,t=1$" + salt + "$" + digest:                 "parameters",
		"$argon2id$v=19$t=64,m=1,p=1$" + salt + "$" + digest:             "must be m",
		"$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + digest:             "parameter t must be from 1 to 16",
		"$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + digest:             "parameter p must be from 1 to 64",
		"$argon2id$v=19$m=64,t=1,p=9$" + salt + "$" + digest:             "8 times p",
		"$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + digest:        "parameter m must be from 8 to 262144",
		"$argon2id$v=19$m=262144,t=16,p=1$" + salt + "$" + digest:        "too expensive",
		"$argon2id$v=19$m=99999999999999,t=1,p=1$" + salt + "$" + digest: "not a number",
		"$argon2id$v=19$m=64,t=1,p=1$MARK$" + digest:                     "salt",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$MARK":                  "digest",
		"$2a$31$" + strings.Repeat("a", 53):                              "cost must be from 4 to 16",
		"$2a$03$" + strings.Repeat("a", 53):                              "cost must be from 4 to 16",
		"$2a$10$" + strings.Repeat("a", 52):                              "60 characters",
		"$2a$10$" + strings.Repeat("!", 53):                              "a character",
	} {
		_, err := parseHash(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "MARK") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$2a$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	f.Add("sha256:" + strings.Repeat("0f", 32))
	f.Add(base64.StdEncoding.EncodeToString([]byte("$2y$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")))
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHash(text)
		if err != nil {
			return
		}
		fake := h.fake()
		if fake.costID() != h.costID() {
			t.Errorf("%s: the fake costs %s", h.costID(), fake.costID())
		}
		if h.kind == hashBcrypt && h.cost > 4 || h.kind == hashArgon2id && h.memory*h.time > 1024 {
			return
		}
		if h.kind == hashBcrypt {
			if _, err := bcrypt.Cost([]byte(fake.text)); err != nil {
				t.Errorf("fake: %v", err)
			}
		}
		h.matches("password") // must not panic
		fake.matches("password")
	})
}

// BenchmarkAuthenticate is a login whose password is known already.
func BenchmarkAuthenticate(b *testing.B) {
	plain, hash := GeneratePassword()
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
