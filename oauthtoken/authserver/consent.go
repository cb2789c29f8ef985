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
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// LoginOptions are those of one login.
type LoginOptions struct {
	// Mailbox is who is to consent. It is proposed to the server, and an
	// answer that names another identity, or none where the server can name
	// one, is an error. Once an owner has consented, it is that one who counts,
	// whatever addresses he has since.
	Mailbox string
	// AnyIdentity allows another identity: the delegate of a shared
	// mailbox consents as himself. The delegate is the owner from then on.
	AnyIdentity bool
	// RedirectURL is where the browser is sent back to: https, or http to
	// loopback. Default: a listener on a free port of 127.0.0.1.
	RedirectURL string
	// PickAccount shows the account picker even to a browser that is signed
	// in: the last attempt was another account's.
	PickAccount bool
	// ListenAddress is the loopback listener's address, for registrations
	// that fix the port. It must be on loopback. Default: 127.0.0.1:0.
	ListenAddress string
}

// Consent is what a login brings.
type Consent struct {
	// RefreshToken is a secret.
	RefreshToken string `json:"-"`
	// Identity is who consented, as the ID token says; empty without one.
	Identity string
	// Owner is the same in the form that is compared with the next consent.
	Owner *Identity
	// AnyIdentity says that it need not be the one who consented before.
	AnyIdentity bool
	// Token is the first access token, a secret.
	Token *oauth2.Token `json:"-"`
	// Expires is when the refresh token ends; zero where the server doesn't
	// say. Google says so for apps in testing.
	Expires time.Time
	// MissingScopes are those that were asked for and not granted: Google's
	// page has a box to tick for each.
	MissingScopes []string
}

// Format implements fmt.Formatter: whoever prints a consent prints no token.
func (c *Consent) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "consent of '%s'", OneLine(c.Identity))
}

// ErrOptions is a login that is asked for in a way that is not offered.
var ErrOptions = errors.New("invalid login")

// check looks at where the code of a consent may go: it must not be sent over
// a network in the clear, nor to a program that a browser starts.
func (o LoginOptions) check() error {
	if o.ListenAddress != "" {
		host, _, err := net.SplitHostPort(o.ListenAddress)
		if err != nil || !isLoopback(host) {
			return fmt.Errorf("%w: listen: '%s' is no address with port on loopback", ErrOptions, OneLine(o.ListenAddress))
		}
	}
	if o.RedirectURL == "" {
		return nil
	}
	u, err := url.Parse(o.RedirectURL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return fmt.Errorf("%w: redirect_url: it must be an https URL, or http to loopback", ErrOptions)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// ErrIdentity is a consent of somebody else than the mailbox's owner.
var ErrIdentity = errors.New("another identity has consented")

// AuthCodeFlow is a login with an authorization code and PKCE (RFC 6749
// section 4.1, RFC 7636, RFC 8252).
type AuthCodeFlow struct {
	// URL is what the user opens in a browser.
	URL string
	// RedirectURL is where the browser is sent back to.
	RedirectURL string

	p        *Provider
	ep       *endpoints
	opts     LoginOptions
	state    string
	nonce    string
	verifier string

	srv    *http.Server
	params chan url.Values
	once   sync.Once
}

// AuthCodeFlow begins a login. Close ends it.
func (p *Provider) AuthCodeFlow(ctx context.Context, o LoginOptions) (*AuthCodeFlow, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ep, err := p.loginEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	if ep.auth == "" {
		return nil, fmt.Errorf("provider '%s': auth_url is needed", p.name)
	}
	f := &AuthCodeFlow{
		p: p, ep: ep, opts: o, params: make(chan url.Values, 1),
		state: oauth2.GenerateVerifier(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier(),
	}
	if f.RedirectURL = o.RedirectURL; f.RedirectURL == "" {
		if err := f.listen(ctx); err != nil {
			return nil, fmt.Errorf("listening for the browser: %w", err)
		}
	}
	u, perr := url.Parse(ep.auth)
	if perr != nil {
		f.Close()
		return nil, fmt.Errorf("auth_url: malformed URL")
	}
	q := u.Query()
	q.Set("response_type", "code")
	q.Set("client_id", p.ClientID)
	q.Set("redirect_uri", f.RedirectURL)
	q.Set("scope", strings.Join(p.consentScopes(), " "))
	q.Set("state", f.state)
	q.Set("code_challenge", oauth2.S256ChallengeFromVerifier(f.verifier))
	q.Set("code_challenge_method", "S256")
	if slices.Contains(p.consentScopes(), "openid") {
		q.Set("nonce", f.nonce)
	}
	if o.Mailbox != "" {
		q.Set("login_hint", o.Mailbox)
	}
	for k, v := range p.kind.authParams {
		q.Set(k, v)
	}
	if o.PickAccount && p.SaysOwner() {
		q.Set("prompt", p.promptChoice())
	}
	u.RawQuery = q.Encode()
	f.URL = u.String()
	return f, nil
}

func (p *Provider) consentScopes() []string {
	s := slices.Clone(p.Scopes)
	for _, l := range p.kind.loginScopes {
		if !slices.Contains(s, l) {
			s = append(s, l)
		}
	}
	return s
}

// loginEndpoints discovers whatever endpoint is not configured.
func (p *Provider) loginEndpoints(ctx context.Context) (*endpoints, error) {
	if p.Grant != GrantRefreshToken {
		return nil, fmt.Errorf("provider '%s': grant '%s' needs no login", p.name, p.Grant)
	}
	if p.Issuer == "" || p.TokenURL != "" && p.AuthURL != "" && p.DeviceAuthURL != "" {
		c := p.configured()
		if c.issuer == "" && !p.ownServer {
			c.issuer = p.kind.issuer
		}
		return c, nil
	}
	ep, err := p.discoverCached(ctx)
	if err != nil {
		return nil, err.With(p.name, "")
	}
	return ep, nil
}

func (f *AuthCodeFlow) listen(ctx context.Context) error {
	addr := f.opts.ListenAddress
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	host := f.p.kind.loopback
	if host == "" {
		host = "127.0.0.1"
	}
	f.RedirectURL = "http://" + net.JoinHostPort(host, port)
	f.srv = &http.Server{Handler: http.HandlerFunc(f.serve), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() { _ = f.srv.Serve(ln) }()
	return nil
}

// serve takes the browser's redirect.
func (f *AuthCodeFlow) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	// Another name that resolves to loopback is a rebinding attack.
	if r.Host != strings.TrimPrefix(f.RedirectURL, "http://") || r.Method != http.MethodGet || r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	q := r.URL.Query()
	if !f.stateMatches(q) {
		http.Error(w, "This answer does not belong to the login that was begun.", http.StatusBadRequest)
		return
	}
	select {
	case f.params <- q:
	default:
	}
	_, _ = fmt.Fprintln(w, "The answer was received. Close this window and go back to the terminal.")
}

func (f *AuthCodeFlow) stateMatches(q url.Values) bool {
	return subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(f.state)) == 1
}

// Wait waits for the browser and exchanges the code.
func (f *AuthCodeFlow) Wait(ctx context.Context) (*Consent, error) {
	select {
	case q := <-f.params:
		return f.Exchange(ctx, q)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Finish exchanges the code of a redirect URL that the user has pasted: on a
// headless machine the browser runs elsewhere and can't reach the listener.
func (f *AuthCodeFlow) Finish(ctx context.Context, redirected string) (*Consent, error) {
	u, err := url.Parse(strings.TrimSpace(redirected))
	if err != nil || u.RawQuery == "" {
		return nil, errors.New("not the URL that the browser was sent to: paste all of its address line")
	}
	return f.Exchange(ctx, u.Query())
}

// Close ends the flow.
func (f *AuthCodeFlow) Close() error {
	var err error
	f.once.Do(func() {
		if f.srv != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			// The browser shall get its last words.
			if err = f.srv.Shutdown(ctx); err != nil {
				err = f.srv.Close()
			}
		}
	})
	return err
}

// Exchange finishes a login with the query that the browser came back with.
func (f *AuthCodeFlow) Exchange(ctx context.Context, v url.Values) (*Consent, error) {
	q, err := f.codeQuery(v)
	if err != nil {
		return nil, err
	}
	return f.p.redeem(ctx, q, f.ep, f.opts, f.nonce)
}

// codeQuery is the token request for the code that the browser came back with.
func (f *AuthCodeFlow) codeQuery(v url.Values) (*TokenQuery, error) {
	if !f.stateMatches(v) {
		return nil, errors.New("the answer does not belong to this login (state differs)")
	}
	// RFC 9207: a mixed-up answer of another server.
	if iss := v.Get("iss"); f.ep.issuer != "" && (iss != "" || f.ep.issResponse) && iss != f.ep.issuer {
		return nil, errors.New("the answer comes from another issuer")
	}
	if code := v.Get("error"); code != "" {
		desc := v.Get("error_description")
		secrets := []string{f.state, f.nonce, f.verifier, f.p.ClientSecret, v.Get("code")}
		return nil, &Error{
			Provider: f.p.name, Code: Sanitize(code, secrets...), Reason: reasonCode.FindString(desc),
			Description: Sanitize(desc, secrets...), Class: ClassTemporary,
		}
	}
	code := v.Get("code")
	if code == "" {
		return nil, errors.New("the answer holds no code")
	}
	// RFC 6749 section 4.1.3. A code is good for one request.
	q := &TokenQuery{url: f.ep.token, form: url.Values{}, secrets: []string{code, f.verifier}}
	q.form.Set("grant_type", "authorization_code")
	q.form.Set("code", code)
	q.form.Set("redirect_uri", f.RedirectURL)
	q.form.Set("code_verifier", f.verifier)
	return q, nil
}

// redeem makes the token request that ends a login.
func (p *Provider) redeem(ctx context.Context, q *TokenQuery, ep *endpoints, o LoginOptions, nonce string) (*Consent, error) {
	if err := p.authenticate(q, ep); err != nil {
		return nil, err.With(p.name, "")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout))
	defer cancel()
	sent := time.Now()
	r, err := p.Exchange(ctx, q)
	if err != nil {
		return nil, err.With(p.name, "")
	}
	if r.RefreshToken == "" {
		return nil, &Error{
			Provider: p.name, Code: "no_refresh_token", Class: ClassTemporary,
			Description: "the server gave no refresh token: the scope offline_access may be missing, or the app's earlier access must be removed first",
		}
	}
	c := &Consent{
		RefreshToken: r.RefreshToken, AnyIdentity: o.AnyIdentity, MissingScopes: p.missingScopes(r.Scope),
		Token: &oauth2.Token{AccessToken: r.AccessToken, TokenType: "Bearer", Expiry: sent.Add(r.Lifetime)},
	}
	if r.RefreshExpires > 0 {
		c.Expires = sent.Add(r.RefreshExpires)
	}
	if r.IDToken != "" {
		id, names, ierr := p.identify(ctx, r.IDToken, ep, nonce)
		if ierr != nil {
			return nil, fmt.Errorf("provider '%s': id_token: %w", p.name, ierr)
		}
		c.Owner, c.Identity = id, id.shown()
		if err := p.belongs(o.Mailbox, id, names); err != nil && o.Mailbox != "" && !o.AnyIdentity {
			return nil, err
		}
		return c, nil
	}
	if p.SaysOwner() && !o.AnyIdentity {
		return nil, fmt.Errorf("%w: provider '%s' was asked for an id_token and gave none, so that nothing says who has consented", ErrIdentity, p.name)
	}
	return c, nil
}
