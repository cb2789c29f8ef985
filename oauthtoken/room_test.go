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

package oauthtoken

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// smallDisk is a disk with so much room for new bytes.
func smallDisk(dir string, free *int, sizes map[string]int, mu *sync.Mutex) func(op, key string) error {
	return func(op, key string) error {
		mu.Lock()
		defer mu.Unlock()
		switch op {
		case "delete":
			*free += sizes[key]
			delete(sizes, key)
		case "save":
			// A file is written anew and renamed over the old one, so that
			// both take room for a moment.
			const size = 16 << 10
			if *free < size {
				return fmt.Errorf("write %s: %w", dir, syscall.ENOSPC)
			}
			*free += sizes[key] - size
			sizes[key] = size
		}
		return nil
	}
}

// The room for the record of a rotated token is there before the refresh is
// sent, or it is not sent.
func TestFullDiskSpendsNoToken(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	a := newApp(t, cfg)
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	a.expire("alice")
	a.records.Rooms.Close() // no room is held from before
	var mu sync.Mutex
	free, sizes := 0, map[string]int{}
	hooksOf(dir).set(smallDisk(dir, &free, sizes, &mu))
	for range 3 {
		a.unblock("alice")
		_, err := a.Token(context.Background(), ask("p", "alice", "", seed))
		wantError(t, err, "token store", "not sent")
		if reply := err.(*authserver.Error).Reply(); !strings.Contains(reply, "token store") {
			t.Fatalf("reply %q", reply)
		}
	}
	if s.count() != 1 {
		t.Fatalf("%d requests whose answer could not be stored", s.count()-1)
	}
	// With room for one file, it goes: what was held is given up for it.
	mu.Lock()
	free = 16 << 10
	mu.Unlock()
	a.unblock("alice")
	if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
		t.Fatal("not valid")
	}
	a.stop()
	hooksOf(dir).set(nil)
	a = newApp(t, cfg)
	a.expire("alice")
	if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
		t.Fatal("the consent was lost")
	}
	if f := s.family("alice"); f.reused != 0 || f.revoked || recordsIn(t, dir) != 1 {
		t.Fatalf("%+v, %d records", f, recordsIn(t, dir))
	}
}

// The room of one refresh serves the next: on a disk that has become full
// meanwhile, it is what the record is written to. After that nothing is sent.
func TestHeldRoomServesNextRefresh(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	var mu sync.Mutex
	free, sizes := 1<<20, map[string]int{}
	hooksOf(dir).set(smallDisk(dir, &free, sizes, &mu))
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	mu.Lock()
	if len(sizes) != 2 {
		t.Fatalf("record and room: %v", sizes)
	}
	mu.Unlock()
	a.expire("alice")
	mu.Lock()
	free = 0
	mu.Unlock()
	if !s.use(mustToken(t, a.App, "p", "alice", seed)) || s.count() != 2 {
		t.Fatalf("not refreshed, %d requests", s.count())
	}
	rec, err := a.records.Load(context.Background(), tokenstore.StorageKey("p", "alice"))
	if err != nil || rec.RefreshToken != s.family("alice").newest.refresh {
		t.Fatalf("%+v %v", rec, err)
	}
	a.expire("alice")
	mu.Lock()
	free = 0
	mu.Unlock()
	_, err = a.Token(context.Background(), ask("p", "alice", "", seed))
	wantError(t, err, "token store", "not sent")
	if s.count() != 2 {
		t.Fatalf("%d requests", s.count())
	}
}

// A token whose record could not be written all the same is written when the
// process ends, or the end is a failure.
func TestLastWrites(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	a.expire("alice")
	key := tokenstore.StorageKey("p", "alice")
	hooksOf(dir).set(func(op, k string) error {
		if op == "save" && k == key {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err := a.Token(context.Background(), ask("p", "alice", "", seed))
	wantError(t, err, "token store")
	hooksOf(dir).set(nil)
	a.served["p"].man.lastWrites()
	rec, err := a.records.Load(context.Background(), key)
	if err != nil || rec.RefreshToken != s.family("alice").newest.refresh {
		t.Fatalf("%+v %v", rec, err)
	}
}

func init() { caddy.RegisterModule(new(swapStore)) }

// swapStore is a store without locks whose writes are compared.
type swapStore struct {
	testStore
	mem *swapMemory
}

type swapMemory struct {
	mu      sync.Mutex
	seqs    map[string]uint64
	refused int
}

var swapMemories sync.Map

func (*swapStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens.stores.swap", New: func() caddy.Module { return new(swapStore) }}
}

func (s *swapStore) Provision(ctx caddy.Context) error {
	m, _ := swapMemories.LoadOrStore(s.Path, &swapMemory{seqs: map[string]uint64{}})
	s.mem = m.(*swapMemory)
	return s.testStore.Provision(ctx)
}

// Lock is lost at once, as that of a process which slept.
func (*swapStore) Lock(context.Context, string) error   { return nil }
func (*swapStore) Unlock(context.Context, string) error { return nil }

func (s *swapStore) Swap(ctx context.Context, key string, was, seq uint64, value []byte) error {
	s.mem.mu.Lock()
	defer s.mem.mu.Unlock()
	if s.mem.seqs[key] != was {
		s.mem.refused++
		return fmt.Errorf("number %d is not %d: %w", s.mem.seqs[key], was, tokenstore.ErrChanged)
	}
	if err := s.Save(ctx, key, value); err != nil {
		return err
	}
	s.mem.seqs[key] = seq
	return nil
}

// Where the store compares, a process whose lock was lost does not overwrite
// what another has written meanwhile.
func TestSwapper(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	cfg["store"] = map[string]any{"store": "swap", "path": dir}
	a := newApp(t, cfg)
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	a.expire("alice")
	a.records.Rooms.Close()
	store := a.records.Store.(*swapStore)
	r := a.records
	key := tokenstore.StorageKey("p", "alice")
	rec, err := r.Load(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	was := rec.Seq
	rec.Seq++
	if err := r.Swap(key, rec, was); err != nil {
		t.Fatal(err)
	}
	if err := r.Swap(key, rec, was); !errors.Is(err, tokenstore.ErrChanged) {
		t.Fatalf("a record is written over a newer one: %v", err)
	}
	// A login comes between the reading and the writing of a refresh.
	login := s.seed("login")
	first := true
	hooksOf(dir).set(func(op, k string) error {
		if op == "save" && strings.Contains(k, "-room") && first {
			first = false
			hooksOf(dir).set(nil)
			n, err := r.Load(context.Background(), key)
			if err != nil {
				return err
			}
			was := n.Seq
			n = n.Clone()
			n.Seq++
			n.LoggedIn(login, "client", n.Consent.Add(1))
			return r.Swap(key, n, was)
		}
		return nil
	})
	_, _ = a.Token(context.Background(), ask("p", "alice", "", seed))
	got, err := r.Load(context.Background(), key)
	if err != nil || !got.Login || !strings.HasPrefix(got.RefreshToken, "refresh-login-") {
		t.Fatalf("the login was overwritten: %+v %v", got, err)
	}
	if store.mem.refused == 0 {
		t.Fatal("no write was refused")
	}
	if _, err := os.Stat(recordFile(dir, "alice")); err != nil {
		t.Fatal(err)
	}
}
