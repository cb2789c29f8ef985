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
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddymail/mailgateway/sandbox/internal/answer"
)

// Grant types (RFC 6749, 7523, 8628).
const (
	grantRefresh = "refresh_token"
	grantClient  = "client_credentials"
	grantCode    = "authorization_code"
	grantJWT     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"

	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

var assertionAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.RS384, jose.RS512, jose.PS384, jose.PS512, jose.ES384, jose.EdDSA}

// token is the token endpoint (RFC 6749 section 3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	st := s.host.Settings()
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		s.tokenError(w, st, http.StatusBadRequest, "invalid_request", "The request body is not a form.")
		return
	}
	form := r.PostForm
	grantType := form.Get("grant_type")
	mailbox := ""
	switch grantType {
	case grantRefresh:
		mailbox = s.owner(form.Get("refresh_token"))
	case grantJWT:
		if c, err := peekClaims(form.Get("assertion")); err == nil {
			mailbox = c.Subject
		}
	}
	s.host.Posted(mailbox, grantType)
	if !s.host.Sleep(st.TokenDelay) {
		return
	}
	if f, ok := s.failure(mailbox); ok {
		if !s.host.Sleep(time.Duration(f.Delay)) {
			return
		}
		if f.Status != http.StatusOK {
			s.failToken(w, r, st, f)
			return
		}
	}
	client, ok := s.client(w, r, st, grantType)
	if !ok {
		return
	}
	if st.Microsoft && several(form.Get("scope")) {
		s.tokenError(w, st, http.StatusBadRequest, "invalid_resource",
			"Provided value for the input parameter scope is not valid because it contains more than one resource. Scope "+form.Get("scope")+" is not valid.")
		return
	}
	switch grantType {
	case grantRefresh:
		s.grantRefresh(w, st, client, form)
	case grantClient:
		s.answer(w, st, map[string]any{}, s.Issue("", client, form.Get("scope")))
	case grantCode:
		s.grantCode(w, st, client, form)
	case grantDevice:
		s.grantDevice(w, st, client, form)
	case grantJWT:
		s.grantJWT(w, r, st, form)
	default:
		s.tokenError(w, st, http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: "+grantType)
	}
}

func (s *Server) failToken(w http.ResponseWriter, r *http.Request, st Settings, f TokenFailure) {
	if f.Hang {
		select {
		case <-r.Context().Done():
		case <-s.host.Done():
		}
		return
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	status := f.Status
	if status == 0 {
		status = http.StatusServiceUnavailable
	}
	if f.HTML {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><html><title>Error</title><p>That's an error.</html>")
		return
	}
	code := f.Error
	if code == "" {
		code = "temporarily_unavailable"
	}
	s.tokenError(w, st, status, code, "The service is temporarily unavailable.")
}

// client authenticates the client (RFC 6749 section 2.3, RFC 7523 section 2.2).
func (s *Server) client(w http.ResponseWriter, r *http.Request, st Settings, grantType string) (string, bool) {
	if grantType == grantJWT {
		return "", true // the assertion speaks for itself
	}
	form := r.PostForm
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if u, p, ok := r.BasicAuth(); ok {
		// RFC 6749 section 2.3.1: both are form-encoded.
		var err1, err2 error
		id, err1 = url.QueryUnescape(u)
		secret, err2 = url.QueryUnescape(p)
		if err1 != nil || err2 != nil {
			id = ""
		}
	}
	if a := form.Get("client_assertion"); a != "" {
		claims, err := s.assertion(r, st, a)
		if err == nil && form.Get("client_assertion_type") != assertionType {
			err = fmt.Errorf("client_assertion_type is wrong")
		}
		if err == nil && (claims.Subject != claims.Issuer || (id != "" && id != claims.Subject)) {
			err = fmt.Errorf("issuer and subject must be the client")
		}
		if err == nil {
			if _, known := st.Clients[claims.Subject]; !known {
				err = fmt.Errorf("unknown client")
			}
		}
		if err != nil {
			s.tokenError(w, st, http.StatusUnauthorized, "invalid_client", "Client assertion: "+err.Error())
			return "", false
		}
		return claims.Subject, true
	}
	want, known := st.Clients[id]
	if !known || subtle.ConstantTimeCompare([]byte(want), []byte(secret)) != 1 {
		s.tokenError(w, st, http.StatusUnauthorized, "invalid_client", "The provided client secret is invalid.")
		return "", false
	}
	if want == "" && grantType == grantClient {
		s.tokenError(w, st, http.StatusUnauthorized, "unauthorized_client", "A public client has no credentials.")
		return "", false
	}
	return id, true
}

func peekClaims(raw string) (jwt.Claims, error) {
	var c jwt.Claims
	t, err := jwt.ParseSigned(raw, assertionAlgs)
	if err != nil {
		return c, fmt.Errorf("not a signed JWT")
	}
	err = t.UnsafeClaimsWithoutVerification(&c)
	return c, err
}

// assertion checks a JWT: its signature where the issuer's key is configured,
// its audience, which is this endpoint, and its times (RFC 7523 section 3).
func (s *Server) assertion(r *http.Request, st Settings, raw string) (jwt.Claims, error) {
	c, err := peekClaims(raw)
	if err != nil {
		return c, err
	}
	if key := st.Keys[c.Issuer]; key != nil {
		t, err := jwt.ParseSigned(raw, assertionAlgs)
		if err != nil {
			return c, err
		}
		if err := t.Claims(key, &c); err != nil {
			return c, fmt.Errorf("signature is not valid")
		}
	}
	now := time.Now()
	switch {
	case c.Issuer == "":
		return c, fmt.Errorf("no issuer")
	case c.Expiry == nil || now.After(c.Expiry.Time()):
		return c, fmt.Errorf("expired")
	case c.Expiry.Time().Sub(now) > time.Hour+time.Minute:
		return c, fmt.Errorf("lives longer than an hour")
	case c.NotBefore != nil && now.Add(time.Minute).Before(c.NotBefore.Time()):
		return c, fmt.Errorf("not yet valid")
	case !slices.Contains(c.Audience, "http://"+r.Host+r.URL.Path):
		return c, fmt.Errorf("audience is not this endpoint")
	}
	return c, nil
}

func (s *Server) grantRefresh(w http.ResponseWriter, st Settings, client string, form url.Values) {
	mailbox, next, problem := s.redeem(st, form.Get("refresh_token"), client)
	if problem != "" {
		s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "Token has been expired or revoked.")
		return
	}
	extra := map[string]any{}
	if next != "" {
		extra["refresh_token"] = next
	}
	if scope := form.Get("scope"); scope != "" {
		extra["scope"] = scope
	}
	s.answer(w, st, extra, s.Issue(mailbox, client, form.Get("scope")))
}

func (s *Server) grantCode(w http.ResponseWriter, st Settings, client string, form url.Values) {
	code := form.Get("code")
	s.mu.Lock()
	g := s.grants[code]
	delete(s.grants, code) // RFC 6749 section 4.1.2: once only
	s.mu.Unlock()
	switch {
	case g == nil || g.device || time.Now().After(g.expires) || g.client != client:
		s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "Malformed auth code.")
		return
	case g.redirect != form.Get("redirect_uri"):
		s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "The redirect_uri does not match.")
		return
	}
	if g.challenge == "" && form.Get("code_verifier") != "" { // RFC 9700 section 2.1.1: somebody took it away
		s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "There was no code challenge.")
		return
	}
	if g.challenge != "" { // RFC 7636 section 4.6
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
			s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "Code verifier does not match the challenge.")
			return
		}
	}
	s.answerConsent(w, st, g, form.Get("scope"))
}

func (s *Server) grantDevice(w http.ResponseWriter, st Settings, client string, form url.Values) {
	s.mu.Lock()
	g := s.grants[form.Get("device_code")]
	pending := false
	if g != nil {
		pending = g.polls == 0
		g.polls++
		if !pending {
			delete(s.grants, form.Get("device_code"))
		}
	}
	s.mu.Unlock()
	switch {
	case g == nil || !g.device || g.client != client:
		s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "Malformed device code.")
	case time.Now().After(g.expires):
		s.tokenError(w, st, http.StatusBadRequest, "expired_token", "The device code has expired.")
	case pending: // RFC 8628 section 3.5; approval comes with the second poll
		s.tokenError(w, st, http.StatusBadRequest, "authorization_pending", "The user has not answered yet.")
	default:
		s.answerConsent(w, st, g, form.Get("scope"))
	}
}

// answerConsent answers with tokens; scope is the token request's own.
func (s *Server) answerConsent(w http.ResponseWriter, st Settings, g *grant, scope string) {
	g.scope = g.answer.Granted(g.scope)
	says, good := g.scope, g.scope
	if st.Microsoft {
		says = under(g.scope, cmp.Or(scope, g.scope))
		good = cmp.Or(scope, g.scope)
	}
	extra := map[string]any{"scope": says}
	if !g.answer.NoRefreshToken {
		extra["refresh_token"] = s.consent(g.mailbox, g.client)
	}
	if slices.Contains(strings.Fields(g.scope), "openid") && !g.answer.NoIDToken {
		t, err := s.idToken(g)
		if err != nil {
			s.tokenError(w, st, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
		extra["id_token"] = t
	}
	s.answer(w, st, extra, s.Issue(g.mailbox, g.client, good))
}

func (s *Server) grantJWT(w http.ResponseWriter, r *http.Request, st Settings, form url.Values) {
	c, err := s.assertion(r, st, form.Get("assertion"))
	if err != nil {
		s.tokenError(w, st, http.StatusBadRequest, "invalid_grant", "Invalid JWT: "+err.Error())
		return
	}
	s.mu.RLock()
	revoked := s.revoked[strings.ToLower(c.Subject)]
	s.mu.RUnlock()
	if revoked || c.Subject == "" {
		s.tokenError(w, st, http.StatusUnauthorized, "unauthorized_client",
			"Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.")
		return
	}
	s.answer(w, st, map[string]any{}, s.Issue(c.Subject, c.Issuer, ""))
}

func (s *Server) answer(w http.ResponseWriter, st Settings, extra map[string]any, access string) {
	extra["access_token"] = access
	extra["token_type"] = "Bearer"
	extra["expires_in"] = int64((st.TokenLifetime + time.Second - 1) / time.Second)
	if st.Microsoft {
		extra["ext_expires_in"] = extra["expires_in"]
	}
	w.Header().Set("Cache-Control", "no-store")
	answer.JSON(w, http.StatusOK, extra)
}

// aadsts are Microsoft's numbers for the common errors.
var aadsts = map[string]int{
	"invalid_grant": 70008, "invalid_client": 7000215, "unauthorized_client": 700016,
	"unsupported_grant_type": 70003, "invalid_request": 900144, "authorization_pending": 70016,
	"expired_token": 70020, "invalid_resource": 28000, "temporarily_unavailable": 90033,
}

func (s *Server) tokenError(w http.ResponseWriter, st Settings, status int, code, text string) {
	body := map[string]any{"error": code, "error_description": text}
	if st.Microsoft {
		n := aadsts[code]
		body["error_description"] = fmt.Sprintf("AADSTS%d: %s Trace ID: 00000000-0000-0000-0000-000000000000 Correlation ID: 00000000-0000-0000-0000-000000000000 Timestamp: %s",
			n, text, time.Now().UTC().Format("2006-01-02 15:04:05Z"))
		body["error_codes"] = []int{n}
		body["error_uri"] = "https://login.microsoftonline.com/error?code=" + strconv.Itoa(n)
	}
	w.Header().Set("Cache-Control", "no-store")
	answer.JSON(w, status, body)
}
