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

package caddymodule

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/upstreampool"
)

// verifyTimeout bounds a verification as a whole.
const verifyTimeout = 2 * time.Minute

// verifyRequest says how far to go.
type verifyRequest struct {
	// From is a MAIL FROM to try and take back; `<>` is the null sender.
	From string `json:"from,omitempty"`
}

// verifyStep is a step, and what is known of its failure.
type verifyStep struct {
	upstreampool.VerifyStep
	Explanation *Explanation `json:"explanation,omitempty"`
}

// verifyResult is what came of a verification.
type verifyResult struct {
	Account  string       `json:"account"`
	Upstream string       `json:"upstream"`
	OK       bool         `json:"ok"`
	Steps    []verifyStep `json:"steps"`
	// Error is that of the step that failed, or why there was none.
	Error       string       `json:"error,omitempty"`
	Explanation *Explanation `json:"explanation,omitempty"`
}

// verifyAccount answers POST /smtp/accounts/{name}/verify.
func verifyAccount(w http.ResponseWriter, r *http.Request) error {
	dir, err := directory()
	if err != nil {
		return err
	}
	a, err := dir.Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	var req verifyRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	app, err := runningApp[*upstreampool.App]("smtp_upstreams")
	if err != nil {
		return err
	}
	// A provider that hangs takes longer than the admin endpoint likes.
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), verifyTimeout)
	defer cancel()

	result := verifyResult{Account: a.Name, Upstream: a.Upstream, Steps: []verifyStep{}}
	err = app.Verify(ctx, a, req.From, func(s upstreampool.VerifyStep) {
		step := verifyStep{VerifyStep: s}
		if s.Error != "" {
			step.Explanation = explainStep(s)
		} else if s.Name == "token" {
			if claims := tokenClaims(ctx, a); claims != "" {
				step.Said += "; " + claims
			}
		}
		result.Steps = append(result.Steps, step)
	})
	if errors.Is(err, upstreampool.ErrNoUpstream) || errors.Is(err, upstreampool.ErrUnsupported) {
		return &apiError{http.StatusConflict, err, "upstream"}
	}
	result.OK = err == nil
	if err != nil {
		result.Error = err.Error()
		if n := len(result.Steps); n > 0 && result.Steps[n-1].Error != "" {
			result.Error, result.Explanation = result.Steps[n-1].Error, result.Steps[n-1].Explanation
		} else if e, ok := explain(result.Error); ok {
			result.Explanation = &e
		}
	}
	return writeJSON(w, http.StatusOK, result)
}

// explainStep explains a failed step. The challenge of a refused login says
// more than the reply after it.
func explainStep(s upstreampool.VerifyStep) *Explanation {
	of := explain
	if s.Name == "token" {
		of = explainToken
	}
	for _, text := range []string{s.Challenge, s.Error} {
		if e, ok := of(text); ok {
			return &e
		}
	}
	return nil
}

// tokenClaims says for whom and for what an account's access token is, as far
// as it is a JWT (Microsoft's are). The signature is the provider's to check.
func tokenClaims(ctx context.Context, a *accounts.Account) string {
	app, err := runningApp[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return ""
	}
	provider, err := providerOf(a.Upstream)
	if err != nil {
		return ""
	}
	token, err := app.Token(ctx, grantOf(provider, a))
	if err != nil {
		return ""
	}
	return describeJWT(token.AccessToken)
}

// describeJWT names the claims of an access token that matter when a provider
// refuses it.
func describeJWT(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Audience any      `json:"aud"`
		Scopes   string   `json:"scp"`
		Roles    []string `json:"roles"`
		Tenant   string   `json:"tid"`
		User     string   `json:"upn"`
		Name     string   `json:"preferred_username"`
		App      string   `json:"appid"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	user := claims.User
	if user == "" {
		user = claims.Name
	}
	var said []string
	for _, c := range []struct{ name, value string }{
		{"audience", fmt.Sprint(claims.Audience)},
		{"scopes", claims.Scopes},
		{"roles", strings.Join(claims.Roles, " ")},
		{"tenant", claims.Tenant},
		{"user", user},
		{"application", claims.App},
	} {
		if c.value != "" && c.value != "<nil>" {
			said = append(said, c.name+" "+c.value)
		}
	}
	return strings.Join(said, ", ")
}
