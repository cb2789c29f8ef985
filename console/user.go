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
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/site"
)

// user is who looks at the pages.
type user struct {
	Name     string
	Operator bool
}

// statusError is an error with the HTTP status that it is shown with.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &statusError{status, fmt.Sprintf(format, args...)}
}

// whoIs says who makes a request: the site has logged the user in, or it comes from the
// machine itself where no login is configured.
func (h *Handler) whoIs(r *http.Request) (user, error) {
	if !h.hasLogin() {
		if !site.Loopback(site.Client(r)) {
			return user{}, refuse(http.StatusForbidden, "Without a login the console serves this machine only.")
		}
		return user{"loopback", true}, nil
	}
	name := ""
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		name = strings.TrimSpace(repl.ReplaceAll(h.User, ""))
	}
	switch {
	case name == "":
		return user{}, refuse(http.StatusForbidden, "You are not logged in. The site has to log users in before smtp_console: basic_auth or forward_auth.")
	case listed(h.Operators, name):
		return user{name, true}, nil
	case listed(h.Viewers, name):
		return user{name, false}, nil
	}
	return user{}, refuse(http.StatusForbidden, "You are logged in as %s, who is neither an operator nor a viewer of this console.", name)
}

func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return s == "*" || strings.EqualFold(s, name) })
}

// maxForm bounds the body of a form.
const maxForm = 64 << 10

// enter checks who makes the request and, where it changes something, that it is
// meant: made from one of our pages, in the same browser, by an operator.
func (v *visit) enter() error {
	var err error
	if v.User, err = v.h.whoIs(v.r); err != nil {
		return err
	}
	if err := v.session(); err != nil {
		return err
	}
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		return nil
	}
	if err := v.h.csrf.Check(v.r); err != nil {
		return refuse(http.StatusForbidden, "This was sent from another site.")
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "The form cannot be read.")
	}
	if subtle.ConstantTimeCompare([]byte(v.r.PostForm.Get("csrf")), []byte(v.CSRF)) != 1 {
		return refuse(http.StatusForbidden, "The page was too old, or from another browser. Go back, load it again, and repeat what you did.")
	}
	if !v.User.Operator {
		return refuse(http.StatusForbidden, "You may look at everything and change nothing.")
	}
	return nil
}

const (
	sessionCookie = "smtp-console"
	sessionIdle   = 12 * time.Hour
)

// session gives the browser a secret of its own, which forms prove to know.
func (v *visit) session() error {
	var secret string
	if err := v.h.cookies.Get(v.r, sessionCookie, &secret); err != nil || secret == "" {
		secret = rand.Text()
	}
	if err := v.h.cookies.Set(v.w, v.r, sessionCookie, secret, sessionIdle, http.SameSiteStrictMode); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte("csrf\x00" + v.User.Name + "\x00" + secret))
	v.CSRF = base64.RawURLEncoding.EncodeToString(sum[:])
	return nil
}

// did writes to the audit log what the user did.
func (v *visit) did(what string, fields ...zap.Field) {
	v.h.audit.Info(what, append([]zap.Field{zap.String("user", v.User.Name), zap.String("from", site.Client(v.r))}, fields...)...)
}

// once knows the numbers of forms that were sent, so that a double click, or a page that
// is sent again, does a thing once.
type once struct {
	mu   sync.Mutex
	used map[string]time.Time
}

const (
	maxOnce = 10_000
	onceFor = time.Hour
)

func newOnce() *once { return &once{used: make(map[string]time.Time)} }

var errAgain = errors.New("the form was sent before")

// take uses a form's number up.
func (o *once) take(number string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if len(o.used) >= maxOnce {
		for n, at := range o.used {
			if now.Sub(at) > onceFor {
				delete(o.used, n)
			}
		}
	}
	if _, again := o.used[number]; again || number == "" {
		return errAgain
	}
	if len(o.used) < maxOnce {
		o.used[number] = now
	}
	return nil
}
