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
	"context"
	"net/url"
	"slices"
	"strings"
)

// TokenRequest builds the token request of the provider's grant.
func (p *Provider) TokenRequest(ctx context.Context, subject, refresh string, scopes []string) (*TokenQuery, *Error) {
	ep, err := p.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	q := &TokenQuery{url: ep.token, form: url.Values{}}
	switch p.Grant {
	case GrantRefreshToken:
		// RFC 6749 section 6
		q.form.Set("grant_type", "refresh_token")
		q.form.Set("refresh_token", refresh)
		q.secrets = append(q.secrets, refresh)
		if p.kind.refreshScope || len(scopes) > 0 {
			p.setScope(q, scopes)
		}
	case grantClientCredentials:
		// RFC 6749 section 4.4
		q.form.Set("grant_type", "client_credentials")
		p.setScope(q, scopes)
	case GrantServiceAccount:
		// RFC 7523 section 2.1. The assertion names the client.
		q.form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
		a, err := p.serviceAssertion(ctx, subject, scopes)
		if err != nil {
			return nil, err
		}
		q.form.Set("assertion", a)
		q.Assertion = true
		q.secrets = append(q.secrets, a)
		return q, nil
	}
	return q, p.authenticate(q, ep)
}

func (p *Provider) setScope(q *TokenQuery, scopes []string) {
	if len(scopes) == 0 {
		scopes = p.tokenScopes()
	}
	if len(scopes) > 0 {
		q.form.Set("scope", strings.Join(scopes, " "))
	}
}

// tokenScopes are the provider's scopes as a token request may name them. Where
// the server issues a token for one resource at a time, they are those of the
// first: the consent covers all of them, and a transport asks for the others.
func (p *Provider) tokenScopes() []string {
	if !p.kind.oneResource {
		return p.Scopes
	}
	first := ""
	return slices.DeleteFunc(slices.Clone(p.Scopes), func(s string) bool {
		r := resource(s)
		if first == "" {
			first = r
		}
		return r != "" && r != first
	})
}

// resource is the part of a scope that names the resource; empty for OpenID
// Connect's own.
func resource(scope string) string {
	i := strings.LastIndexByte(scope, '/')
	return scope[:max(i, 0)]
}

// authenticate adds the client's credentials (RFC 6749 section 2.3, RFC 7523
// section 2.2).
func (p *Provider) authenticate(q *TokenQuery, ep *endpoints) *Error {
	switch {
	case p.FederatedTokenFile != "":
		t, err := readTokenFile(p.FederatedTokenFile)
		if err != nil {
			return &Error{Description: "federated_token_file: " + OneLine(err.Error()), Class: ClassTemporary, Err: err}
		}
		p.setAssertion(q, t)
	case p.cert != nil:
		aud := ep.token
		if p.Issuer != "" {
			aud = ep.issuer
		}
		a, err := p.cert.Assertion(p.ClientID, aud, p.kind.pss || ep.pss, p.clock.now())
		if err != nil {
			return &Error{Description: "client_certificate: " + OneLine(err.Error()), Class: ClassTemporary, Err: err}
		}
		p.setAssertion(q, a)
		q.Assertion = true
	case p.ClientSecret != "" && ep.basic:
		q.user, q.password = p.ClientID, p.ClientSecret
		q.secrets = append(q.secrets, p.ClientSecret)
		return nil
	case p.ClientSecret != "":
		q.form.Set("client_secret", p.ClientSecret)
		q.secrets = append(q.secrets, p.ClientSecret)
	}
	q.form.Set("client_id", p.ClientID)
	return nil
}

func (p *Provider) setAssertion(q *TokenQuery, a string) {
	q.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	q.form.Set("client_assertion", a)
	q.secrets = append(q.secrets, a)
}
