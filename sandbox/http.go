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

package sandbox

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// handler is the OAuth endpoints, the inspection API and the control API.
func (s *Sandbox) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.authorize)
	mux.HandleFunc("GET /{tenant}/v2.0/adminconsent", func(w http.ResponseWriter, r *http.Request) {
		s.oauth.consentAnswer().ServeAdmin(w, r)
	})
	mux.HandleFunc("POST /device", s.deviceStart)
	mux.HandleFunc("GET /device", s.devicePage)
	mux.HandleFunc("GET /introspect", s.introspect)
	mux.HandleFunc("POST /introspect", s.introspect)
	mux.HandleFunc("GET /userinfo", s.introspect)
	mux.HandleFunc("GET /keys", s.idTokenKeys)
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)

	mux.Handle("GET /reports", s.webAPI)

	mux.HandleFunc("GET /messages", s.listMessages)
	mux.HandleFunc("DELETE /messages", func(w http.ResponseWriter, _ *http.Request) {
		s.DeleteMessages()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /messages/{id}/body", s.messageBody)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.Stats())
	})
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.CAPEM())
	})

	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.Faults())
	})
	mux.HandleFunc("POST /faults", s.postFault)
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /control/{action}", s.control)
	// Tenants' paths leave the mux no room for one more at the top.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hasAnyPrefix(r.URL.Path, "/v1.0/", "/gmail/v1/", "/upload/gmail/v1/") {
			s.webAPI.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

func writeError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]string{"error": text})
}

// messageList is the answer to GET /messages.
type messageList struct {
	// Count is how many were accepted, kept or not.
	Count    uint64    `json:"count"`
	Messages []Message `json:"messages"`
	// Next is the `after` of the next page; 0 on the last.
	Next uint64 `json:"next,omitempty"`
}

// listMessages takes `after` (an ID) and `limit` (default 100, at most 10000).
func (s *Sandbox) listMessages(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(orZero(r.FormValue("after")), 10, 64)
	if err != nil {
		writeError(w, http.StatusBadRequest, "after: want the id of a message")
		return
	}
	limit, err := strconv.Atoi(orZero(r.FormValue("limit")))
	if err != nil || limit < 0 || limit > 10000 {
		writeError(w, http.StatusBadRequest, "limit: want a number up to 10000")
		return
	}
	if limit == 0 {
		limit = 100
	}
	list := messageList{Messages: s.MessagesAfter(after, limit), Count: s.MessageCount()}
	if len(list.Messages) == limit {
		list.Next = list.Messages[limit-1].ID
	}
	writeJSON(w, http.StatusOK, list)
}

func orZero(v string) string {
	if v == "" {
		return "0"
	}
	return v
}

func (s *Sandbox) messageBody(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || id == 0 {
		writeError(w, http.StatusBadRequest, "id: want a number")
		return
	}
	body, ok := s.Body(id)
	if !ok {
		writeError(w, http.StatusNotFound, "no such message, or its body is not kept (keep_bodies)")
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	_, _ = w.Write(body)
}

// Body is the body of a message, if it is kept.
func (s *Sandbox) Body(id uint64) ([]byte, bool) {
	m := s.MessagesAfter(id-1, 1)
	if len(m) == 0 || m[0].ID != id || (m[0].Body == nil && m[0].Size > 0) {
		return nil, false
	}
	return m[0].Body, true
}

func (s *Sandbox) postFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !readJSON(w, r, &f) {
		return
	}
	id, err := s.AddFault(f)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, http.StatusCreated, map[string]uint64{"id": id})
}

func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && err != io.EOF {
		writeError(w, http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

// control is POST /control/{revoke,restore,expire,fail_tokens,consents,listen,drop}.
func (s *Sandbox) control(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("action") {
	case "revoke", "restore", "expire":
		var in struct {
			Mailbox string `json:"mailbox"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		switch r.PathValue("action") {
		case "revoke":
			s.RevokeMailbox(in.Mailbox)
		case "restore":
			s.RestoreMailbox(in.Mailbox)
		default:
			s.ExpireTokens(in.Mailbox)
		}
	case "fail_tokens":
		var f TokenFailure
		if !readJSON(w, r, &f) {
			return
		}
		s.FailTokens(f)
	case "consents":
		var a ConsentAnswer
		if !readJSON(w, r, &a) {
			return
		}
		s.AnswerConsents(a)
	case "listen":
		var in struct {
			On bool `json:"on"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		if err := s.SetListening(in.On); err != nil {
			writeError(w, http.StatusInternalServerError, err.Error())
			return
		}
	case "drop":
		var in struct {
			Reset bool `json:"reset"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		s.DropConns(in.Reset)
	default:
		writeError(w, http.StatusNotFound, "want revoke, restore, expire, fail_tokens, consents, listen or drop")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// authorize is the authorization endpoint. It asks nobody: the mailbox of
// `login_hint` consents.
func (s *Sandbox) authorize(w http.ResponseWriter, r *http.Request) {
	st := s.settings.Load()
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if _, known := st.clients[q.Get("client_id")]; !known || err != nil || !redirect.IsAbs() {
		// RFC 6749 section 4.1.2.1: such errors are not redirected.
		writeError(w, http.StatusBadRequest, "client_id or redirect_uri is wrong")
		return
	}
	back := redirect.Query()
	back.Set("state", q.Get("state"))
	back.Set("iss", s.HTTPURL()) // RFC 9207
	method := q.Get("code_challenge_method")
	answer := s.oauth.consentAnswer()
	if answer.Error != "" {
		back.Set("error", answer.Error)
		back.Set("error_description", answer.Description)
	} else if q.Get("response_type") != "code" || (method != "" && method != "S256") {
		back.Set("error", "invalid_request")
	} else {
		code := random()
		s.oauth.mu.Lock()
		s.oauth.grants[code] = &grant{
			client: q.Get("client_id"), mailbox: answer.As(hint(q)), answer: answer, redirect: q.Get("redirect_uri"),
			challenge: q.Get("code_challenge"), scope: q.Get("scope"), nonce: q.Get("nonce"), expires: time.Now().Add(10 * time.Minute),
		}
		s.oauth.mu.Unlock()
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
func (s *Sandbox) deviceStart(w http.ResponseWriter, r *http.Request) {
	st := s.settings.Load()
	_ = r.ParseForm()
	if _, known := st.clients[r.PostForm.Get("client_id")]; !known {
		s.tokenError(w, st, http.StatusUnauthorized, "invalid_client", "Unknown client.")
		return
	}
	code := random()
	user := strings.ToUpper(hex.EncodeToString([]byte(code[:4])))
	s.oauth.mu.Lock()
	s.oauth.grants[code] = &grant{
		device: true, client: r.PostForm.Get("client_id"), mailbox: hint(r.PostForm), userCode: user,
		scope: r.PostForm.Get("scope"), expires: time.Now().Add(15 * time.Minute),
	}
	s.oauth.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": user, "verification_uri": s.HTTPURL() + "/device",
		"verification_uri_complete": s.HTTPURL() + "/device?user_code=" + user,
		"expires_in":                900, "interval": 1,
	})
}

// devicePage is where the owner of a mailbox would answer: `user_code`, and
// `login_hint` for a mailbox other than the one asked for.
func (s *Sandbox) devicePage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.oauth.mu.Lock()
	defer s.oauth.mu.Unlock()
	for _, g := range s.oauth.grants {
		if g.device && g.userCode == q.Get("user_code") {
			if m := q.Get("login_hint"); m != "" {
				g.mailbox = m
			}
			writeJSON(w, http.StatusOK, map[string]string{"approved": g.mailbox})
			return
		}
	}
	writeError(w, http.StatusNotFound, "unknown user_code")
}

// introspect is RFC 7662 by POST, and token info by GET with `access_token` or
// `token` or a bearer token, as Dovecot's oauth2 passdb asks.
func (s *Sandbox) introspect(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	token := r.Form.Get("token")
	if token == "" {
		token = r.Form.Get("access_token")
	}
	if b, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token == "" {
		token = b
	}
	a, result := s.oauth.lookup(token)
	if result != "ok" {
		if r.Method == http.MethodPost {
			writeJSON(w, http.StatusOK, map[string]any{"active": false})
			return
		}
		writeJSON(w, http.StatusUnauthorized, map[string]any{
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
	writeJSON(w, http.StatusOK, out)
}

func (s *Sandbox) discovery(w http.ResponseWriter, _ *http.Request) {
	u := s.HTTPURL()
	writeJSON(w, http.StatusOK, map[string]any{
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
