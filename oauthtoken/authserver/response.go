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

package authserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxResponse bounds what is read of an endpoint's answer. Access
	// tokens of 8 KiB and more occur; nothing near this does.
	maxResponse = 1 << 20
	// unknownLifetime is what a token without expires_in is given. RFC 6749
	// section 5.1 leaves it to the server's documentation. A token that ends
	// sooner is found out by the upstream's refusal.
	unknownLifetime = 30 * time.Minute
	maxLifetime     = 30 * 24 * time.Hour
)

// TokenResponse is a successful answer of a token endpoint (RFC 6749 section 5.1).
type TokenResponse struct {
	AccessToken    string
	RefreshToken   string
	IDToken        string
	Scope          string // as the server said; empty: as asked for
	Lifetime       time.Duration
	RefreshExpires time.Duration // 0: not said
}

// seconds is a count of seconds that servers send as number or string.
type seconds time.Duration

// UnmarshalJSON implements json.Unmarshaler. What is no number counts as not
// said: an odd expires_in is no reason to throw away a rotated token.
func (s *seconds) UnmarshalJSON(b []byte) error {
	*s = parseSeconds(strings.Trim(string(b), `" `))
	return nil
}

func parseSeconds(v string) seconds {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || f <= 0 {
		return 0
	}
	if f > maxLifetime.Seconds()*100 {
		f = maxLifetime.Seconds() * 100
	}
	return seconds(f * float64(time.Second))
}

type wireResponse struct {
	AccessToken      string          `json:"access_token"`
	TokenType        string          `json:"token_type"`
	RefreshToken     string          `json:"refresh_token"`
	IDToken          string          `json:"id_token"`
	Scope            string          `json:"scope"`
	ExpiresIn        seconds         `json:"expires_in"`
	ExtExpires       seconds         `json:"refresh_token_expires_in"`
	RefreshExpiresIn seconds         `json:"refresh_expires_in"`
	Error            json.RawMessage `json:"error"`
	ErrorDescription string          `json:"error_description"`
	ErrorSubtype     string          `json:"error_subtype"` // Google's
}

// parseResponse reads the answer of a token endpoint. The secrets are those
// that were sent, so that no echo of them gets into an error.
func parseResponse(status int, header http.Header, body []byte, secrets ...string) (*TokenResponse, *Error) {
	ct, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	w, ok := decodeWire(ct, body)
	if !ok {
		what := "no JSON in the token endpoint's answer"
		if ct != "" {
			what += " but " + Sanitize(ct, secrets...)
		}
		e := &Error{Status: status, Description: what, RetryAfter: retryAfter(header), Class: classify(status, "", "")}
		if status/100 == 2 {
			// A maintenance page or a captive portal says 200 too.
			e.Class = ClassTransient
		}
		return nil, e
	}
	// A refusal may hold tokens, too.
	secrets = append(slices.Clip(secrets), w.AccessToken, w.RefreshToken, w.IDToken)
	if code := errorCode(w.Error); status/100 != 2 || code != "" {
		reason := reasonCode.FindString(w.ErrorDescription)
		e := &Error{
			Status:      status,
			Code:        Sanitize(code, secrets...),
			Reason:      reason,
			Subtype:     Sanitize(w.ErrorSubtype, secrets...),
			Description: Sanitize(w.ErrorDescription, secrets...),
			RetryAfter:  retryAfter(header),
			Class:       classify(status, code, reason),
		}
		return nil, e
	}
	if w.AccessToken == "" {
		return nil, &Error{Status: status, Description: "no access_token in the token endpoint's answer", Class: ClassTemporary, rotated: w.RefreshToken}
	}
	// RFC 6750 section 2.1, and a control character would end a field of
	// the XOAUTH2 string.
	if strings.ContainsFunc(w.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &Error{Status: status, Description: "access_token holds characters that are not allowed", Class: ClassTemporary, rotated: w.RefreshToken}
	}
	if w.TokenType != "" && !strings.EqualFold(w.TokenType, "bearer") {
		return nil, &Error{
			Status: status, Description: fmt.Sprintf("token_type '%s' is not supported", Sanitize(w.TokenType, secrets...)), Class: ClassTemporary,
			rotated: w.RefreshToken,
		}
	}
	r := &TokenResponse{
		AccessToken:    w.AccessToken,
		RefreshToken:   w.RefreshToken,
		IDToken:        w.IDToken,
		Scope:          w.Scope,
		Lifetime:       min(time.Duration(w.ExpiresIn), maxLifetime),
		RefreshExpires: max(time.Duration(w.ExtExpires), time.Duration(w.RefreshExpiresIn)),
	}
	if r.Lifetime == 0 {
		r.Lifetime = unknownLifetime
	}
	return r, nil
}

func decodeWire(contentType string, body []byte) (*wireResponse, bool) {
	w := new(wireResponse)
	if contentType == "application/x-www-form-urlencoded" || contentType == "text/plain" {
		// Some servers older than RFC 6749 answer with a form.
		if v, err := url.ParseQuery(string(body)); err == nil && (v.Has("access_token") || v.Has("error")) {
			w.AccessToken, w.TokenType, w.RefreshToken = v.Get("access_token"), v.Get("token_type"), v.Get("refresh_token")
			w.ExpiresIn = parseSeconds(v.Get("expires_in"))
			if v.Has("error") {
				w.Error, _ = json.Marshal(v.Get("error"))
			}
			w.ErrorDescription = v.Get("error_description")
			return w, true
		}
	}
	err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), w) // RFC 8259 section 8.1 allows to ignore the mark
	// A field of the wrong type doesn't spoil the others, which are read
	// all the same: the answer may hold the only valid refresh token.
	var wrongType *json.UnmarshalTypeError
	return w, err == nil || (errors.As(err, &wrongType) && wrongType.Field != "")
}

// errorCode reads `error`, which is a string (RFC 6749) or an object (Google's APIs).
func errorCode(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var o struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(raw, &o) == nil && o.Status != "" {
		return strings.ToLower(o.Status)
	}
	return "unknown_error"
}

// retryAfter reads Retry-After (RFC 9110 section 10.2.3), seconds or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), 3600)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), time.Hour)
	}
	return 0
}
