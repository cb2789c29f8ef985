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
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// tokenRequest builds the token request of the provider's grant.
func (p *Provider) tokenRequest(ctx context.Context, m *manager, subject, refresh string, scopes []string) (*tokenQuery, *Error) {
	ep, err := p.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	q := &tokenQuery{url: ep.token, form: url.Values{}}
	switch p.Grant {
	case grantRefreshToken:
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
	case grantServiceAccount:
		// RFC 7523 section 2.1. The assertion names the client.
		q.form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
		a, err := p.serviceAssertion(ctx, m, subject, scopes)
		if err != nil {
			return nil, err
		}
		q.form.Set("assertion", a)
		q.assertion = true
		q.secrets = append(q.secrets, a)
		return q, nil
	}
	return q, p.authenticate(q, ep, m)
}

func (p *Provider) setScope(q *tokenQuery, scopes []string) {
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
func (p *Provider) authenticate(q *tokenQuery, ep *endpoints, m *manager) *Error {
	switch {
	case p.FederatedTokenFile != "":
		t, err := readTokenFile(p.FederatedTokenFile)
		if err != nil {
			return &Error{Description: "federated_token_file: " + oneLine(err.Error()), class: classTemporary, err: err}
		}
		p.setAssertion(q, t)
	case p.cert != nil:
		aud := ep.token
		if p.Issuer != "" {
			aud = ep.issuer
		}
		a, err := p.cert.assertion(p.ClientID, aud, p.kind.pss || ep.pss, p.now(m))
		if err != nil {
			return &Error{Description: "client_certificate: " + oneLine(err.Error()), class: classTemporary, err: err}
		}
		p.setAssertion(q, a)
		q.assertion = true
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

func (p *Provider) setAssertion(q *tokenQuery, a string) {
	q.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	q.form.Set("client_assertion", a)
	q.secrets = append(q.secrets, a)
}

// now is the time by the server's clock, as far as it is known.
func (p *Provider) now(m *manager) time.Time {
	t := time.Now()
	if m != nil {
		t = t.Add(time.Duration(m.skew.Load()))
	}
	return t
}

// maxTokenFile bounds what is read of a token file.
const maxTokenFile = 64 << 10

// readTokenFile reads a token that stands alone in a file.
func readTokenFile(path string) (string, error) {
	b, err := readBounded(path, maxTokenFile)
	if err != nil {
		return "", err
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", os.ErrInvalid
	}
	return t, nil
}
