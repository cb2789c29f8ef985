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

package authority

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/sandbox/internal/answer"
)

// Register adds the endpoints.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.authorize)
	mux.HandleFunc("GET /{tenant}/v2.0/adminconsent", func(w http.ResponseWriter, r *http.Request) {
		s.consentAnswer().ServeAdmin(w, r)
	})
	mux.HandleFunc("POST /device", s.deviceStart)
	mux.HandleFunc("GET /device", s.devicePage)
	mux.HandleFunc("GET /introspect", s.introspect)
	mux.HandleFunc("POST /introspect", s.introspect)
	mux.HandleFunc("GET /userinfo", s.introspect)
	mux.HandleFunc("GET /keys", s.idTokenKeys)
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
}

// authorize is the authorization endpoint. There is no page: the
// mailbox of `login_hint` consents.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	st := s.host.Settings()
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if _, known := st.Clients[q.Get("client_id")]; !known || err != nil || !redirect.IsAbs() {
		// RFC 6749 section 4.1.2.1: such errors are not redirected.
		answer.Error(w, http.StatusBadRequest, "client_id or redirect_uri is wrong")
		return
	}
	back := redirect.Query()
	back.Set("state", q.Get("state"))
	back.Set("iss", s.host.URL()) // RFC 9207
	method := q.Get("code_challenge_method")
	people := s.consentAnswer()
	if people.Error != "" {
		back.Set("error", people.Error)
		back.Set("error_description", people.Description)
	} else if q.Get("response_type") != "code" || (method != "" && method != "S256") {
		back.Set("error", "invalid_request")
	} else {
		code := random()
		s.mu.Lock()
		s.grants[code] = &grant{
			client: q.Get("client_id"), mailbox: people.As(hint(q)), answer: people, redirect: q.Get("redirect_uri"),
			challenge: q.Get("code_challenge"), scope: q.Get("scope"), nonce: q.Get("nonce"), expires: time.Now().Add(10 * time.Minute),
		}
		s.mu.Unlock()
		back.Set("code", code)
	}
	redirect.RawQuery = back.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

func hint(q url.Values) string {
	if m := q.Get("login_hint"); m != "" {
		return m
	}
	return "user@example.com"
}

// deviceStart is the device authorization endpoint (RFC 8628 section 3.1).
func (s *Server) deviceStart(w http.ResponseWriter, r *http.Request) {
	st := s.host.Settings()
	_ = r.ParseForm()
	if _, known := st.Clients[r.PostForm.Get("client_id")]; !known {
		s.tokenError(w, st, http.StatusUnauthorized, "invalid_client", "Unknown client.")
		return
	}
	code := random()
	user := strings.ToUpper(hex.EncodeToString([]byte(code[:4])))
	s.mu.Lock()
	s.grants[code] = &grant{
		device: true, client: r.PostForm.Get("client_id"), mailbox: hint(r.PostForm), userCode: user,
		scope: r.PostForm.Get("scope"), expires: time.Now().Add(15 * time.Minute),
	}
	s.mu.Unlock()
	answer.JSON(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": user, "verification_uri": s.host.URL() + "/device",
		"verification_uri_complete": s.host.URL() + "/device?user_code=" + user,
		"expires_in":                900, "interval": 1,
	})
}

// devicePage is where the owner of a mailbox would answer: `user_code`, and
// `login_hint` for a mailbox other than the one asked for.
func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.device && g.userCode == q.Get("user_code") {
			if m := q.Get("login_hint"); m != "" {
				g.mailbox = m
			}
			answer.JSON(w, http.StatusOK, map[string]string{"approved": g.mailbox})
			return
		}
	}
	answer.Error(w, http.StatusNotFound, "unknown user_code")
}

// introspect is RFC 7662 by POST, and token info by GET with `access_token` or
// `token` or a bearer token, as Dovecot's oauth2 passdb asks.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	token := r.Form.Get("token")
	if token == "" {
		token = r.Form.Get("access_token")
	}
	if b, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token == "" {
		token = b
	}
	a, result := s.lookup(token)
	if result != "ok" {
		if r.Method == http.MethodPost {
			answer.JSON(w, http.StatusOK, map[string]any{"active": false})
			return
		}
		answer.JSON(w, http.StatusUnauthorized, map[string]any{
			"active": false, "error": "invalid_token", "error_description": "Invalid Value",
		})
		return
	}
	out := map[string]any{
		"active": true, "client_id": a.client, "token_type": "Bearer", "scope": "smtp", "exp": a.expires.Unix(),
		"expires_in": int64(time.Until(a.expires).Seconds()), "sub": a.client,
	}
	if a.mailbox != "" {
		out["username"], out["email"], out["sub"] = a.mailbox, a.mailbox, a.mailbox
	}
	answer.JSON(w, http.StatusOK, out)
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	u := s.host.URL()
	answer.JSON(w, http.StatusOK, map[string]any{
		"issuer":                                         u,
		"authorization_endpoint":                         u + "/authorize",
		"token_endpoint":                                 u + "/token",
		"device_authorization_endpoint":                  u + "/device",
		"introspection_endpoint":                         u + "/introspect",
		"jwks_uri":                                       u + "/keys",
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"userinfo_endpoint":                              u + "/userinfo",
		"grant_types_supported":                          []string{grantRefresh, grantClient, grantCode, grantJWT, grantDevice},
		"response_types_supported":                       []string{"code"},
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_post", "client_secret_basic", "private_key_jwt"},
		"subject_types_supported":                        []string{"public"},
		"scopes_supported":                               []string{"smtp", "openid", "email", "offline_access"},
		"authorization_response_iss_parameter_supported": true,
	})
}
