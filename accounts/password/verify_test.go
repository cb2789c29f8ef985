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
func slowDirectory(t *testing.T, names ...string) (*directory, func()) {
	t.Helper()
	d := &directory{verifier: NewVerifier(1), hashes: make(map[string][]*Hash)}
	for _, n := range names {
		h, err := Parse(argonHash(t, "right", 64, 1))
		if err != nil {
			t.Fatal(err)
		}
		d.hashes[n] = []*Hash{h}
		d.unknown = ProfileOf(d.hashes[n])
	}
	d.verifier.slots <- struct{}{}
	return d, func() { <-d.verifier.slots }
}

// directory is who has which hashes, and what the others cost.
type directory struct {
	verifier *Verifier
	hashes   map[string][]*Hash
	unknown  *Profile
}

var errWrong = errors.New("wrong password")

func (d *directory) Authenticate(ctx context.Context, name, password string) error {
	hashes, ok := d.hashes[name]
	if !ok {
		hashes = d.unknown.Fakes()
	}
	i, err := d.verifier.Verify(ctx, name, hashes, password)
	if err == nil && i < 0 {
		err = errWrong
	}
	return err
}

func TestIdenticalChecksAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, free := slowDirectory(t, "a")
		results := make(chan error, 100)
		for range cap(results) {
			go func() {
				err := d.Authenticate(t.Context(), "a", "right")
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
		if n := d.verifier.ops[Argon2id].Load(); n != 1 {
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
					err := d.Authenticate(t.Context(), name, fmt.Sprint("guess", i))
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
					if err := <-results; !errors.Is(err, errWrong) {
						t.Errorf("%s: %v", name, err)
					}
				}
			}()
		}
		other := make(chan error, 1)
		go func() {
			err := d.Authenticate(t.Context(), "other", "right")
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
				err := d.Authenticate(flood, fmt.Sprint("random", i), "x")
				results <- err
			}()
		}
		synctest.Wait()
		if n := len(results); n != cap(results)-clientShare {
			t.Errorf("%d of %d were refused", n, cap(results))
		}
		honest := make(chan error, 1)
		go func() {
			err := d.Authenticate(WithClient(t.Context(), "192.0.2.2"), "a", "right")
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
				err := d.Authenticate(ctx, fmt.Sprint("random", i), "x")
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
		if err := d.Authenticate(leaves, "a", "right"); !errors.Is(err, ErrOverloaded) {
			t.Errorf("with a context that has ended: %v", err)
		}
		first, leaveFirst := context.WithCancel(t.Context())
		go func() {
			err := d.Authenticate(first, "a", "right")
			results <- err
		}()
		synctest.Wait()
		go func() {
			err := d.Authenticate(t.Context(), "a", "right")
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
		if n := d.verifier.ops[Argon2id].Load(); n != 1 {
			t.Errorf("%d computations for who did not wait", n-1)
		}
	})
}

func TestGenerate(t *testing.T) {
	seen := make(map[string]bool)
	for n := MinLength; n <= MaxLength; n++ {
		if plain, hash, err := GenerateOf(n); err != nil || len(plain) != n || hash != HashGenerated(plain) {
			t.Fatalf("%d: %q %v", n, plain, err)
		}
	}
	for _, n := range []int{-1, 0, MinLength - 1, MaxLength + 1} {
		if _, _, err := GenerateOf(n); err == nil {
			t.Errorf("length %d is taken", n)
		}
	}
	used := make(map[rune]bool)
	for range 100 {
		plain, hash := Generate()
		for _, c := range plain {
			used[c] = true
		}
		if len(plain) != 16 || strings.ContainsAny(plain, "01lo") || seen[plain] {
			t.Fatalf("password %q", plain)
		}
		seen[plain] = true
		h, err := Parse(hash)
		if err != nil || !h.matches(plain) || h.matches(plain[1:]) {
			t.Fatal(err)
		}
	}
	if len(used) != 32 {
		t.Errorf("%d letters are used, which is not 5 bits", len(used))
	}
}

func TestParse(t *testing.T) {
	// As `caddy hash-password --algorithm argon2id` printed it for "antitiming".
	const caddys = "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"
	if h, err := Parse(caddys); err != nil || !h.matches("antitiming") {
		t.Errorf("caddy's own: %v", err)
	}
	const salt, digest = "c2FsdHNhbHRzYWx0", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for text, want := range map[string]string{
		"":                 "must not be empty",
		"MARKED":           "malformed hash: want",
		"$2x$10$MARKED":    "caddy hash-password",
		"$1$MARKED$MARKED": "md5crypt ($1$...) is not taken: make one of the password with `caddy hash-password`",
		"$6$MARKED$MARKED": "sha512crypt",
		"$2a$10$MARKED":    "`caddy hash-password`",
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
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "MARK") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$2a$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	f.Add("sha256:" + strings.Repeat("0f", 32))
	f.Add(base64.StdEncoding.EncodeToString([]byte("$2y$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")))
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err != nil {
			return
		}
		fake := h.fake()
		if fake.Cost() != h.Cost() {
			t.Errorf("%s: the fake costs %s", h.Cost(), fake.Cost())
		}
		if h.kind == Bcrypt && h.cost > 4 || h.kind == Argon2id && h.memory*h.time > 1024 {
			return
		}
		if h.kind == Bcrypt {
			if _, err := bcrypt.Cost([]byte(fake.text)); err != nil {
				t.Errorf("fake: %v", err)
			}
		}
		h.matches("password") // must not panic
		fake.matches("password")
	})
}
