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
	"net/http"
	"strings"
	"testing"
)

func TestOddEndpoints(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request, int, bool) bool
		posts int
		err   string
	}{
		"html, then well":      {answer(2, 200, "text/html", "<html>"), 3, ""},
		"503, then well":       {answer(2, 503, "text/plain", "busy"), 3, ""},
		"503 for ever":         {answer(99, 503, "text/plain", "busy"), 3, "HTTP 503"},
		"html 404":             {answer(99, 404, "text/html", "<html>"), 1, "HTTP 404"},
		"redirect":             {redirect, 1, "HTTP 307"},
		"huge":                 {answer(1, 200, "application/json", `{"access_token":"`+strings.Repeat("x", 2<<20)+`"}`), 2, ""},
		"invalid_request":      {answer(99, 400, "application/json", `{"error":"invalid_request","error_description":"AADSTS900144: scope"}`), 1, "AADSTS900144"},
		"unauthorized_client":  {answer(99, 400, "application/json", `{"error":"unauthorized_client"}`), 1, "unauthorized_client"},
		"invalid_grant is one": {answer(99, 400, "application/json", `{"error":"invalid_grant"}`), 1, "needs consent again"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			s.setFault(tc.fault)
			a := newApp(t, config(t.TempDir(), s.URL, nil))
			tok, err := a.Token(context.Background(), ask("p", "alice", "alice", s.seed("alice")))
			if tc.err == "" && err != nil || s.count() != tc.posts {
				t.Fatalf("%v, %v, %d requests", tok, err, s.count())
			}
			if tc.err != "" {
				wantError(t, err, tc.err)
				if strings.Contains(err.Error(), "refresh-") || strings.Contains(err.Error(), "the-client-secret") {
					t.Fatalf("a secret in %q", err)
				}
			}
		})
	}
}

func redirect(w http.ResponseWriter, r *http.Request, _ int, _ bool) bool {
	http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	return true
}

func TestLongTokens(t *testing.T) {
	s := newEndpoint(t)
	s.access = func(name string, n int) string { return name + strings.Repeat("y", 8<<10) + string(rune('a'+n)) }
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	if tok := mustToken(t, a.App, "p", "alice", s.seed("alice")); len(tok) < 8<<10 {
		t.Fatalf("%d bytes", len(tok))
	}
}
