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

package connect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/cookie"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/site"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/operate"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is an HTTP handler with the pages of mailbox owners: someone who was
// sent an invitation consents to the gateway sending from the mailbox. It is for
// the public, serves nothing else, and answers only requests below URL.
type Handler struct {
	// URL is where the owners' browsers find the pages, such as
	// `https://mail.example.com/connect`: https, or http to loopback. The
	// redirect URI to register with a provider is this with `/callback/` and the
	// provider's name. It is required.
	URL string `json:"url,omitempty"`

	// Name is how the gateway is called on the pages. Default: the host of `url`.
	Name string `json:"name,omitempty"`

	// Contact is whom owners are told to ask: a name, an address. Default: whoever
	// sent the link.
	Contact string `json:"contact,omitempty"`

	// Expires is how long an invitation is good for, unless it says so itself,
	// at most 90 days. Default: 168h.
	Expires caddy.Duration `json:"expires,omitempty"`

	// Unidentified accepts consents at providers that don't say who consented
	// (Yahoo, AOL, Fastmail): an owner who uses the wrong account there is not
	// found out. Default: false.
	Unidentified bool `json:"unidentified,omitempty"`

	base      *url.URL
	storage   certmagic.Storage
	logger    *zap.Logger
	bounds    *bounds
	exchanges chan struct{}
	csrf      *http.CrossOriginProtection

	cookies cookie.Jar
	entry   *Site
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.smtp_connect",
		New: func() caddy.Module { return new(Handler) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Handler) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, h) }

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	var err error
	if h.URL, h.base, err = site.Address(h.URL, "https://mail.example.com/connect"); err != nil {
		return err
	}
	if h.Name == "" {
		h.Name = h.base.Hostname()
	}
	if h.Expires == 0 {
		h.Expires = caddy.Duration(DefaultExpiry)
	}
	if d := time.Duration(h.Expires); d < time.Minute || d > MaxExpiry {
		return fmt.Errorf("expires: %s is not between 1m and %s", d, MaxExpiry)
	}
	h.storage, h.logger = ctx.Storage(), printable.Logger(ctx.Logger())
	h.cookies.Storage, h.cookies.Folder, h.cookies.Secure = h.storage, folder, h.base.Scheme == "https"
	h.bounds, h.exchanges = newBounds(time.Now()), make(chan struct{}, maxExchanges)
	h.csrf = http.NewCrossOriginProtection()
	h.entry = &Site{
		URL: h.URL, Expires: time.Duration(h.Expires), Unidentified: h.Unidentified, Invitations: Invitations{h.storage},
	}
	sites.Attach(h.entry, nil)
	return nil
}

// Cleanup gives back what Provision took.
func (h *Handler) Cleanup() error {
	sites.Detach(h.entry, nil)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	r, below, ok := site.Below(r, h.base)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	// The address holds an invitation or a code: neither belongs into a log.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Robots-Tag", "noindex")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	if status, err := site.Admit(r, h.base); err != nil {
		return caddyhttp.Error(status, fmt.Errorf("smtp_connect: %w", err))
	}
	if fileTypes[below] != "" {
		return serveFile(w, r, below)
	}
	if !h.bounds.take(site.Client(r), time.Now()) {
		return h.busy(w, r)
	}
	if err := h.cookies.Load(r.Context()); err != nil {
		h.logger.Error("the pages of mailbox owners cannot be served", zap.Error(err))
		return h.show(w, r, http.StatusServiceUnavailable, page{Kind: "trouble"})
	}
	kind, rest, _ := strings.Cut(below, "/")
	switch {
	case kind == "i" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		// Under no-referrer a browser calls the origin of the page's own form `null`; one
		// without Sec-Fetch-Site (Safari before 16.4) could never send it.
		header.Set("Referrer-Policy", "same-origin")
		return h.serveInvitation(w, r, rest)
	case kind == "i" && r.Method == http.MethodPost:
		if err := h.csrf.Check(r); err != nil {
			return h.show(w, r, http.StatusForbidden, page{Kind: "trouble"})
		}
		return h.start(w, r, rest)
	case kind == "callback" && r.Method == http.MethodGet:
		return h.callback(w, r, rest)
	case kind == "i", kind == "callback":
		// HEAD of an answer would use up its code unseen.
		header.Set("Allow", map[string]string{"i": "GET, HEAD, POST", "callback": "GET"}[kind])
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("smtp_connect: method %s", r.Method))
	}
	return h.show(w, r, http.StatusNotFound, page{Kind: "unknown"})
}

func (h *Handler) busy(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Retry-After", "10")
	return h.show(w, r, http.StatusTooManyRequests, page{Kind: "busy"})
}

// redirectURI is what is registered with the provider: fixed, whatever the account.
// One for each provider keeps the answers of two apart (RFC 9700 section 4.4.2.2).
func (h *Handler) redirectURI(provider string) string {
	return h.URL + "/callback/" + url.PathEscape(provider)
}

// find loads an invitation that can be used, with its account and provider, or
// shows why it cannot.
func (h *Handler) find(ctx context.Context, token string, when time.Time) (*Invitation, *accounts.Account, *authserver.Provider, page, error) {
	inv, err := Invitations{h.storage}.ByToken(ctx, token)
	if err != nil {
		return nil, nil, nil, page{Kind: "unknown"}, err
	}
	if !h.bounds.invite(inv.ID, when) {
		return inv, nil, nil, page{Kind: "busy"}, errBusy
	}
	p := page{Token: token, Invitation: inv}
	if err := usable(inv, when); err != nil {
		p.Kind = map[error]string{ErrUsed: "used", ErrExpired: "expired"}[err]
		return inv, nil, nil, p, err
	}
	a, provider, err := target(ctx, inv)
	if err != nil {
		p.Kind = "void"
		return inv, nil, nil, p, err
	}
	return inv, a, provider, p, nil
}

var errBusy = errors.New("too much is done for the invitation")

// refused shows why an invitation cannot be used.
func (h *Handler) refused(w http.ResponseWriter, r *http.Request, p page) error {
	switch p.Kind {
	case "busy":
		return h.busy(w, r)
	case "unknown":
		return h.show(w, r, http.StatusNotFound, p)
	}
	return h.show(w, r, http.StatusGone, p)
}

// target is the account of an invitation and its provider, as they are now.
func target(ctx context.Context, inv *Invitation) (*accounts.Account, *authserver.Provider, error) {
	dir, err := operate.Directory()
	if err != nil {
		return nil, nil, err
	}
	a, err := dir.Get(ctx, inv.Account)
	if err != nil {
		return nil, nil, err
	}
	if !strings.EqualFold(a.Mailbox, inv.Mailbox) {
		return nil, nil, errors.New("the account has another mailbox now")
	}
	p, err := ProviderOf(a)
	return a, p, err
}

// ErrNoProvider is about a provider that is not there.
var ErrNoProvider = errors.New("the provider is not configured in oauth_tokens")

// ProviderOf returns the provider that an account's owner consents at.
func ProviderOf(a *accounts.Account) (*authserver.Provider, error) {
	name, err := operate.ProviderOf(a.Upstream)
	if err != nil {
		return nil, err
	}
	app, err := operate.App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return nil, err
	}
	p, ok := app.Provider(name)
	if !ok {
		return nil, fmt.Errorf("%w: '%s'", ErrNoProvider, name)
	}
	return p, nil
}

// serveInvitation answers GET: it changes nothing, since scanners of mail open links.
func (h *Handler) serveInvitation(w http.ResponseWriter, r *http.Request, token string) error {
	var end outcome
	hasEnd := h.cookies.Get(r, outcomeCookie(token), &end) == nil
	_, _, provider, p, err := h.find(r.Context(), token, time.Now())
	if hasEnd && end.Kind == "done" && errors.Is(err, ErrUsed) {
		p.Kind, p.Outcome = "done", end
		return h.show(w, r, http.StatusOK, p)
	}
	if err != nil {
		return h.refused(w, r, p)
	}
	h.describe(&p, provider)
	if p.Kind = "invited"; hasEnd && slices.Contains(retryKinds, end.Kind) {
		p.Kind, p.Outcome = end.Kind, end
	}
	return h.show(w, r, http.StatusOK, p)
}

// describe says whose consent is asked for what.
func (h *Handler) describe(p *page, provider *authserver.Provider) {
	p.Provider, p.Scopes = providerTitle(provider.Kind, provider.Name()), provider.Scopes
	p.Revoke = revokeAt[provider.Kind]
	p.AdminURL = provider.AdminConsentURL(h.redirectURI(provider.Name()), "admin")
}

// start answers POST: the browser leaves for the provider.
func (h *Handler) start(w http.ResponseWriter, r *http.Request, token string) error {
	if err := site.ParseForm(w, r, 4<<10); err != nil {
		return caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("smtp_connect: %w", err))
	}
	inv, _, provider, p, err := h.find(r.Context(), token, time.Now())
	if err != nil {
		return h.refused(w, r, p)
	}
	h.describe(&p, provider)
	if !provider.SaysOwner() && !h.Unidentified {
		p.Kind = "unidentified"
		return h.show(w, r, http.StatusConflict, p)
	}
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	f, err := provider.AuthCodeFlow(ctx, authserver.LoginOptions{
		Mailbox: inv.Owner(), RedirectURL: h.redirectURI(provider.Name()), PickAccount: r.PostForm.Get("pick") != "",
	})
	if err != nil {
		h.logger.Error("a consent cannot be begun", zap.String("account", inv.Account), zap.Error(err))
		p.Kind = "trouble"
		return h.show(w, r, http.StatusBadGateway, p)
	}
	defer f.Close()
	s := f.Suspend()
	h.cookies.Shed(w, r, flowPrefix, maxFlows)
	if err := h.cookies.Set(w, r, flowCookie(s.State), flow{s, token, time.Now()}, flowTimeout, http.SameSiteLaxMode); err != nil {
		return err
	}
	// Not a redirect: browsers apply form-action to all that a form's answer
	// redirects to, and where a provider sends its users is not known.
	p.Kind, p.Next = "leaving", f.URL
	w.Header().Set("Refresh", "0; url="+f.URL)
	return h.show(w, r, http.StatusOK, p)
}

// callback takes the browser's way back from the provider.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request, provider string) error {
	query := r.URL.Query()
	if query.Get("state") == "admin" {
		// Anyone can make this address: it is told, and believed only when a
		// token of that tenant comes.
		kind := "admin_done"
		if query.Get("error") != "" {
			kind = "admin_refused"
		}
		return h.show(w, r, http.StatusOK, page{Kind: kind})
	}
	var f flow
	name := flowCookie(query.Get("state"))
	if err := h.cookies.Get(r, name, &f); err != nil || f.Login.State != query.Get("state") || f.Login.Provider != provider {
		return h.show(w, r, http.StatusBadRequest, page{Kind: "lost"})
	}
	if id, err := idOf(f.Token); err != nil || !h.bounds.invite(id, time.Now()) {
		return h.busy(w, r) // the cookie stays: the same address is good later
	}
	h.cookies.Drop(w, name)
	select {
	case h.exchanges <- struct{}{}:
		defer func() { <-h.exchanges }()
	case <-r.Context().Done():
		return nil
	}
	state := sha256.Sum256([]byte(f.Login.State))
	end, _, err := redeeming.Do(r.Context(), string(state[:]), func() (outcome, bool) { return h.finish(r.Context(), f, query), true })
	if err != nil {
		return nil //nolint:nilerr // nobody waits any more
	}
	h.cookies.Shed(w, r, outcomePrefix, maxOutcomes)
	if err := h.cookies.Set(w, r, outcomeCookie(f.Token), end.bounded(), outcomeTimeout, http.SameSiteLaxMode); err != nil {
		return err
	}
	http.Redirect(w, r, h.URL+"/i/"+path.Base(f.Token), http.StatusSeeOther)
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
