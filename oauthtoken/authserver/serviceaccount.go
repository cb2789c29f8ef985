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
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serviceAssertion makes the assertion that asks for a mailbox's token.
func (p *Provider) serviceAssertion(ctx context.Context, mailbox string, scopes []string) (string, *Error) {
	ep, err := p.endpoints(ctx)
	if err != nil {
		return "", err
	}
	if len(scopes) == 0 {
		scopes = p.Scopes
	}
	now := p.clock.now()
	claims := map[string]any{
		"iss": p.sa.Email, "sub": mailbox, "aud": ep.token, "scope": strings.Join(scopes, " "),
		"iat": now.Add(-10 * time.Second).Unix(), "exp": now.Add(50 * time.Minute).Unix(),
	}
	if !p.sa.Signs() {
		return p.remoteSign(ctx, claims)
	}
	a, serr := p.sa.Sign(claims)
	if serr != nil {
		return "", &Error{Description: "service_account_file: " + OneLine(serr.Error()), Class: ClassTemporary, Err: serr}
	}
	return a, nil
}

// remoteSign has the IAM credentials API sign, so that no key lies about.
// https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signJwt
func (p *Provider) remoteSign(ctx context.Context, claims map[string]any) (string, *Error) {
	bearer, _, ferr := readExternalToken(p.ExternalTokenFile, time.Now())
	if ferr != nil {
		return "", &Error{Description: "external_token_file: " + OneLine(ferr.Error()), Class: ClassTemporary, Err: ferr}
	}
	payload, _ := json.Marshal(claims)
	body, _ := json.Marshal(map[string]string{"payload": string(payload)})
	u := strings.TrimSuffix(p.IAMCredentialsURL, "/") + "/v1/projects/-/serviceAccounts/" + url.PathEscape(p.sa.Email) + ":signJwt"
	req, rerr := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(body))
	if rerr != nil {
		return "", &Error{Description: Sanitize(rerr.Error(), bearer), Class: ClassTemporary}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	status, header, b, err := p.do(req, bearer)
	if err != nil {
		return "", err
	}
	var r struct {
		SignedJWT string `json:"signedJwt"`
		Error     struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(b, &r) != nil || status != http.StatusOK || r.SignedJWT == "" {
		return "", &Error{
			Status: status, Code: Sanitize(strings.ToLower(r.Error.Status), bearer),
			Description: "signJwt: " + Sanitize(r.Error.Message, bearer),
			RetryAfter:  retryAfter(header), Class: classify(status, "", ""),
		}
	}
	return r.SignedJWT, nil
}
