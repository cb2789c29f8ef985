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
	"net/http"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

func TestInvalidGrantAdoptsTheSiblingsToken(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	a.expire("alice")
	s.setFault(func(_ http.ResponseWriter, _ *http.Request, _ int, after bool) bool {
		if after {
			return false
		}
		s.setFault(nil)
		// A sibling whose lock was taken for stale refreshes meanwhile, twice.
		s.grant(map[string][]string{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-alice-2"}})
		_, body := s.grant(map[string][]string{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-alice-3"}})
		rec, err := a.records.Load(context.Background(), tokenstore.StorageKey("p", "alice"))
		if err != nil {
			t.Error(err)
			return false
		}
		rec.Seq += 2
		rec.RefreshToken = body["refresh_token"].(string)
		if err := a.records.Swap(tokenstore.StorageKey("p", "alice"), rec, rec.Seq); err != nil {
			t.Error(err)
		}
		// Without reuse detection, so that the family lives on.
		s.mu.Lock()
		delete(s.byToken, "refresh-alice-2")
		s.mu.Unlock()
		return false
	})
	if tok := mustToken(t, a.App, "p", "alice", seed); tok != "access-alice-5" || s.count() != 3 {
		t.Fatalf("got %s with %d requests", tok, s.count())
	}
}

// A lock is broken, and a human logs in while the refresh is under way.
func TestLoginDuringARefresh(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	a.expire("alice")
	login := s.seed("login")
	s.setFault(func(_ http.ResponseWriter, _ *http.Request, _ int, after bool) bool {
		if after {
			s.setFault(nil)
			rec, err := a.records.Load(context.Background(), tokenstore.StorageKey("p", "alice"))
			if err != nil {
				t.Error(err)
				return false
			}
			rec.Seq++
			rec.LoggedIn(login, "client", time.Now())
			if err := a.records.Swap(tokenstore.StorageKey("p", "alice"), rec, rec.Seq); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
	wantError(t, err, "logged in anew")
	e := a.entryOf("alice")
	e.mu.Lock()
	e.blockUntil = time.Time{}
	e.mu.Unlock()
	if tok := mustToken(t, a.App, "p", "alice", seed); tok != "access-login-2" {
		t.Fatalf("got %s", tok)
	}
}

// The store fails here; a sibling meanwhile finds its token spent, and marks
// the record. What is in memory is the valid one.
func TestSiblingsFailureDoesNotCoverTheRotatedToken(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	a.expire("alice")
	hooksOf(dir).set(func(op, _ string) error {
		if op == "save" {
			return errors.New("disk full")
		}
		return nil
	})
	_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
	wantError(t, err, "disk full")
	hooksOf(dir).set(nil)
	key := tokenstore.StorageKey("p", "alice")
	rec, err := a.records.Load(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	rec.Seq += 3
	rec.Failed = &tokenstore.RecordError{Code: "invalid_grant", ClientID: "client"}
	if err := a.records.Swap(key, rec, rec.Seq); err != nil {
		t.Fatal(err)
	}
	e := a.entryOf("alice")
	e.mu.Lock()
	e.blockUntil = time.Time{}
	e.mu.Unlock()
	if tok := mustToken(t, a.App, "p", "alice", seed); tok != "access-alice-3" || s.count() != 2 {
		t.Fatalf("got %s with %d requests", tok, s.count())
	}
	if rec, err = a.records.Load(context.Background(), key); err != nil || rec.RefreshToken != "refresh-alice-3" || rec.Failed != nil {
		t.Fatalf("%+v %v", rec, err)
	}
}

func TestNoConsentYet(t *testing.T) {
	s := newEndpoint(t)
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	_, err := a.Token(context.Background(), ask("p", "alice", "alice", ""))
	wantError(t, err, "needs consent: no_refresh_token: there is no consent yet")
	if !err.(*authserver.Error).ReauthRequired() || s.count() != 0 {
		t.Fatal("not ReauthRequired, or a request was made")
	}
	// Another process stores the consent; it is found within half a minute.
	rec := &tokenstore.Record{Subject: "alice", Seq: 1}
	rec.LoggedIn(s.seed("alice"), "client", time.Now())
	if err := a.records.Swap(tokenstore.StorageKey("p", "alice"), rec, rec.Seq); err != nil {
		t.Fatal(err)
	}
	e := a.entryOf("alice")
	e.mu.Lock()
	e.blockUntil = time.Now()
	e.mu.Unlock()
	mustToken(t, a.App, "p", "alice", "")
}
