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

package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestLikeFilesAtRandom does the same at random in files and in a database, and holds that
// each question has the same answer: keys with what patterns, paths and other languages
// make of them, prefixes of each other's, asked for as callers may write them.
func TestLikeFilesAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
	ctx := t.Context()
	pg := open(t, testpg.Start(t).DSN())
	files := &certmagic.FileStorage{Path: t.TempDir()}
	prune(t, files.Path)
	parts := []string{"a", "A", "b", "a.b", "a b", "%", "_", `\`, "a%", "a_", "é", "e\u0301", "日本", "\U0010FFFF", "0", "-", "~", "'", `"`, "..a", "a..", "...", ".a", "*", "[a]", "$1", strings.Repeat("x", 200)}
	key := func() string {
		var k []string
		for range 1 + random.IntN(4) {
			k = append(k, parts[random.IntN(len(parts))])
		}
		return strings.Join(k, "/")
	}
	// As written by somebody who takes less care.
	loosely := func(k string) string {
		switch random.IntN(8) {
		case 0:
			return "/" + k
		case 1:
			return k + "/"
		case 2:
			return strings.ReplaceAll(k, "/", "//")
		case 3:
			return "./" + k
		case 4:
			return "x/../" + k
		}
		return k
	}
	var used []string
	some := func() string {
		if len(used) == 0 || random.IntN(4) == 0 {
			return key()
		}
		k := used[random.IntN(len(used))]
		if cut := strings.Split(k, "/"); random.IntN(2) == 0 {
			k = strings.Join(cut[:random.IntN(len(cut)+1)], "/")
		}
		return k
	}
	answer := func(s certmagic.Storage, k string) string {
		var out strings.Builder
		info, err := s.Stat(ctx, k)
		fmt.Fprintf(&out, "exists %v, stat %v %v %q", s.Exists(ctx, k), info.IsTerminal, errors.Is(err, fs.ErrNotExist), info.Key)
		if err != nil || info.IsTerminal {
			value, err := s.Load(ctx, k)
			fmt.Fprintf(&out, ", %d octets, load %q %v", info.Size, value, errors.Is(err, fs.ErrNotExist))
		}
		for _, recursive := range []bool{false, true} {
			keys, err := s.List(ctx, k, recursive)
			slices.Sort(keys)
			fmt.Fprintf(&out, ", list %v %q %v", recursive, keys, errors.Is(err, fs.ErrNotExist))
		}
		return out.String()
	}
	for step := range 1500 {
		k := some()
		switch written := loosely(k); random.IntN(4) {
		case 0, 1:
			if !fits(ctx, files, k) {
				break // a directory is where it would be, or a file on the way to it
			}
			value := bytes.Repeat([]byte{byte(step)}, random.IntN(50))
			if a, b := files.Store(ctx, written, value), pg.Store(ctx, written, value); a != nil || b != nil {
				t.Fatalf("seed %d, step %d, store %q: files %v, PostgreSQL %v", seed, step, written, a, b)
			}
			used = append(used, k)
		case 2:
			if k == "" && random.IntN(10) > 0 || through(ctx, files, k) {
				break // everything; or what files have another error for
			}
			if a, b := files.Delete(ctx, written), pg.Delete(ctx, written); a != nil || b != nil {
				t.Fatalf("seed %d, step %d, delete %q: files %v, PostgreSQL %v", seed, step, written, a, b)
			}
			prune(t, files.Path)
		}
		if k = some(); through(ctx, files, k) {
			continue // a file is no directory, files say, and that it is there
		}
		k = loosely(k)
		if want, got := answer(files, k), answer(pg, k); got != want {
			t.Fatalf("seed %d, step %d, %q\nfiles:      %s\nPostgreSQL: %s", seed, step, k, want, got)
		}
	}
}

// fits reports whether files can have a value there.
func fits(ctx context.Context, files *certmagic.FileStorage, key string) bool {
	if info, err := files.Stat(ctx, key); key == "" || err == nil && !info.IsTerminal {
		return false
	}
	return !through(ctx, files, key)
}

// through reports whether there is a value on the way to a key.
func through(ctx context.Context, files *certmagic.FileStorage, key string) bool {
	for i := range key {
		if info, err := files.Stat(ctx, key[:i]); key[i] == '/' && err == nil && info.IsTerminal {
			return true
		}
	}
	return false
}

// prune takes away directories with nothing in them, which a database has not.
func prune(t *testing.T, root string) {
	t.Helper()
	var dirs []string
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d) // it says no to others
	}
}

// TestStorageUnderAttack holds that what a database cannot keep is refused, and that what
// it can is kept, however large.
func TestStorageUnderAttack(t *testing.T) {
	server := testpg.Start(t)
	s, err := Open(t.Context(), pgdb.Config{DSN: server.DSN(), Timeout: caddy.Duration(10 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	// What is outside of the root is inside.
	for _, k := range []string{"../../etc/x", "/../etc/x", "etc/../../etc/x"} {
		if err := s.Store(ctx, k, []byte(k)); err != nil {
			t.Error(err)
		}
		if v, err := s.Load(ctx, "etc/x"); err != nil || string(v) != k {
			t.Errorf("%s: %q, %v", k, v, err)
		}
	}
	for _, k := range []string{"", "/", ".", "..", "a/..", "\x00", "a\x00b", "\xff", "a/\xc3", strings.Repeat("x/", 1<<20), random(3000)} {
		short := k[:min(len(k), 20)]
		if err := s.Store(ctx, k, []byte("x")); err == nil {
			t.Errorf("store %q: it is taken", short)
		}
		if err := s.Swap(ctx, k, 0, 1, []byte("x")); err == nil || errors.Is(err, ErrChanged) {
			t.Errorf("swap %q: %v", short, err)
		}
		if _, err := s.Load(ctx, k); err == nil {
			t.Errorf("load %q: it is there", short)
		}
		if strings.ContainsAny(k, "\x00\xff\xc3") || len(k) == 3000 {
			if s.Exists(ctx, k) {
				t.Errorf("%q exists", short)
			}
		}
	}
	if keys, err := s.List(ctx, "", true); err != nil || len(keys) != 2 {
		t.Errorf("%q, %v: want etc and etc/x", keys, err)
	}
	// Twice: the second is compared with what is there.
	large := bytes.Repeat([]byte("0123456789abcdef"), 50<<20/16)
	for range 2 {
		if err := s.Store(ctx, "large", large); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Load(ctx, "large"); err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d octets, %v", len(got), err)
	}
	if info, err := s.Stat(ctx, "large"); err != nil || info.Size != int64(len(large)) {
		t.Errorf("%+v, %v", info, err)
	}
}

// random is text that cannot be compressed.
func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rand.IntN(26)) //nolint:gosec // no secret
	}
	return string(b)
}

// TestOtherEncodings holds that a database that is not in UTF-8 keeps what it can, and
// that all of it can be listed and deleted.
func TestOtherEncodings(t *testing.T) {
	server := testpg.Start(t)
	first := open(t, server.DSN())
	if err := first.db.Do(t.Context(), func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := open(t, strings.Replace(server.DSN(), "/postgres?", "/latin?", 1))
	ctx := t.Context()
	if err := errors.Join(s.Store(ctx, "ä/ö", []byte("\xff\x00")), s.Store(ctx, "b", nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.Store(ctx, "日本", nil); err == nil {
		t.Error("a key that the database has no letters for is taken")
	}
	if keys, err := s.List(ctx, "", true); err != nil || fmt.Sprint(keys) != "[b ä ä/ö]" {
		t.Errorf("%q, %v", keys, err)
	}
	if err := s.Delete(ctx, ""); err != nil {
		t.Error(err)
	}
	if _, err := s.List(ctx, "", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after all was deleted: %v", err)
	}
}

// TestLocksLikeFiles holds that locks do what those of files do.
func TestLocksLikeFiles(t *testing.T) {
	pg, files := open(t, testpg.Start(t).DSN()), &certmagic.FileStorage{Path: t.TempDir()}
	type locker interface {
		certmagic.Storage
		certmagic.TryLocker
	}
	ctx := t.Context()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, name := range []string{"issue_cert_example.com", "a/b", "%", "ä", strings.Repeat("x", 200)} {
		said := func(s locker) string {
			var out strings.Builder
			add := func(what string, ok bool, err error) { fmt.Fprintf(&out, "%s: %v, failed %v; ", what, ok, err != nil) }
			add("unlock of nothing", false, s.Unlock(ctx, name))
			ok, err := s.TryLock(ctx, name)
			add("first", ok, err)
			ok, err = s.TryLock(ctx, name)
			add("second", ok, err)
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			add("wait", false, s.Lock(short, name))
			cancel()
			ok, err = s.TryLock(ctx, name+"b")
			add("another", ok, err)
			add("unlock", false, s.Unlock(ctx, name))
			add("unlock again", false, s.Unlock(ctx, name))
			add("lock", false, s.Lock(ctx, name))
			add("wait with no time", false, s.Lock(ended, name))
			add("unlock", false, s.Unlock(ctx, name))
			add("unlock another", false, s.Unlock(ctx, name+"b"))
			return out.String()
		}
		if want, got := said(files), said(pg); got != want {
			t.Errorf("%s\nfiles:      %s\nPostgreSQL: %s", name, want, got)
		}
	}
}

// TestBehindPooler has several nodes write and lock through PgBouncer in transaction mode.
func TestBehindPooler(t *testing.T) {
	dsn := testpg.StartPooler(t, testpg.Start(t))
	nodes := []*Storage{open(t, dsn), open(t, dsn), open(t, dsn)}
	ctx := t.Context()
	var all sync.WaitGroup
	for i, s := range nodes {
		all.Go(func() {
			for range 20 {
				if err := s.Lock(ctx, "l"); err != nil {
					t.Error(err)
					return
				}
				value, err := s.Load(ctx, "a/%_n")
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if held, err := s.HoldsLock(ctx, "l"); err != nil || !held {
					t.Errorf("node %d holds it: %v, %v", i, held, err)
				}
				if err := errors.Join(s.Store(ctx, "a/%_n", append(value, '\xff')), s.Unlock(ctx, "l")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	value, err := nodes[0].Load(ctx, "a/%_n")
	if err != nil || len(value) != 20*len(nodes) {
		t.Errorf("%d octets, %v", len(value), err)
	}
	if err := errors.Join(nodes[0].Swap(ctx, "t", 0, 1, []byte("a")), nodes[1].Swap(ctx, "t", 1, 2, []byte("b"))); err != nil {
		t.Error(err)
	}
	if err := nodes[2].Swap(ctx, "t", 1, 2, []byte("c")); !errors.Is(err, ErrChanged) {
		t.Errorf("a second one: %v", err)
	}
	if keys, err := nodes[2].List(ctx, "a", true); err != nil || fmt.Sprint(keys) != "[a/%_n]" {
		t.Errorf("%q, %v", keys, err)
	}
	if keys, err := nodes[2].List(ctx, "", false); err != nil || fmt.Sprint(keys) != "[a t]" {
		t.Errorf("%q, %v", keys, err)
	}
	if info, err := nodes[1].Stat(ctx, "a"); err != nil || info.IsTerminal {
		t.Errorf("%+v, %v", info, err)
	}
	if err := nodes[1].Delete(ctx, "a"); err != nil || nodes[0].Exists(ctx, "a/%_n") {
		t.Errorf("delete: %v", err)
	}
}

// TestLeastRights holds that what docs/operations.md grants is enough for all that a gateway
// and its commands do.
func TestLeastRights(t *testing.T) {
	server := testpg.Start(t)
	owner := open(t, server.DSN())
	ctx := t.Context()
	for _, statement := range []string{
		"CREATE ROLE daily LOGIN", "REVOKE ALL ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA mailgateway TO daily",
		"GRANT USAGE ON ALL SEQUENCES IN SCHEMA mailgateway TO daily", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mailgateway TO daily",
	} {
		if err := owner.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
			_, err := q.Exec(ctx, statement)
			return err
		}); err != nil {
			t.Fatal(statement, err)
		}
	}
	s := open(t, strings.Replace(server.DSN(), "gateway@", "daily@", 1))
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	began, heard, ended := make(chan struct{}), make(chan string, 1), make(chan error, 1)
	go func() { ended <- s.Watch(watching, func() { close(began) }, func(key string) { heard <- key }) }()
	select {
	case <-began:
	case err := <-ended:
		t.Fatal(err)
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	must("announce", s.Announce(ctx, "a"))
	if key := <-heard; key != "a" {
		t.Errorf("heard of %q", key)
	}
	must("apart", s.Apart(ctx))
	_, err := s.Users(ctx)
	must("users", err)
	must("store", s.Store(ctx, "a/b", []byte("x")))
	must("swap", s.Swap(ctx, "t", 0, 1, []byte("x")))
	_, err = s.List(ctx, "", true)
	must("list", err)
	_, err = s.Values(ctx)
	must("values", err)
	_, err = s.Stat(ctx, "a/b")
	must("stat", err)
	must("lock", s.Lock(ctx, "l"))
	_, err = s.HoldsLock(ctx, "l")
	must("holds", err)
	must("renew", s.RenewLockLease(ctx, "l", time.Minute))
	must("unlock", s.Unlock(ctx, "l"))
	must("delete", s.Delete(ctx, "a"))
	for _, f := range s.Examine(ctx) {
		if f.State != checkup.OK {
			t.Errorf("%+v", f)
		}
	}
}
