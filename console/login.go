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
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/console/roles"
	"github.com/caddymail/mailgateway/internal/site"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/operate"
)

const (
	sessionCookie = "smtp-console"
	loginCookie   = "smtp-console-login"
	// outCookie is in a browser that was signed out of: who comes next is asked for,
	// though the provider may have a session still.
	outCookie    = "smtp-console-out"
	outTime      = 30 * 24 * time.Hour
	loginTimeout = 10 * time.Minute
	// sessionMost ends a session however busy it is: who has left the organization
	// is asked again.
	sessionMost = 12 * time.Hour
	// maxUserName bounds what the session's cookie holds.
	maxUserName = 255
	// maxBegun are the logins that a browser may have begun.
	maxBegun = 4
	// maxLogins are the codes that are exchanged at a time.
	maxLogins = 8
)

// session is what the browser's cookie holds, sealed. Secret is what forms prove to
// know; the rest is there after a login of our own.
type session struct {
	Secret string    `json:"s"`
	User   string    `json:"u,omitempty"`
	Groups []string  `json:"g,omitempty"`
	Since  time.Time `json:"t"`
	// Idle is when the login ends if nothing is done. The session is kept longer,
	// so that a form which comes later is not lost: see again.go.
	Idle time.Time `json:"i,omitzero"`
}

// id names the session where it is not known to the reader.
func (s *session) id() string {
	sum := sha256.Sum256([]byte("session\x00" + s.Secret))
	return hex.EncodeToString(sum[:16])
}

// asleep reports whether a login has ended because nothing was done.
func (s *session) asleep() bool { return s.User != "" && !time.Now().Before(s.Idle) }

// loginFlow is a login under way.
type loginFlow struct {
	State authserver.FlowState `json:"l"`
	// Next is the page that was asked for.
	Next string `json:"n"`
}

// openSession reads the browser's session, or begins one without a user. What an open
// page asks for by itself does not put the idle end off.
func (v *visit) openSession() error {
	err := v.h.cookies.Get(v.r, sessionCookie, &v.session)
	fresh := err != nil || v.session.Secret == "" || time.Since(v.session.Since) > sessionMost ||
		v.session.User != "" && v.h.ended.Has(v.r.Context(), v.session.id())
	if fresh {
		v.session = session{Secret: rand.Text(), Since: time.Now()}
	}
	if !fresh && v.r.Header.Get("HX-Request") != "" || v.session.asleep() {
		return nil
	}
	return v.keepSession()
}

// keepSession is SameSite=Lax: the way back from the provider, and a link in a mail, come
// from other sites. Forms do not: they are checked by token and origin.
func (v *visit) keepSession() error {
	v.session.Idle = time.Now().Add(time.Duration(v.h.Idle))
	return v.h.cookies.Set(v.w, v.r, sessionCookie, v.session, sessionMost-time.Since(v.session.Since), http.SameSiteLaxMode)
}

func (h *Handler) loginProvider() (*authserver.Provider, error) {
	app, err := operate.App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return nil, err
	}
	p, ok := app.Provider(h.Login)
	if !ok {
		return nil, refuse(http.StatusServiceUnavailable, "The configuration has no provider '%s' to log in at.", h.Login)
	}
	return p, nil
}

// loginCookieOf is the cookie of one login: two windows are not in each other's way.
func loginCookieOf(state string) string {
	sum := sha256.Sum256([]byte(state))
	return loginCookie + "-" + hex.EncodeToString(sum[:6])
}

// serveLogin answers what needs no session: the page with the button, and the way to
// the provider and back.
func (h *Handler) serveLogin(v *visit) error {
	switch v.r.URL.Path {
	case "/login":
		query := v.r.URL.Query()
		return v.show(http.StatusOK, "login", "", "Sign in", loginPage{h.Login, query.Get("next"), query.Has("out"), query.Has("back")})
	case "/login/start":
		return h.startLogin(v)
	}
	return h.endLogin(v)
}

type loginPage struct {
	Provider, Next string
	// Out is behind the end of a session, Back behind a login for the sake of
	// another window.
	Out, Back bool
}

func (h *Handler) redirectURI() string { return h.URL + "/login/callback" }

func (h *Handler) startLogin(v *visit) error {
	p, err := h.loginProvider()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), 20*time.Second)
	defer cancel()
	address, state, err := p.BeginSignIn(ctx, h.redirectURI(), v.r.URL.Query().Has("another") || h.cookies.Get(v.r, outCookie, new(bool)) == nil)
	if err != nil {
		h.logger.Error("a login to the console cannot be begun", zap.String("provider", h.Login), zap.Error(err))
		return refuse(http.StatusBadGateway, "The provider cannot be asked now; the log says why.")
	}
	f := loginFlow{state, v.r.URL.Query().Get("next")}
	h.cookies.Shed(v.w, v.r, loginCookie+"-", maxBegun)
	if err := h.cookies.Set(v.w, v.r, loginCookieOf(state.State), f, loginTimeout, http.SameSiteLaxMode); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, address, http.StatusSeeOther)
	return nil
}

func (h *Handler) endLogin(v *visit) error {
	var f loginFlow
	query := v.r.URL.Query()
	name := loginCookieOf(query.Get("state"))
	if h.cookies.Get(v.r, name, &f) != nil || f.State.State != query.Get("state") {
		return refuse(http.StatusBadRequest, "Your browser came back without its login, which takes ten minutes at most. Sign in again.")
	}
	h.cookies.Drop(v.w, name)
	p, err := h.loginProvider()
	if err != nil {
		return err
	}
	select {
	case h.logins <- struct{}{}:
		defer func() { <-h.logins }()
	case <-v.r.Context().Done():
		return nil
	}
	who, err := p.FinishSignIn(v.r.Context(), f.State, query)
	if err != nil {
		h.logger.Warn("a login to the console failed", zap.String("from", site.Client(v.r)), zap.Error(err))
		return refuse(http.StatusForbidden, "The login failed; the log says why.")
	}
	name = who.Address
	if name == "" {
		// What a subject is called may be the user's own choice: it is no address.
		name = strings.Join(strings.Fields(who.Identity.Subject), "")
		if strings.Contains(name, "@") {
			name = "sub:" + name
		}
	}
	if len(name) > maxUserName {
		return refuse(http.StatusForbidden, "The login failed: the provider calls you by a name of %d octets.", len(name))
	}
	groups := roles.Groups(who.Groups)
	if _, err := h.role(name, groups); err != nil {
		h.audit.Warn("login refused", zap.String("user", name), zap.String("from", site.Client(v.r)))
		return err
	}
	// Another secret: what was known of the browser before is worth nothing now. Only
	// what the same user has open in it goes on.
	secret := rand.Text()
	if old := new(session); h.cookies.Get(v.r, sessionCookie, old) == nil && old.User == name && old.Secret != "" {
		secret = old.Secret
	}
	v.session = session{Secret: secret, User: name, Groups: h.named(groups), Since: time.Now()}
	v.User.Name = name
	if err := v.keepSession(); err != nil {
		return err
	}
	h.cookies.Drop(v.w, outCookie)
	v.did("signed in")
	if !strings.HasPrefix(f.Next, "/") || strings.HasPrefix(f.Next, "//") {
		f.Next = "/"
	}
	http.Redirect(v.w, v.r, h.URL+f.Next, http.StatusSeeOther)
	return nil
}

// named are the groups that the lists name: others need not be carried.
func (h *Handler) named(groups []string) (list []string) {
	for _, g := range groups {
		if roles.Listed(h.Operators, "", []string{g}) || roles.Listed(h.Viewers, "", []string{g}) {
			list = append(list, g)
		}
	}
	return list
}

// signOut ends the session, on every node: what somebody has copied of it is worth
// nothing either.
func signOut(v *visit) error {
	if err := v.h.ended.Add(v.r.Context(), v.session.id(), v.session.Since.Add(sessionMost)); err != nil {
		v.h.logger.Error("the end of a session is not stored: a copy of its cookie would still be good", zap.Error(err))
	}
	v.did("signed out")
	v.h.cookies.Drop(v.w, sessionCookie)
	if err := v.h.cookies.Set(v.w, v.r, outCookie, true, outTime, http.SameSiteLaxMode); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, v.h.URL+"/login?out", http.StatusSeeOther)
	return nil
}

// errLogin says that the browser has to log in first.
var errLogin = fmt.Errorf("not logged in")
