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
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// spends are the refresh tokens that reached the endpoint. Of a request that was
// broken off it has the header at most.
func (s *endpoint) spends() (tokens []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, form := range s.forms {
		if r := form.Get("refresh_token"); r != "" {
			tokens = append(tokens, r)
		}
	}
	return tokens
}

// sibling refreshes for alice from a token as another process does.
func sibling(t *testing.T, a *testApp, s *endpoint, refresh string) {
	t.Helper()
	key := tokenstore.StorageKey("p", "alice")
	_, body := s.grant(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	access, _ := body["access_token"].(string)
	s.use(access)
	rec, err := a.records.Load(context.Background(), key)
	if err != nil {
		t.Error(err)
		return
	}
	rec.Seq++
	rec.RefreshToken, _ = body["refresh_token"].(string)
	if err := a.records.Swap(key, rec, rec.Seq-1); err != nil {
		t.Error(err)
	}
}

// A process is stopped between the lock and the request, until another one has taken
// the lock over and spent the token: it sends what that has stored.
func TestLockLostBeforeTheRequest(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			s := newEndpoint(t)
			s.Server = httptest.NewUnstartedServer(s)
			s.EnableHTTP2 = proto == "HTTP/2.0"
			s.StartTLS()
			t.Cleanup(s.Close)
			dir := t.TempDir()
			a := newApp(t, config(dir, s.URL, nil), func(p *served) { p.SetTransport(s.Client().Transport) })
			seed := s.seed("alice")
			mustToken(t, a.App, "p", "alice", seed)
			a.expire("alice")
			var asked atomic.Int32
			hooksOf(dir).set(func(op, _ string) error {
				if op != "holds" || asked.Add(1) > 1 {
					return nil
				}
				sibling(t, a, s, "refresh-alice-2")
				return tokenstore.ErrLost
			})
			s.setFault(func(_ http.ResponseWriter, r *http.Request, _ int, after bool) bool {
				if r.Proto != proto {
					t.Errorf("asked by %s", r.Proto)
				}
				return !after && r.PostForm.Get("refresh_token") == "" // it was broken off
			})
			if tok := mustToken(t, a.App, "p", "alice", seed); tok != "access-alice-4" {
				t.Errorf("got %s", tok)
			}
			if f := s.family("alice"); f.revoked || f.reused != 0 || asked.Load() != 2 {
				t.Errorf("the consent has ended: %+v, asked %d times", f, asked.Load())
			}
			if sent := s.spends(); !slices.Equal(sent, []string{seed, "refresh-alice-3"}) {
				t.Errorf("%v were sent", sent)
			}
		})
	}
}

// A lock that cannot be held, or of which nothing is known, sends nothing, and says
// nothing of the endpoint or of the consent.
func TestLockNotHeld(t *testing.T) {
	away := errors.New("no answer")
	for want, say := range map[string]error{"the lock was lost": tokenstore.ErrLost, "no answer": away} {
		t.Run(want, func(t *testing.T) {
			s := newEndpoint(t)
			dir := t.TempDir()
			a := newApp(t, config(dir, s.URL, nil))
			hooksOf(dir).set(func(op, _ string) error {
				if op == "holds" {
					return say
				}
				return nil
			})
			seed := s.seed("alice")
			for range breakerThreshold + 1 {
				_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
				wantError(t, err, "keeping the lock in the token store", want)
				if e := authserver.AsError(err, 0); e.Class != authserver.ClassStore || !errors.Is(err, say) {
					t.Fatalf("%#v", e)
				}
				a.unblock("alice")
			}
			if sent := s.spends(); sent != nil {
				t.Fatalf("%v were sent", sent)
			}
			hooksOf(dir).set(nil)
			mustToken(t, a.App, "p", "alice", seed)
		})
	}
}

// Where the answer to the first request was of no use and the lock is lost before
// the second, it is the answer that is told.
func TestLockLostBeforeTheSecondRequest(t *testing.T) {
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	var asked atomic.Int32
	hooksOf(dir).set(func(op, _ string) error {
		if op == "holds" && asked.Add(1)%2 == 0 {
			return tokenstore.ErrLost
		}
		return nil
	})
	s.setFault(answer(100, http.StatusServiceUnavailable, "text/plain", "down"))
	_, err := a.Token(context.Background(), ask("p", "alice", "alice", s.seed("alice")))
	wantError(t, err, "HTTP 503")
	if sent := s.spends(); strings.Contains(err.Error(), "lock") || len(sent) != 3 {
		t.Fatalf("%v after %d requests", err, len(sent))
	}
}
