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
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// recordsIn counts the records below a store's directory.
func recordsIn(t testing.TB, dir string) (n int) {
	t.Helper()
	root := filepath.Join(dir, tokenstore.Prefix)
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}

// putRecord stores a record under the name that it has.
func putRecord(t testing.TB, a *testApp, rec *tokenstore.Record) {
	t.Helper()
	if err := a.records.Swap(tokenstore.StorageKey("p", rec.Whose()), rec, 0); err != nil {
		t.Fatal(err)
	}
}

func TestAccountsOfAMailboxShareItsGrant(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("box")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mailbox := []string{"box@example.com", "Box@Example.com"}[i%2]
			if _, err := a.Token(context.Background(), ask("p", fmt.Sprint("device", i%4), mailbox, seed)); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if s.count() != 1 || recordsIn(t, dir) != 1 {
		t.Fatalf("%d requests and %d records for four accounts of one mailbox", s.count(), recordsIn(t, dir))
	}
	a.expire("box@example.com")
	for i := range 4 {
		if _, err := a.Token(context.Background(), ask("p", fmt.Sprint("device", i), "box@example.com", seed)); err != nil {
			t.Fatal(err)
		}
	}
	if s.count() != 2 || s.family("box").reused != 0 {
		t.Fatalf("%d requests, %+v", s.count(), s.family("box"))
	}
	if st := a.Status(StatusFilter{}); len(st) != 1 || st[0].Account != "box@example.com" {
		t.Fatalf("status %+v", st)
	}
}

func TestScopeSetsOfOneGrant(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	a := newApp(t, cfg)
	seed := s.seed("box")
	own := ask("p", "box", "", seed)
	graph := grant.Request{Provider: "p", Account: "box", Seed: seed, Scopes: []string{"https://graph.test/Mail.Send"}}
	two := grant.Request{Provider: "p", Account: "box", Seed: seed, Scopes: []string{"one", "two"}}
	get := func(r grant.Request) string {
		t.Helper()
		tok, err := a.Token(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	smtp, web, both := get(own), get(graph), get(two)
	if smtp == web || web == both || s.count() != 3 {
		t.Fatalf("%s, %s, %s with %d requests", smtp, web, both, s.count())
	}
	for i, want := range []string{"", "https://graph.test/Mail.Send", "one two"} {
		if got := s.forms[i].Get("scope"); got != want {
			t.Errorf("request %d asks for scope %q, not %q", i, got, want)
		}
	}
	if get(own) != smtp || get(graph) != web || get(two) != both || s.count() != 3 {
		t.Fatal("a token of one set of scopes is lent for another, or lost")
	}
	// A refused access token is that of its scopes alone.
	tok, err := a.Token(context.Background(), graph)
	if err != nil {
		t.Fatal(err)
	}
	a.Reject(graph, tok)
	if get(own) != smtp || get(graph) == web || s.count() != 4 {
		t.Fatalf("Reject took another's token, or none; %d requests", s.count())
	}
	// One record holds them all, and the next process finds them.
	web = get(graph)
	a.stop()
	a = newApp(t, cfg)
	if get(own) != smtp || get(graph) != web || get(two) != both || s.count() != 4 || recordsIn(t, dir) != 1 {
		t.Fatalf("after a restart: %d requests, %d records", s.count(), recordsIn(t, dir))
	}
	if f := s.family("box"); f.reused != 0 || f.revoked {
		t.Fatalf("%+v", f)
	}
}

// A version that kept its records by account left one for each of the
// accounts of a mailbox, of one consent or of several.
func TestRecordsOfAccountsAreTakenOver(t *testing.T) {
	for name, tc := range map[string]struct {
		fail string // the operation that fails first, with the account's or the mailbox's key
	}{
		"well": {}, "lock": {"lock"}, "write": {"save"}, "delete": {"delete"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			dir := t.TempDir()
			cfg := config(dir, s.URL, nil)
			a := newApp(t, cfg)
			putRecord(t, a, &tokenstore.Record{Seq: 7, Subject: "erp", ClientID: "client", RefreshToken: s.seed("erp"), Login: true, Consent: time.Now()})
			putRecord(t, a, &tokenstore.Record{Seq: 9, Subject: "nas", ClientID: "client", RefreshToken: s.seed("nas"), Login: true, Consent: time.Now()})
			a.stop()
			a = newApp(t, cfg)
			key := tokenstore.StorageKey("p", "erp")
			failed := false
			hooksOf(dir).set(func(op, k string) error {
				if op == tc.fail && !failed && (k == key || op == "save" && k == tokenstore.StorageKey("p", "box")) {
					failed = true
					return errors.New("no")
				}
				return nil
			})
			_, err := a.Token(context.Background(), ask("p", "erp", "box", ""))
			if (err != nil) != (tc.fail != "") {
				t.Fatalf("%v", err)
			}
			if tc.fail != "" {
				// The process is killed here; the next finds what there is.
				a.stop()
				a = newApp(t, cfg)
			}
			for _, account := range []string{"nas", "erp", "nas", "erp"} {
				tok, err := a.Token(context.Background(), ask("p", account, "box", ""))
				if err != nil || !s.use(tok.AccessToken) {
					t.Fatalf("%s: %v", account, err)
				}
				a.expire("box")
			}
			if recordsIn(t, dir) != 1 {
				t.Fatalf("%d records of one mailbox", recordsIn(t, dir))
			}
			for _, n := range []string{"erp", "nas"} {
				if f := s.family(n); f.reused > 0 || f.revoked {
					t.Fatalf("the consent of %s is lost: %+v", n, f)
				}
			}
		})
	}
}

// The keep-alive of an account's old record waits for its lock while the
// mailbox takes the record over: it must not use what it remembers.
func TestKeepAliveOfATakenRecord(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	waitScanned(t, a)
	old := &tokenstore.Record{Seq: 7, Subject: "erp", ClientID: "client", RefreshToken: s.seed("box"), Login: true}
	putRecord(t, a, old)
	m := a.served["p"].man
	key := tokenstore.StorageKey("p", "erp")
	if err := a.records.Store.Lock(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	hooksOf(dir).set(func(op, k string) error {
		if op == "lock" && k == key {
			hooksOf(dir).set(nil)
			close(waits)
		}
		return nil
	})
	m.found(m.current.Load(), "erp", old)
	<-waits
	// What a takeover leaves.
	taken := old.Clone()
	taken.Seq, taken.Subject, taken.Mailbox, taken.Provider = 8, "box", "box", "p"
	taken.Take("erp", old)
	putRecord(t, a, taken)
	if err := a.records.Store.Delete(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	if err := a.records.Store.Unlock(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	e := a.entryOf("erp")
	e.mu.Lock()
	f := e.flight
	e.mu.Unlock()
	if f != nil {
		<-f.done
	}
	if s.count() != 0 {
		t.Fatalf("%d requests with a token that is the mailbox's", s.count())
	}
	if !s.use(mustToken(t, a.App, "p", "box", "")) {
		t.Fatal("not valid")
	}
}

// A process was killed between the two writes of a takeover, and the
// mailbox's token was rotated since: what is left of the account's record must
// neither be refreshed behind its back nor be taken for another consent.
func TestTakenRecordIsLeftAlone(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	a := newApp(t, cfg)
	putRecord(t, a, &tokenstore.Record{Seq: 7, Subject: "erp", ClientID: "client", RefreshToken: s.seed("box"), Login: true, Consent: time.Now()})
	a.stop()
	a = newApp(t, cfg)
	hooksOf(dir).set(func(op, _ string) error {
		if op == "delete" {
			return errors.New("no")
		}
		return nil
	})
	if _, err := a.Token(context.Background(), ask("p", "erp", "box", "")); err == nil {
		t.Fatal("the account's record was deleted")
	}
	a.stop()
	a = newApp(t, cfg)
	for range 3 { // by another account of the mailbox
		tok, err := a.Token(context.Background(), ask("p", "nas", "box", ""))
		if err != nil || !s.use(tok.AccessToken) {
			t.Fatal(err)
		}
		a.expire("box")
	}
	a.stop()
	hooksOf(dir).set(nil)
	a = newApp(t, cfg)
	waitScanned(t, a)
	if e := a.entryOf("erp"); e != nil {
		t.Fatal("the account's old record is a grant of its own")
	}
	tok, err := a.Token(context.Background(), ask("p", "erp", "box", ""))
	if err != nil || !s.use(tok.AccessToken) {
		t.Fatal(err)
	}
	rec, err := a.records.Load(context.Background(), tokenstore.StorageKey("p", "box"))
	if err != nil || len(rec.Spares) != 0 || recordsIn(t, dir) != 1 {
		t.Fatalf("%d records, spares %d, %v", recordsIn(t, dir), len(rec.Spares), err)
	}
	if f := s.family("box"); f.reused != 0 || f.revoked {
		t.Fatalf("%+v", f)
	}
}

// Two accounts of one mailbox had a consent each. The one that is used ends:
// the other takes its place.
func TestSpareConsent(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	first, second := s.seed("first"), s.seed("second")
	putRecord(t, a, &tokenstore.Record{Seq: 7, Subject: "erp", ClientID: "client", RefreshToken: first, Login: true, Consent: time.Now()})
	putRecord(t, a, &tokenstore.Record{Seq: 3, Subject: "box", Mailbox: "box", Provider: "p", ClientID: "client", RefreshToken: second, Login: true, Consent: time.Now()})
	s.revoke("first")
	s.revoke("second")
	s.mu.Lock()
	s.families["second"].revoked = false
	s.mu.Unlock()
	for _, account := range []string{"erp", "nas"} {
		tok, err := a.Token(context.Background(), ask("p", account, "box", ""))
		if err != nil || !s.use(tok.AccessToken) {
			t.Fatalf("%s: %v", account, err)
		}
	}
}

func TestRecordOfAnotherMailboxIsRefused(t *testing.T) {
	for _, keys := range [][]string{nil, {keyA}} {
		s := newEndpoint(t)
		dir := t.TempDir()
		cfg := config(dir, s.URL, nil)
		cfg["store"].(map[string]any)["keys"] = keys
		a := newApp(t, cfg)
		for _, n := range []string{"alice", "bob"} {
			if err := a.StoreConsent(context.Background(), ask("p", n, "", ""), s.seed(n)); err != nil {
				t.Fatal(err)
			}
		}
		a.stop()
		b, err := os.ReadFile(recordFile(dir, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(recordFile(dir, "bob"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		a = newApp(t, cfg)
		_, err = a.Token(context.Background(), ask("p", "bob", "", ""))
		wantError(t, err, "token store", tokenstore.StorageKey("p", "bob"))
		if err.(*authserver.Error).ReauthRequired() || s.count() != 0 {
			t.Fatalf("%v, %d requests", err, s.count())
		}
		if !s.use(mustToken(t, a.App, "p", "alice", "")) {
			t.Fatal("alice lost her grant")
		}
	}
}

func TestDamagedRecord(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":      func(b []byte) []byte { return b[:len(b)/2] },
		"empty":    func([]byte) []byte { return nil },
		"zeros":    func(b []byte) []byte { return make([]byte, len(b)) },
		"no token": func([]byte) []byte { return []byte(`["x"]`) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			dir := t.TempDir()
			cfg := config(dir, s.URL, nil)
			ctx := context.Background()
			a := newApp(t, cfg)
			if err := a.StoreConsent(ctx, ask("p", "alice", "", ""), s.seed("alice")); err != nil {
				t.Fatal(err)
			}
			a.stop()
			whole, err := os.ReadFile(recordFile(dir, "alice"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(recordFile(dir, "alice"), damage(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			a = newApp(t, cfg)
			_, err = a.Token(ctx, ask("p", "alice", "", ""))
			wantError(t, err, "damaged", tokenstore.StorageKey("p", "alice"))
			if reply := err.(*authserver.Error).Reply(); !strings.Contains(reply, "damaged") || s.count() != 0 {
				t.Fatalf("reply %q, %d requests", reply, s.count())
			}
			st := a.StatusOf(ask("p", "alice", "", ""))
			if st.Standing != authserver.StandingDamaged || st.LastError == nil || st.LastError.Code != "damaged_record" || st.LastError.Retry || st.LastError.Remedy == "" {
				b, _ := json.Marshal(st)
				t.Fatalf("status %s", b)
			}
			// A login mends it, and what was there is kept to be looked at.
			if err := a.StoreConsent(ctx, ask("p", "alice", "", ""), s.seed("again")); err != nil {
				t.Fatal(err)
			}
			if !s.use(mustToken(t, a.App, "p", "alice", "")) {
				t.Fatal("the login does not mend it")
			}
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(tokenstore.Beside(tokenstore.StorageKey("p", "alice"), "damaged")))); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A configured refresh token, or what a running process knows, replaces a
// damaged record without a human.
func TestDamagedRecordMendsItself(t *testing.T) {
	s := newEndpoint(t)
	s.static = true
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	seed := s.seed("alice")
	a := newApp(t, cfg)
	mustToken(t, a.App, "p", "alice", seed)
	a.stop()
	if err := os.WriteFile(recordFile(dir, "alice"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	a = newApp(t, cfg)
	if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
		t.Fatal("the seed does not replace the damaged record")
	}
	if rec, err := a.records.Load(context.Background(), tokenstore.StorageKey("p", "alice")); err != nil || rec.RefreshToken != seed {
		t.Fatalf("%+v %v", rec, err)
	}
}

// waitScanned waits until the records of the store are known.
func waitScanned(t testing.TB, a *testApp) {
	t.Helper()
	select {
	case <-a.served["p"].man.scanned:
	case <-time.After(30 * time.Second):
		t.Fatal("the store was not read")
	}
}
