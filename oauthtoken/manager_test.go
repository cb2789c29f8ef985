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
	"net/http"
	"sync"
	"testing"
	"time"
)

func TestTokenCachedAndRotatedDurably(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	first := mustToken(t, a.App, "p", "alice", seed)
	if again := mustToken(t, a.App, "p", "alice", seed); again != first || s.count() != 1 {
		t.Fatalf("got %s then %s with %d requests", first, again, s.count())
	}
	// 120 rotations: reuse of an old token would revoke the family.
	for i := range 120 {
		a.expire("alice")
		tok := mustToken(t, a.App, "p", "alice", seed)
		if !s.use(tok) {
			t.Fatalf("rotation %d: the access token is not valid", i)
		}
	}
	if f := s.family("alice"); f.revoked || f.n != 122 {
		t.Fatalf("family: %+v", f)
	}
	// A restart finds the token in the store.
	posts := s.count()
	a.stop()
	b := newApp(t, config(dir, s.URL, nil))
	if tok := mustToken(t, b.App, "p", "alice", seed); !s.use(tok) || s.count() != posts {
		t.Fatalf("after the restart: %d requests more", s.count()-posts)
	}
	b.expire("alice")
	if tok := mustToken(t, b.App, "p", "alice", seed); !s.use(tok) {
		t.Fatal("after the restart: not valid")
	}
}

func TestThousandColdCallsOnePost(t *testing.T) {
	s := newEndpoint(t)
	release := make(chan struct{})
	s.setFault(func(http.ResponseWriter, *http.Request, int, bool) bool { <-release; return false })
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	seed := s.seed("alice")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	got, cancelled := map[string]int{}, 0
	for i := range 1000 {
		wg.Go(func() {
			c := context.Background()
			if i%2 == 0 {
				c = ctx
			}
			tok, err := a.Token(c, ask("p", "alice", "alice", seed))
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, context.Canceled) {
				cancelled++
			} else if err == nil {
				got[tok.AccessToken]++
			}
		})
	}
	for {
		if e := a.entryOf("alice"); e != nil {
			e.mu.Lock()
			f := e.flight
			e.mu.Unlock()
			if f != nil {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
	cancel() // half of the waiters go; the refresh does not
	for {
		mu.Lock()
		n := cancelled
		mu.Unlock()
		if n == 500 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if s.count() != 1 || len(got) != 1 || got["access-alice-2"] != 500 {
		t.Fatalf("%d requests, tokens %v", s.count(), got)
	}
}

func TestClientCredentialsOneTokenForAll(t *testing.T) {
	s := newEndpoint(t)
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{"grant": "client_credentials", "scopes": []string{"one", "two"}}))
	for i := range 50 {
		mustToken(t, a.App, "p", fmt.Sprint("account", i), "")
	}
	if s.count() != 1 {
		t.Fatalf("%d requests", s.count())
	}
	f := s.forms[0]
	if f.Get("grant_type") != "client_credentials" || f.Get("scope") != "one two" ||
		f.Get("client_id") != "client" || f.Get("client_secret") != "the-client-secret" {
		t.Fatalf("form: %v", f)
	}
}
