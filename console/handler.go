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

package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/connect/mailing"
	"github.com/caddymail/mailgateway/console/ended"
	"github.com/caddymail/mailgateway/console/passwords"
	"github.com/caddymail/mailgateway/internal/cookie"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/once"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/site"
	"github.com/caddymail/mailgateway/setup"
	"github.com/caddymail/mailgateway/smtpapp"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is an HTTP handler with the operator's pages: what is wrong and what to do
// about it, accounts and their devices, test mails, clients, invitations, upstreams.
// Who may see them comes from the site (`basic_auth`, `forward_auth`) and from Operators
// and Viewers; without these it serves loopback only.
type Handler struct {
	// URL is where browsers find the pages, such as
	// `https://mail.example.com/console`: https, or http to loopback. Requests to
	// another host are refused. It is required.
	URL string `json:"url,omitempty"`

	// Name is how the gateway is called on the pages. Default: Mailgateway.
	Name string `json:"name,omitempty"`

	// User is a placeholder for who is logged in at the site. With forward_auth it
	// is a header that only the login can have set, as in
	// `{http.request.header.Remote-User}`. Default: `{http.auth.user.id}`.
	User string `json:"user,omitempty"`

	// Login is a provider of `oauth_tokens` that users log in at (OpenID Connect):
	// its redirect URI to register is URL with `/login/callback`. The provider must
	// say who users are: Google, Microsoft, or one with `issuer`. Default: none,
	// the site logs users in.
	Login string `json:"login,omitempty"`

	// Passwords are those of users whom the console itself logs in, by name: hashes as
	// `caddy hash-password` prints them. Wrong ones are answered ever more slowly, and lead
	// to a ban of the address, which the page Clients shows. Default: none.
	Passwords map[string]string `json:"passwords,omitempty"`

	// Idle is how long a session lasts in which nothing is done, at most 12h.
	// After 12h it ends anyway. Default: 1h.
	Idle caddy.Duration `json:"idle,omitempty"`

	// Operators are the users who may change things: names, addresses,
	// `@example.com` for a domain, with Login also `group:NAME` for a value of the
	// claim `groups`; `*` is everyone who is logged in. Default: none.
	Operators []string `json:"operators,omitempty"`

	// Viewers are the users who may look, written as Operators are. Default: none.
	Viewers []string `json:"viewers,omitempty"`

	// Setup is the Caddyfile that this configuration was loaded from: the pages of
	// the first run then write into it, and keep secrets beside it. Default: none,
	// they say what to put where.
	Setup string `json:"setup,omitempty"`

	// setupText is the file's at the load.
	setupText string

	base    *url.URL
	storage certmagic.Storage
	logger  *zap.Logger
	audit   *zap.Logger
	cookies cookie.Jar
	csrf    *http.CrossOriginProtection
	once    *once.Group[sent]
	logins  chan struct{}
	mux     *http.ServeMux
	keeper  *mailing.Keeper
	ended   *ended.List
	users   *passwords.Users
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.smtp_console", New: func() caddy.Module { return new(Handler) }}
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Handler) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, h) }

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	var err error
	if h.URL, h.base, err = site.Address(h.URL, "https://mail.example.com/console"); err != nil {
		return err
	}
	if !h.hasLogin() && !site.Loopback(h.base.Hostname()) {
		return fmt.Errorf("operators: must not be empty: without a login only loopback is served, and '%s' is another host", h.base.Host)
	}
	switch {
	case h.Login != "" && !h.hasLogin():
		return errors.New("operators: must not be empty: login says who users are, operators and viewers what they may do")
	case h.Login != "" && h.User != "":
		return errors.New("user: is for a login of the site's, and login is set too")
	case h.Login != "" && (slices.Contains(h.Operators, "*") || slices.Contains(h.Viewers, "*")):
		return errors.New("operators, viewers: with login, '*' would be everyone with an account at the provider: name addresses, domains or groups")
	}
	if h.Name == "" {
		h.Name = "Mailgateway"
	}
	if h.users, err = passwords.New(h.Passwords, smtpapp.LoginGuard(), h.Name, printable.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("passwords: %w", err)
	}
	if h.users != nil && (h.Login != "" || h.User != "" || !h.hasLogin()) {
		return errors.New("passwords: needs operators or viewers, and neither login nor user: those log users in by themselves")
	}
	if h.Idle == 0 {
		h.Idle = caddy.Duration(time.Hour)
	}
	if d := time.Duration(h.Idle); d < time.Minute || d > sessionMost {
		return fmt.Errorf("idle: %s is not between 1m and %s", d, sessionMost)
	}
	if h.Setup != "" {
		if h.Setup, err = filepath.Abs(caddy.NewReplacer().ReplaceAll(h.Setup, "")); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
		h.setupText = setup.Fingerprint(h.Setup)
	}
	if h.User == "" {
		h.User = "{http.auth.user.id}"
	}
	h.logger = printable.Logger(ctx.Logger())
	h.audit = h.logger.Named("audit")
	h.storage = ctx.Storage()
	h.cookies.Storage, h.cookies.Folder, h.cookies.Secure = ctx.Storage(), "smtp_console", h.base.Scheme == "https"
	h.csrf, h.once, h.logins = http.NewCrossOriginProtection(), formsOf(h.URL), make(chan struct{}, maxLogins)
	h.ended = &ended.List{Storage: h.storage, Logger: h.logger}
	h.mux = h.routes()
	h.keeper = &mailing.Keeper{Runner: mailing.Runner{Orders: mailing.Orders{Storage: h.storage}, Logger: h.logger}}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	// A configuration that is only checked never starts, and sends no mail.
	return events.(*caddyevents.App).On("started", startedHandler{h.keeper})
}

// Cleanup ends what goes on without requests.
func (h *Handler) Cleanup() error {
	if h.keeper != nil {
		h.keeper.End()
	}
	return nil
}

type startedHandler struct{ keeper *mailing.Keeper }

// Handle implements caddyevents.Handler.
func (s startedHandler) Handle(context.Context, caddy.Event) error {
	s.keeper.Begin()
	return nil
}

// hasLogin reports whether users are named, who must then be logged in.
func (h *Handler) hasLogin() bool { return len(h.Operators)+len(h.Viewers) > 0 }

// page is one route's function. What it returns is shown or logged.
type pageFunc func(v *visit) error

// routes are the pages below URL. Changes are POST, need an operator, and are done once
// for each form.
func (h *Handler) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, f := range map[string]pageFunc{
		"GET /{$}":                                    showOverview,
		"GET /accounts":                               showAccounts,
		"GET /accounts/new":                           showNewAccount,
		"POST /accounts":                              addAccount,
		"GET /accounts/{name}":                        showAccount,
		"GET /accounts/{name}/change":                 showChange,
		"POST /accounts/{name}/change":                changeAccount,
		"POST /accounts/{name}/pause":                 pauseAccount(true),
		"POST /accounts/{name}/resume":                pauseAccount(false),
		"POST /accounts/{name}/remove":                removeAccount,
		"POST /accounts/{name}/password":              formOn(showAccount, "device", "device", newPassword),
		"POST /accounts/{name}/test":                  formOn(showTestForm, "to", "to", startTrial),
		"POST /accounts/{name}/invite":                inviteOwner,
		"POST /accounts/{name}/devices/{id}/name":     formOn(showAccount, "name-{id}", "device", renameDevice),
		"POST /accounts/{name}/devices/{id}/password": renewDevice,
		"POST /accounts/{name}/devices/{id}/remove":   removeDevice,
		"GET /accounts/{name}/card":                   showCard,
		"GET /trials/{id}":                            showTrial,
		"GET /devices":                                showDevices,
		"GET /clients":                                showClients,
		"POST /sessions/{id}/end":                     endSession,
		"POST /bans/lift":                             liftBan,
		"GET /invitations":                            showInvitations,
		"POST /invitations/{id}/revoke":               revokeInvitation,
		"GET /invitations/many":                       showInviteMany,
		"POST /invitations/many":                      inviteMany,
		"GET /invitations/many/{id}":                  showBatch,
		"GET /invitations/many/{id}/links.csv":        exportBatch,
		"GET /invitations/mailings/{id}":              showMailing,
		"POST /invitations/mailings/{id}/{what}":      steerMailing,
		"GET /messages":                               showMessages,
		"POST /messages":                              keepMessages,
		"GET /spool":                                  showSpool,
		"POST /spool/{id}/{what}":                     steerSpool,
		"GET /health":                                 showHealth,
		"GET /changes":                                showChanges,
		"GET /upstreams":                              showUpstreams,
		"GET /setup":                                  showSetup,
		"POST /setup/choice":                          setupChange(chooseProvider),
		"POST /setup/answers":                         setupChange(answerSetup),
		"POST /setup/check":                           setupChange(checkSetup),
		"POST /setup/write":                           setupChange(writeSetup),
		"POST /setup/account":                         formOn(showSetup, "device", "device", setupChange(addFirstAccount)),
		"POST /setup/consent":                         setupChange(inviteFirst),
		"POST /setup/another":                         setupChange(setUpAnother),
		"POST /logout":                                signOut,
	} {
		if strings.HasPrefix(pattern, "POST ") && pattern != "POST /logout" {
			f = doneOnce(f)
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, f) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, func(*visit) error { return refuse(http.StatusNotFound, "There is no such page.") })
	})
	if h.Login != "" {
		for _, pattern := range []string{"GET /login", "GET /login/start", "GET /login/callback"} {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				v := &visit{h: h, w: w, r: r}
				if err := h.serveLogin(v); err != nil {
					v.fail(err)
				}
			})
		}
	}
	return mux
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	root := strings.TrimSuffix(h.base.Path, "/")
	r, below, ok := site.Below(r, h.base)
	switch {
	case !ok:
		return next.ServeHTTP(w, r)
	case r.URL.Path == root:
		http.Redirect(w, r, h.URL+"/", http.StatusFound)
		return nil
	}
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if status, err := site.Admit(r, h.base); err != nil {
		return caddyhttp.Error(status, fmt.Errorf("smtp_console: %w", err))
	}
	if served, err := h.serveFile(w, r, below); served {
		return err
	}
	http.StripPrefix(root, h.mux).ServeHTTP(w, r)
	return nil
}

// serve lets a user through to a page, and shows what came of it.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, f pageFunc) {
	v := &visit{h: h, w: w, r: r}
	err := v.enter()
	if errors.Is(err, errLogin) && r.Method == http.MethodGet {
		next := r.URL.RequestURI()
		if open, ok := strings.CutPrefix(r.Header.Get("HX-Current-URL"), h.URL); ok {
			next = open // the page, and not its part
		}
		login := h.URL + "/login?next=" + url.QueryEscape(next)
		if r.Header.Get("HX-Request") != "" {
			// A redirect would be followed for the part, and the page stay.
			w.Header().Set("HX-Redirect", login)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, login, http.StatusSeeOther)
		return
	}
	if v.showAgain(err) {
		return
	}
	if err != nil {
		v.fail(err)
		return
	}
	if err := f(v); err != nil {
		v.fail(err)
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
