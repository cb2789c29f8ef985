// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package tokenstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// quick returns a store on this machine's files.
func quick(t *testing.T) (*StorageStore, *certmagic.FileStorage) {
	t.Helper()
	fs := &certmagic.FileStorage{Path: t.TempDir()}
	s := NewStorageStore(fs)
	if s.locks == nil {
		t.Skip("the directory for temporary files is not known to be on a file system of this machine")
	}
	return s, fs
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// A lock keeps out whatever else locks the record: the same store, the store of
// another generation, another process.
func TestLocksExclude(t *testing.T) {
	s, fs := quick(t)
	other := NewStorageStore(&certmagic.FileStorage{Path: fs.Path})
	ctx := context.Background()
	key := StorageKey("p", "alice")
	if err := s.Lock(ctx, key); err != nil {
		t.Fatal(err)
	}
	for _, store := range []*StorageStore{s, other} {
		if err := store.Lock(within(t, 20*time.Millisecond), key); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("locked twice: %v", err)
		}
		if err := store.Lock(within(t, time.Minute), StorageKey("p", "bob")); err != nil {
			t.Fatal(err)
		}
		if err := store.Unlock(ctx, StorageKey("p", "bob")); err != nil {
			t.Fatal(err)
		}
	}
	// What another has is not given back by this.
	if err := other.Unlock(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := other.Lock(within(t, 20*time.Millisecond), key); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a store gave back the lock of another: %v", err)
	}
	got := make(chan error, 2)
	for _, store := range []*StorageStore{s, other} {
		go func() {
			err := store.Lock(within(t, time.Minute), key)
			if err == nil {
				err = store.Unlock(ctx, key)
			}
			got <- err
		}()
	}
	if err := s.Unlock(ctx, key); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	}
	for _, store := range []*StorageStore{s, other} {
		if store.locks.file != nil || len(store.locks.held) != 0 {
			t.Errorf("something is left: %+v", store.locks)
		}
	}
}

// lockingProcess is in the environment of a process that locks a record of the
// directory it names, says so, and waits to be killed.
const lockingProcess = "MAILGATEWAY_TEST_LOCK"

// The lock of a process that is stopped is kept, that of one that was killed is
// free at once.
func TestLockEndsWithItsProcess(t *testing.T) {
	key := StorageKey("p", "alice")
	if dir := os.Getenv(lockingProcess); dir != "" {
		if err := NewStorageStore(&certmagic.FileStorage{Path: dir}).Lock(context.Background(), key); err != nil {
			t.Fatal(err)
		}
		fmt.Println("locked")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	s, fs := quick(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), lockingProcess+"="+fs.Path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatal(line, err)
	}
	if err := s.Lock(within(t, 20*time.Millisecond), key); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("another process has it: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(within(t, time.Minute), key); err != nil {
		t.Fatal(err)
	}
	if err := s.Unlock(context.Background(), key); err != nil {
		t.Fatal(err)
	}
}

func grant(seq uint64, refresh string, at time.Time) *Record {
	r := &Record{Seq: seq, Subject: "alice", Mailbox: "alice", Provider: "p", ClientID: "client", RefreshToken: refresh, Consent: at, LastRefresh: at}
	r.SetAccess("", "access", at, at.Add(time.Hour))
	return r
}

// What follows from a durable consent is written beside it, and what is lost with
// the machine is never more than an access token.
func TestSettle(t *testing.T) {
	s, fs := quick(t)
	r := NewRecords(s)
	ctx := context.Background()
	key := StorageKey("p", "alice")
	now := time.Now().Round(0)
	durable := func() bool { return fs.Exists(ctx, key) }
	load := func() *Record {
		t.Helper()
		rec, err := r.Load(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	settle := func(rec *Record, seed string) {
		t.Helper()
		if err := r.Settle(key, rec, load().seq(), seed); err != nil {
			t.Fatal(err)
		}
		if got := load(); got.seq() != rec.Seq || got.RefreshToken != rec.RefreshToken {
			t.Fatalf("read back %+v, written %+v", got, rec)
		}
	}

	first := grant(1, "seed", now)
	first.AddSeed("seed")
	settle(first, "seed")
	if durable() {
		t.Fatal("the seed of the configuration was written durably at once")
	}
	if keys, err := r.Keys(ctx, "p"); err != nil || len(keys) != 1 || keys[0] != key {
		t.Fatalf("keys %v %v", keys, err)
	}
	rotated := first.Clone()
	rotated.Seq, rotated.RefreshToken = 2, "rotated"
	settle(rotated, "seed")
	if !durable() {
		t.Fatal("a rotated token is not durable")
	}
	if fs.Exists(ctx, recentKey(key)) {
		t.Fatal("what was superseded is left beside the record")
	}
	again := rotated.Clone()
	again.Seq, again.LastRefresh = 3, now.Add(time.Hour)
	again.SetAccess("", "access-3", now.Add(time.Hour), now.Add(2*time.Hour))
	settle(again, "seed")
	if base, err := r.loadBase(ctx, key); err != nil || base.Seq != 2 {
		t.Fatalf("an access token was written durably: %+v %v", base, err)
	}
	if keys, err := r.Keys(ctx, "p"); err != nil || len(keys) != 1 {
		t.Fatalf("keys %v %v", keys, err)
	}

	// A crash of the system leaves it damaged, or nothing of it.
	for _, left := range []string{"", "{", `{"version":1,"seq":9,"follows":1,"mailbox":"alice","provider":"p"}`, `{"version":1,"seq":9,"follows":2,"mailbox":"bob","provider":"p"}`} {
		if err := os.WriteFile(fs.Filename(recentKey(key)), []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := load(); got.Seq != 2 || got.RefreshToken != "rotated" {
			t.Fatalf("with %q beside it: %+v", left, got)
		}
	}

	// What is damaged is replaced like what is not.
	settle(again, "seed")
	if got := load(); got.Seq != 3 {
		t.Fatalf("after what was damaged: %+v", got)
	}

	// A day later it is written durably.
	late := rotated.Clone()
	late.Seq, late.LastRefresh = 4, now.Add(recentFor)
	settle(late, "seed")
	if base, err := r.loadBase(ctx, key); err != nil || base.Seq != 4 {
		t.Fatalf("not durable after %s: %+v %v", recentFor, base, err)
	}
	// A login is never beside.
	login := late.Clone()
	login.Seq++
	login.LoggedIn("login", "client", now.Add(recentFor))
	settle(login, "seed")
	if base, err := r.loadBase(ctx, key); err != nil || base.Seq != 5 {
		t.Fatalf("a login is not durable: %+v %v", base, err)
	}
	again = login.Clone()
	again.Seq, again.LastRefresh = 6, login.LastRefresh.Add(time.Minute)
	settle(again, "seed")
	if err := r.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if got := load(); got != nil {
		t.Fatalf("deleted, and found again: %+v", got)
	}
}

// Each field of a record that a crash must not take back is written durably when
// it changes.
func TestWhatMustBeDurable(t *testing.T) {
	now := time.Now()
	base := grant(1, "refresh", now)
	base.AddSeed("seed")
	for name, change := range map[string]func(*Record){
		"refresh token": func(r *Record) { r.RefreshToken = "other" },
		"client":        func(r *Record) { r.ClientID = "other" },
		"consent":       func(r *Record) { r.Consent = now.Add(1) },
		"failed":        func(r *Record) { r.Failed = &RecordError{Code: "invalid_grant"} },
		"refused":       func(r *Record) { r.Refused = &RefusedSeed{} },
		"spares":        func(r *Record) { r.Spares = []Spare{{}} },
		"taken":         func(r *Record) { r.Taken = map[string]string{"a": "b"} },
		"seeds":         func(r *Record) { r.AddSeed("another") },
		"mailbox":       func(r *Record) { r.Mailbox = "bob" },
		"rotates":       func(r *Record) { r.Rotates = true },
		"end":           func(r *Record) { r.RefreshExpires = now },
		"age":           func(r *Record) { r.LastRefresh = now.Add(recentFor) },
	} {
		n := base.Clone()
		n.Seq++
		if !n.maySettleLater(base, "seed") {
			t.Fatal("an access token alone has to be durable")
		}
		change(n)
		if n.maySettleLater(base, "seed") {
			t.Errorf("%s: written beside the record only", name)
		}
		if n, b := base.Clone(), base.Clone(); name == "failed" || name == "refused" || name == "spares" || name == "taken" {
			change(b)
			if n.maySettleLater(b, "seed") {
				t.Errorf("%s: its end is written beside the record only", name)
			}
		}
	}
}

// Rooms that a killed process left are deleted, those of others are not.
func TestSweepRooms(t *testing.T) {
	s, fs := quick(t)
	ctx := context.Background()
	r := NewRooms(s)
	k, err := r.Take(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	left := []string{roomPrefix + "/1000000000-0123456789abcdef", roomPrefix + "/provider/0123456789abcdef"}
	writing := roomPrefix + "/310688167"
	for _, key := range append(left, writing) {
		if err := fs.Store(ctx, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	NewRooms(s).Sweep(ctx)
	for _, key := range left {
		if fs.Exists(ctx, key) {
			t.Errorf("%s is left", key)
		}
	}
	if !fs.Exists(ctx, k.key) || !fs.Exists(ctx, writing) {
		t.Fatal("room that is held was deleted")
	}
	if err := r.Return(k); err != nil {
		t.Fatal(err)
	}
	if again, err := r.Take(ctx, roomStep); err != nil || again != k {
		t.Fatalf("the room was not used again: %v %v", again, err)
	}
	if err := r.Return(k); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if fs.Exists(ctx, k.key) {
		t.Fatal("an idle room is left")
	}
}

// TestKeysOfAKilledProcess: a file that was being written when a process was killed
// keeps its makeshift name. It is no mailbox's record, however whole its contents are.
func TestKeysOfAKilledProcess(t *testing.T) {
	ctx := context.Background()
	fs := &certmagic.FileStorage{Path: t.TempDir()}
	for name, r := range map[string]*Records{"quick": NewRecords(NewStorageStore(fs)), "any": {Store: NewStorageStore(fs)}} {
		key := StorageKey("p", "alice")
		rec := &Record{Version: recordVersion, Provider: "p", Mailbox: "alice", RefreshToken: "made-up", Seq: 1}
		b, err := EncodeRecord(nil, key, rec)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{key, path.Join(path.Dir(key), "2336260091")} {
			if err := r.Store.Save(ctx, k, b); err != nil {
				t.Fatal(err)
			}
		}
		if keys, err := r.Keys(ctx, "p"); err != nil || len(keys) != 1 || keys[0] != key {
			t.Errorf("%s: %q, %v", name, keys, err)
		}
	}
}
