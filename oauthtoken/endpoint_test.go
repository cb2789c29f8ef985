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
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// endpoint is an authorization server that rotates refresh tokens and
// detects reuse: a token whose successor has been used (as a refresh token, or
// through its access token) revokes the family when it is shown again. A
// token whose successor nobody has used yet is taken for one whose response
// was lost, and gets a new successor.
type endpoint struct {
	*httptest.Server

	mu       sync.Mutex
	families map[string]*family // by name
	byToken  map[string]*issued
	byAccess map[string]*issued
	posts    int
	active   int
	most     int
	forms    []url.Values
	headers  []http.Header
	// static refresh tokens are not rotated
	static  bool
	expires any
	extra   map[string]any
	spoil   map[string]any // is said in place of what was granted
	access  func(sub string, n int) string
	// fault answers in the endpoint's place if it returns true. after says
	// that the grant was processed and only the response is to be spoilt.
	fault func(w http.ResponseWriter, r *http.Request, n int, after bool) bool
}

type family struct {
	name    string
	newest  *issued
	n       int
	revoked bool
	reused  int
}

type issued struct {
	fam     *family
	n       int
	refresh string
	access  string
	used    bool
	parent  *issued
}

func newEndpoint(t testing.TB) *endpoint {
	s := &endpoint{
		families: map[string]*family{}, byToken: map[string]*issued{}, byAccess: map[string]*issued{}, expires: 3600,
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// seed makes a new family, as a consent does.
func (s *endpoint) seed(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &family{name: name}
	s.families[name] = f
	return s.issue(f).refresh
}

func (s *endpoint) issue(f *family) *issued {
	f.n++
	access := fmt.Sprintf("access-%s-%d", f.name, f.n)
	if s.access != nil {
		access = s.access(f.name, f.n)
	}
	i := &issued{fam: f, n: f.n, refresh: fmt.Sprintf("refresh-%s-%d", f.name, f.n), access: access}
	f.newest = i
	s.byToken[i.refresh] = i
	s.byAccess[i.access] = i
	return i
}

func (s *endpoint) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posts
}

func (s *endpoint) family(name string) family {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.families[name]
}

func (s *endpoint) revoke(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families[name].revoked = true
}

// use is what an upstream does with an access token.
func (s *endpoint) use(access string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.byAccess[access]
	if i == nil || i.fam.revoked {
		return false
	}
	if i.fam.newest == i {
		i.used = true
	}
	return true
}

func (s *endpoint) setFault(f func(w http.ResponseWriter, r *http.Request, n int, after bool) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/use" {
		if !s.use(r.Header.Get("Authorization")) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return
	}
	_ = r.ParseForm()
	s.mu.Lock()
	s.posts++
	n := s.posts
	s.active++
	s.most = max(s.most, s.active)
	s.forms = append(s.forms, r.PostForm)
	s.headers = append(s.headers, r.Header.Clone())
	fault := s.fault
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.active--; s.mu.Unlock() }()
	if fault != nil && fault(w, r, n, false) {
		return
	}
	status, body := s.grant(r.PostForm)
	if fault != nil && fault(w, r, n, true) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *endpoint) grant(form url.Values) (int, map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := map[string]any{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
	body := map[string]any{"token_type": "Bearer"}
	if s.expires != nil {
		body["expires_in"] = s.expires
	}
	for k, v := range s.extra {
		body[k] = v
	}
	if form.Get("grant_type") != "refresh_token" {
		body["access_token"] = fmt.Sprintf("access-app-%d", s.posts)
		return 200, body
	}
	i := s.byToken[form.Get("refresh_token")]
	if i == nil || i.fam.revoked {
		return 400, refused
	}
	f := i.fam
	if s.static {
		i.access = fmt.Sprintf("access-%s-%d", f.name, s.posts)
		s.byAccess[i.access] = i
		body["access_token"] = i.access
		return 200, body
	}
	switch {
	case f.newest == i:
		i.used = true
	case f.newest.parent == i && !f.newest.used:
		delete(s.byToken, f.newest.refresh)
		delete(s.byAccess, f.newest.access)
	default:
		f.revoked = true
		f.reused++
		return 400, refused
	}
	next := s.issue(f)
	next.parent = i
	body["access_token"], body["refresh_token"] = next.access, next.refresh
	for k, v := range s.spoil {
		body[k] = v
	}
	return 200, body
}

// answer makes a fault that answers the first times requests.
func answer(times int, status int, contentType, body string) func(http.ResponseWriter, *http.Request, int, bool) bool {
	return func(w http.ResponseWriter, _ *http.Request, n int, after bool) bool {
		if after || n > times {
			return false
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func mustToken(t testing.TB, a *App, provider, account, seed string) string {
	t.Helper()
	tok, err := a.Token(context.Background(), ask(provider, account, account, seed))
	if err != nil {
		t.Fatalf("token of %s: %v", account, err)
	}
	return tok.AccessToken
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q does not contain %q", err, p)
		}
	}
}
