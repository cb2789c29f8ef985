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
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/console/passwords"
	"github.com/caddymail/mailgateway/console/roles"
	"github.com/caddymail/mailgateway/internal/site"
)

// user is who looks at the pages.
type user struct {
	Name     string
	Operator bool
}

// statusError is an error with the HTTP status that it is shown with. One that is about
// a field of a form is shown beside it: form.go.
type statusError struct {
	status      int
	text, field string
	// noRole is about users whom no list names.
	noRole bool
}

func (e *statusError) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &statusError{status: status, text: fmt.Sprintf(format, args...)}
}

// errViewer is the answer to a viewer who would change something.
var errViewer = refuse(http.StatusForbidden, "You may look at everything and change nothing.")

// whoIs says who makes a request: the site has logged the user in, or it comes from the
// machine itself where no login is configured.
func (v *visit) whoIs() (user, error) {
	h := v.h
	if !h.hasLogin() {
		if !site.Loopback(site.Peer(v.r)) {
			return user{}, refuse(http.StatusForbidden, "Without a login the console serves this machine only.")
		}
		if site.Forwarded(v.r) {
			return user{}, refuse(http.StatusForbidden, "Without a login the console serves this machine only, and this came through a proxy. Configure a login: `login`, or `operators` behind the site's own.")
		}
		return user{"loopback", true}, nil
	}
	if h.Login != "" {
		if v.session.User == "" || v.session.asleep() {
			return user{}, errLogin
		}
		return h.role(v.session.User, v.session.Groups)
	}
	if h.users != nil {
		return h.byPassword(v)
	}
	name := ""
	if repl, ok := v.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		name = strings.TrimSpace(repl.ReplaceAll(h.User, ""))
	}
	if name == "" {
		return user{}, refuse(http.StatusForbidden, "You are not logged in. smtp_console logs users in with passwords or login; or the site does before it, with basic_auth or forward_auth.")
	}
	return h.role(name, nil)
}

// byPassword is who has a password of the console's own.
func (h *Handler) byPassword(v *visit) (user, error) {
	name, err := h.users.Enter(v.w, v.r, site.Client(v.r))
	if refused, ok := errors.AsType[*passwords.RefusedError](err); ok {
		return user{}, refuse(refused.Status, "%s", refused.Text)
	}
	if err != nil {
		return user{}, err
	}
	return h.role(name, nil)
}

// role is what a user may do. It is looked up at each request, so that a name that is
// taken off the lists is out at the reload.
func (h *Handler) role(name string, groups []string) (user, error) {
	switch {
	case roles.Listed(h.Operators, name, groups):
		return user{name, true}, nil
	case roles.Listed(h.Viewers, name, groups):
		return user{name, false}, nil
	}
	return user{}, &statusError{
		status: http.StatusForbidden, noRole: true,
		text: fmt.Sprintf("You are logged in as %s, who is neither an operator nor a viewer of this console.", name),
	}
}

// maxForm bounds the body of a form, maxManyForm that of many invitations.
const (
	maxForm     = 64 << 10
	maxManyForm = 2 << 20
)

// formLimit is how large the form of a request may be.
func formLimit(path string) int64 {
	if path == "/invitations/many" {
		return maxManyForm
	}
	return maxForm
}

// enter checks who makes the request and, where it changes something, that it is
// meant: made from one of our pages, in the same browser, by an operator.
func (v *visit) enter() error {
	if err := v.openSession(); err != nil {
		return err
	}
	var err error
	if v.User, err = v.whoIs(); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte("csrf\x00" + v.User.Name + "\x00" + v.session.Secret))
	v.CSRF = base64.RawURLEncoding.EncodeToString(sum[:])
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		return nil
	}
	if err := v.h.csrf.Check(v.r); err != nil || site.ForeignOrigin(v.r, v.h.base) {
		return refuse(http.StatusForbidden, "This was sent from another site.")
	}
	if err := v.parse(); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(v.r.PostForm.Get("csrf")), []byte(v.CSRF)) != 1 {
		return errOld
	}
	if !v.User.Operator && v.r.URL.Path != "/logout" {
		return errViewer
	}
	return nil
}
