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
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// FlowState is what must be remembered of a login from the moment the browser
// leaves until it is back. It is a secret: keep it sealed. With it any process
// that has the provider can finish the login.
type FlowState struct {
	Provider    string `json:"p"`
	Mailbox     string `json:"m,omitempty"`
	AnyIdentity bool   `json:"a,omitempty"`
	RedirectURL string `json:"r"`
	State       string `json:"s"`
	Nonce       string `json:"n"`
	Verifier    string `json:"v"`
}

// Format implements fmt.Formatter: the verifier and the nonce are not printed.
func (s FlowState) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "login at '%s' under way", OneLine(s.Provider))
}

// Suspend returns what Resume needs. It is of use with a RedirectURL of the
// caller's own only: a listener ends with its process.
func (f *AuthCodeFlow) Suspend() FlowState {
	return FlowState{
		Provider: f.p.name, Mailbox: f.opts.Mailbox, AnyIdentity: f.opts.AnyIdentity,
		RedirectURL: f.RedirectURL, State: f.state, Nonce: f.nonce, Verifier: f.verifier,
	}
}

// Resume finishes a login that was suspended, with the query that the browser
// came back with.
func (p *Provider) Resume(ctx context.Context, s FlowState, query url.Values) (*Consent, error) {
	if s.Provider != p.name {
		return nil, fmt.Errorf("the login belongs to provider '%s', not '%s'", OneLine(s.Provider), p.name)
	}
	ep, err := p.loginEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	f := &AuthCodeFlow{
		p: p, ep: ep, RedirectURL: s.RedirectURL, state: s.State, nonce: s.Nonce, verifier: s.Verifier,
		opts: LoginOptions{Mailbox: s.Mailbox, AnyIdentity: s.AnyIdentity, RedirectURL: s.RedirectURL},
	}
	return f.Exchange(ctx, query)
}

// AdminConsentURL is where an administrator of a Microsoft tenant agrees for
// all of its users, and is sent back from with `admin_consent=True` whatever was decided;
// empty at other providers. What comes back is no proof: a token is.
// https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
func (p *Provider) AdminConsentURL(redirectURL, state string) string {
	base, ok := strings.CutSuffix(p.AuthURL, "/oauth2/v2.0/authorize")
	if p.Kind != "microsoft" || !ok {
		return ""
	}
	// `common` is not offered there.
	if tenant, ok := strings.CutSuffix(base, "/common"); ok {
		base = tenant + "/organizations"
	}
	q := url.Values{"client_id": {p.ClientID}, "redirect_uri": {redirectURL}, "state": {state}, "scope": {strings.Join(p.consentScopes(), " ")}}
	return base + "/v2.0/adminconsent?" + q.Encode()
}

// signInScopes are about who somebody is: servers need not repeat them.
var signInScopes = []string{"openid", "email", "profile", "offline_access"}

// missingScopes are those of the configuration that an answer leaves out. A server that says
// nothing has granted what was asked (RFC 6749 section 5.1). Entra answers for one resource
// at a time, so that there only the scopes of that resource can be looked for.
func (p *Provider) missingScopes(granted string) []string {
	// Some servers write commas between them, as they let clients do.
	got := strings.FieldsFunc(strings.ToLower(granted), func(r rune) bool { return r == ' ' || r == ',' })
	if len(got) == 0 {
		return nil
	}
	var missing []string
	for _, scope := range p.Scopes {
		s := strings.ToLower(scope)
		if slices.Contains(signInScopes, s) || slices.Contains(got, s) {
			continue
		}
		resource, name := "", s
		if i := strings.LastIndexByte(s, '/'); i > 0 {
			resource, name = s[:i], s[i+1:]
		}
		if p.kind.oneResource && (slices.Contains(got, name) ||
			!slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, resource+"/") })) {
			continue
		}
		missing = append(missing, scope)
	}
	return missing
}

// ScopeError says that a consent leaves out what mail takes: at Google each permission
// has a box of its own.
type ScopeError struct{ Missing []string }

// Error implements error.
func (e *ScopeError) Error() string {
	return "the consent leaves out " + OneLine(strings.Join(e.Missing, " ")) + ", so that nothing was kept: log in again, and tick each box"
}

// promptChoice is the `prompt` that lets another user sign in whoever is signed in. Servers of
// other kinds may refuse a login for `select_account`, and know `login`.
func (p *Provider) promptChoice() string {
	prompt := p.kind.authParams["prompt"]
	if prompt == "" {
		return "login"
	}
	return strings.TrimSpace("select_account " + strings.ReplaceAll(prompt, "select_account", ""))
}

// IdentityError is an ErrIdentity that knows both.
type IdentityError struct {
	// Used is who consented, Expected who was to.
	Used, Expected string
	// before says that the other one had consented before.
	before bool
}

// Error implements error.
func (e *IdentityError) Error() string {
	before := map[bool]string{true: ", who consented before"}[e.before]
	return fmt.Sprintf("%v: '%s' in place of '%s'%s", ErrIdentity, e.Used, e.Expected, before)
}

// Unwrap returns ErrIdentity.
func (e *IdentityError) Unwrap() error { return ErrIdentity }

// Name is the provider's name in the configuration.
func (p *Provider) Name() string { return p.name }

// HasLogin reports whether owners consent at the provider.
func (p *Provider) HasLogin() bool { return p.Grant == GrantRefreshToken }

// User is who has signed in to pages of the gateway.
type User struct {
	Identity Identity
	// Address is the user's mail address or user principal name; empty if the provider does not vouch for it.
	Address string
	// Groups is the claim `groups`, as it came.
	Groups any
}

// BeginSignIn begins a login of a user at the gateway's own pages (OpenID Connect Core
// section 3.1): the address to send the browser to, and what FinishSignIn needs.
// Whoever is signed in there is taken, unless another is asked for.
func (p *Provider) BeginSignIn(ctx context.Context, redirectURL string, another bool) (address string, state FlowState, err error) {
	f, err := p.AuthCodeFlow(ctx, LoginOptions{RedirectURL: redirectURL})
	if err != nil {
		return "", FlowState{}, err
	}
	defer f.Close()
	base, query, _ := strings.Cut(f.URL, "?")
	q, err := url.ParseQuery(query)
	q.Set("scope", "openid email profile") // no mail, and no access while the user is away
	q.Set("nonce", f.nonce)
	if q.Del("prompt"); another || p.kind.authParams["prompt"] != "" {
		q.Set("prompt", strings.Fields(p.promptChoice())[0])
	}
	q.Del("access_type")
	return base + "?" + q.Encode(), f.Suspend(), err
}

// FinishSignIn ends a login with the query that the browser came back with. Who the
// user is comes from the token endpoint alone.
func (p *Provider) FinishSignIn(ctx context.Context, s FlowState, query url.Values) (*User, error) {
	ep, err := p.loginEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	f := &AuthCodeFlow{p: p, ep: ep, RedirectURL: s.RedirectURL, state: s.State, nonce: s.Nonce, verifier: s.Verifier}
	q, err := f.codeQuery(query)
	if err != nil {
		return nil, err
	}
	if err := p.authenticate(q, ep); err != nil {
		return nil, err.With(p.name, "")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout))
	defer cancel()
	r, rerr := p.Exchange(ctx, q)
	if rerr != nil {
		return nil, rerr.With(p.name, "")
	}
	if r.IDToken == "" {
		return nil, fmt.Errorf("provider '%s' gave no id_token", p.name)
	}
	id, c, err := p.checkIDToken(ctx, r.IDToken, ep, s.Nonce)
	if err != nil {
		return nil, fmt.Errorf("provider '%s': id_token: %w", p.name, err)
	}
	return &User{*id, p.vouched(c), c.Groups}, nil
}

// vouched is the address that an operator may be known by. Elsewhere than at Entra `preferred_username`
// is what users call themselves, and must not decide (OpenID Connect Core section 5.7).
func (p *Provider) vouched(c *idClaims) string {
	d := *c
	if p.Kind != "microsoft" || p.ownServer {
		d.Preferred, d.UPN = "", ""
	}
	address := append(p.addresses(&d), "")[0]
	if OneLine(address) != address {
		return "" // made readable, it would be another's
	}
	return address
}
