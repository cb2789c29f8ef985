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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

var (
	keyA = strings.Repeat("a1", 32)
	keyB = strings.Repeat("b2", 32)
)

func sealed(cfg map[string]any, keys ...string) map[string]any {
	c := map[string]any{}
	for k, v := range cfg {
		c[k] = v
	}
	c["store"] = map[string]any{"store": "test", "path": cfg["store"].(map[string]any)["path"], "keys": keys}
	return c
}

func recordFile(dir, account string) string {
	return (&certmagic.FileStorage{Path: dir}).Filename(tokenstore.StorageKey("p", account))
}

func TestSealedRecords(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	seed := s.seed("alice")
	a := newApp(t, sealed(cfg, keyA))
	access := mustToken(t, a.App, "p", "alice", seed)
	a.stop()
	b, err := os.ReadFile(recordFile(dir, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"refresh-alice", access, "alice"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Fatalf("the sealed record holds %q", secret)
		}
	}

	// A wrong key, and none, are clear errors that destroy nothing.
	for name, c := range map[string]map[string]any{"wrong": sealed(cfg, keyB), "none": cfg} {
		posts := s.count()
		w := newApp(t, c)
		_, err := w.Token(context.Background(), ask("p", "alice", "alice", seed))
		wantError(t, err, "sealed record cannot be opened", "key ")
		if err.(*authserver.Error).ReauthRequired() || s.count() != posts {
			t.Fatalf("%s key: %v, %d requests", name, err, s.count()-posts)
		}
		if err := w.StoreConsent(context.Background(), ask("p", "alice", "", ""), "other"); !errors.Is(err, tokenstore.ErrSealed) {
			t.Fatalf("%s key: a login overwrites the record: %v", name, err)
		}
		w.stop()
		if now, _ := os.ReadFile(recordFile(dir, "alice")); !bytes.Equal(now, b) {
			t.Fatalf("%s key: the record was changed", name)
		}
	}

	// Rotation of the key: the old one opens, the next write is sealed
	// with the new one.
	c := newApp(t, sealed(cfg, keyB, keyA))
	if mustToken(t, c.App, "p", "alice", seed) != access {
		t.Fatal("the access token was not found")
	}
	c.expire("alice")
	if !s.use(mustToken(t, c.App, "p", "alice", seed)) {
		t.Fatal("not valid")
	}
	c.stop()
	d := newApp(t, sealed(cfg, keyB))
	d.expire("alice")
	if !s.use(mustToken(t, d.App, "p", "alice", seed)) {
		t.Fatal("not valid")
	}
}

func TestRecordBelongsToItsKey(t *testing.T) {
	s, _ := tokenstore.NewSealer([]string{keyA})
	b, err := tokenstore.EncodeRecord(s, "smtp/tokens/p/one", &tokenstore.Record{RefreshToken: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokenstore.DecodeRecord(s, "smtp/tokens/p/one", b); err != nil {
		t.Fatal(err)
	}
	if _, err := tokenstore.DecodeRecord(s, "smtp/tokens/p/two", b); !errors.Is(err, tokenstore.ErrSealed) {
		t.Fatalf("a record of another account opens: %v", err)
	}
}

func TestRotatedTokenIsDurableBeforeUse(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		a := newApp(t, config(dir, s.URL, nil), inBubble(s))
		defer a.stop()
		seed := s.seed("alice")
		boom := errors.New("disk full")
		hooksOf(dir).set(func(op, _ string) error {
			if op == "save" {
				return boom
			}
			return nil
		})
		_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
		wantError(t, err, "writing the token store: disk full")
		if !errors.Is(err, boom) || err.(*authserver.Error).ReauthRequired() {
			t.Fatalf("error %#v", err)
		}
		if s.count() != 1 {
			t.Fatalf("%d requests", s.count())
		}
		for range 20 {
			time.Sleep(20 * time.Second)
			_, err = a.Token(context.Background(), ask("p", "alice", "alice", seed))
			wantError(t, err, "disk full")
		}
		if s.count() != 1 {
			t.Fatalf("%d requests while the store fails: each spends a token", s.count())
		}
		hooksOf(dir).set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if tok := mustToken(t, a.App, "p", "alice", seed); tok != "access-alice-2" || s.count() != 1 {
			t.Fatalf("got %s with %d requests", tok, s.count())
		}
		rec, err := a.records.Load(context.Background(), tokenstore.StorageKey("p", "alice"))
		if err != nil || rec.RefreshToken != "refresh-alice-2" {
			t.Fatalf("stored %+v, %v", rec, err)
		}
	})
}

func TestUnreadableStoreSpendsNoToken(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	for _, op := range []string{"load", "lock"} {
		hooksOf(dir).set(func(o, _ string) error {
			if o == op {
				return errors.New("input/output error")
			}
			return nil
		})
		_, err := a.Token(context.Background(), ask("p", op, op, s.seed(op)))
		wantError(t, err, "the token store: input/output error")
	}
	if s.count() != 0 {
		t.Fatalf("%d requests", s.count())
	}
}

func TestStaticTokenWorksWithoutTheStore(t *testing.T) {
	s := newEndpoint(t)
	s.static = true
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	hooksOf(dir).set(func(o, _ string) error {
		if o == "save" {
			return errors.New("read-only file system")
		}
		return nil
	})
	// Nothing was rotated: there is nothing to lose.
	mustToken(t, a.App, "p", "alice", s.seed("alice"))
}

func TestSeedsAndLogins(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	ctx := context.Background()
	one := s.seed("one")
	a := newApp(t, cfg)
	mustToken(t, a.App, "p", "alice", one)
	two := s.seed("two")
	if tok := mustToken(t, a.App, "p", "alice", two); tok != "access-two-2" {
		t.Fatalf("the new seed did not win: %s", tok)
	}
	// A session of the configuration before still shows the old seed.
	posts := s.count()
	for range 3 {
		if tok := mustToken(t, a.App, "p", "alice", one); tok != "access-two-2" {
			t.Fatalf("got %s", tok)
		}
		mustToken(t, a.App, "p", "alice", two)
	}
	if s.count() != posts {
		t.Fatal("two generations refresh against each other")
	}
	// After a restart the unchanged seed does not overwrite the newer token.
	a.expire("alice")
	a.stop()
	a = newApp(t, cfg)
	if tok := mustToken(t, a.App, "p", "alice", two); tok != "access-two-3" || s.family("two").reused != 0 {
		t.Fatalf("got %s", tok)
	}
	// A login is newer than the configured seed, also across a restart.
	if err := a.StoreConsent(ctx, ask("p", "alice", "", ""), s.seed("login")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, seed := range []string{two, one, ""} {
			if tok := mustToken(t, a.App, "p", "alice", seed); tok != "access-login-2" {
				t.Fatalf("got %s", tok)
			}
		}
		a.stop()
		a = newApp(t, cfg)
	}
	// And a seed configured after the login is newer than that.
	if tok := mustToken(t, a.App, "p", "alice", s.seed("three")); tok != "access-three-2" {
		t.Fatalf("got %s", tok)
	}

	// The login came first, and the seed of the configuration is seen
	// afterwards for the first time.
	if err := a.StoreConsent(ctx, ask("p", "bob", "", ""), s.seed("bobs-login")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if tok := mustToken(t, a.App, "p", "bob", "stale-seed-of-the-configuration"); tok != "access-bobs-login-2" {
			t.Fatalf("got %s", tok)
		}
		a.stop()
		a = newApp(t, cfg)
	}
}

func TestReauthRequiredIsStickyAndMends(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	a := newApp(t, cfg)
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	s.revoke("alice")
	for range 3 {
		a.expire("alice")
		for range 10 {
			_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
			wantError(t, err, "needs consent again", "expired or revoked")
			if !err.(*authserver.Error).ReauthRequired() {
				t.Fatal("not ReauthRequired")
			}
		}
		if s.count() != 2 {
			t.Fatalf("%d requests with a dead token", s.count()-1)
		}
		st := a.Status(StatusFilter{State: "reauth_required"})
		if len(st) != 1 || st[0].LastError == nil || !strings.Contains(st[0].LastError.Remedy, "caddy smtp login") {
			t.Fatalf("status %+v", st)
		}
		a.stop()
		a = newApp(t, cfg)
	}
	// The record still holds the token: it may be an administrator's to mend.
	s.mu.Lock()
	s.families["alice"].revoked = false
	s.mu.Unlock()
	a.Token(context.Background(), ask("p", "alice", "alice", seed))
	a.Retry(ask("p", "alice", "alice", ""))
	if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
		t.Fatal("Retry does not ask again")
	}

	// A refused new seed neither replaces the stored token nor is asked for twice.
	for range 2 {
		_, err := a.Token(context.Background(), ask("p", "alice", "alice", "bad-new-seed"))
		wantError(t, err, "needs consent again")
	}
	posts := s.count()
	a.stop()
	a = newApp(t, cfg)
	_, err := a.Token(context.Background(), ask("p", "alice", "alice", "bad-new-seed"))
	wantError(t, err, "needs consent again")
	if s.count() != posts {
		t.Fatal("a refused seed is asked for again")
	}
	a.expire("alice")
	if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
		t.Fatal("the stored token is gone")
	}
	// A login mends it for the configuration with the bad seed too.
	_, _ = a.Token(context.Background(), ask("p", "alice", "alice", "bad-new-seed"))
	if err := a.StoreConsent(context.Background(), ask("p", "alice", "", ""), s.seed("again")); err != nil {
		t.Fatal(err)
	}
	if tok := mustToken(t, a.App, "p", "alice", "bad-new-seed"); tok != "access-again-2" {
		t.Fatalf("got %s", tok)
	}
}

func TestReject(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	tok, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
	if err != nil {
		t.Fatal(err)
	}
	a.Reject(ask("p", "alice", "alice", ""), tok)
	next, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
	if err != nil || next.AccessToken == tok.AccessToken || s.count() != 2 {
		t.Fatalf("%v, %d requests", err, s.count())
	}
	a.Reject(ask("p", "alice", "alice", ""), tok) // no longer the current one
	a.Reject(ask("p", "alice", "alice", ""), next)
	if mustToken(t, a.App, "p", "alice", seed) != next.AccessToken || s.count() != 2 {
		t.Fatal("each refusal causes a refresh")
	}
	a.Reject(ask("nobody", "alice", "alice", ""), next)
	a.Reject(ask("p", "nobody", "nobody", ""), next)
	a.Reject(ask("p", "alice", "alice", ""), nil)
}

func TestForget(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	mustToken(t, a.App, "p", "alice", s.seed("alice"))
	if err := a.Forget(context.Background(), ask("p", "alice", "", "")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(recordFile(dir, "alice")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the record is still there: %v", err)
	}
	if len(a.Status(StatusFilter{})) != 0 {
		t.Fatal("the account is still known")
	}
	if err := a.Forget(context.Background(), ask("p", "nobody", "", "")); err != nil {
		t.Fatal(err)
	}
}

func TestReloadKeepsTokensWarm(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	a := newApp(t, cfg)
	seed := s.seed("alice")
	tok := mustToken(t, a.App, "p", "alice", seed)
	key := a.served["p"].key
	m := a.served["p"].man
	old := a.served["p"]
	for range 5 {
		b := newApp(t, cfg)
		a.stop()
		a = b
		if mustToken(t, a.App, "p", "alice", seed) != tok || s.count() != 1 {
			t.Fatal("the reload lost the token")
		}
	}
	if refs, _ := managers.References(key); refs != 1 || m.current.Load() == old {
		t.Fatalf("%d references", refs)
	}
	// A load that fails after our Start: the one before comes back.
	current := m.current.Load()
	c := newApp(t, cfg)
	if m.current.Load() == current {
		t.Fatal("not in force")
	}
	c.stop()
	if m.current.Load() != current {
		t.Fatal("the configuration before is not in force again")
	}
	// Another client is another identity: cold, from the store.
	cfg2 := config(dir, s.URL, map[string]any{"client_id": "other"})
	d := newApp(t, cfg2)
	if mustToken(t, d.App, "p", "alice", seed) == tok && d.served["p"].man == m {
		t.Fatal("another client shares the cache")
	}
	d.stop()
	a.stop()
	if _, ok := managers.References(key); ok {
		t.Fatal("the manager was not given back")
	}
}

func TestUnusedRecordFields(t *testing.T) {
	// The format on disk is a promise to the next version.
	r := &tokenstore.Record{Version: 1, Seq: 3, Subject: "a", ClientID: "c", RefreshToken: "r", Seeds: []string{"00$11"}, Login: true}
	b, _ := json.Marshal(r)
	const want = `{"version":1,"seq":3,"subject":"a","client_id":"c","refresh_token":"r","seeds":["00$11"],"login":true}`
	if string(b) != want {
		t.Fatalf("got %s", b)
	}
	if _, err := tokenstore.DecodeRecord(nil, "k", []byte(`{"version":2}`)); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("a newer record is read: %v", err)
	}
}

func TestWarmDoesNotWait(t *testing.T) {
	s := newEndpoint(t)
	release := make(chan struct{})
	s.setFault(func(http.ResponseWriter, *http.Request, int, bool) bool { <-release; return false })
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	seed := s.seed("alice")
	for range 5 {
		a.Warm(ask("p", "alice", "alice", seed))
		a.Warm(ask("nobody", "alice", "alice", seed))
	}
	close(release)
	mustToken(t, a.App, "p", "alice", seed)
	a.Warm(ask("p", "alice", "alice", seed))
	if s.count() != 1 {
		t.Fatalf("%d requests", s.count())
	}
}
