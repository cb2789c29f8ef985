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
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/console/words"
	"github.com/caddymail/mailgateway/operate"
)

//go:embed pages
var files embed.FS

// fileTypes are the files that pages refer to; nothing else is served.
var fileTypes = map[string]string{
	"console.css": "text/css; charset=utf-8",
	"icon.svg":    "image/svg+xml",
	"console.js":  "text/javascript; charset=utf-8",
	"htmx.min.js": "text/javascript; charset=utf-8",
}

func (h *Handler) serveFile(w http.ResponseWriter, r *http.Request, name string) (bool, error) {
	contentType, ok := fileTypes[name]
	if !ok {
		return false, nil
	}
	body, err := files.ReadFile("pages/" + name)
	if err != nil {
		return true, err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "private, max-age=3600")
	if r.Method == http.MethodHead {
		return true, nil
	}
	_, err = w.Write(body)
	return true, err
}

var pages = template.Must(template.New("").Funcs(words.Funcs).Funcs(template.FuncMap{"spoolButtons": spoolButtons, "todo": todo}).ParseFS(files, "pages/*.html"))

// todo is a remedy as these pages have it: with a site for owners nobody needs the command.
func todo(remedy string) string {
	if _, err := connect.Current(); err != nil {
		return remedy
	}
	return words.ByLink(remedy)
}

// visit is one request by one user.
type visit struct {
	h *Handler
	w http.ResponseWriter
	r *http.Request

	User    user
	CSRF    string
	session session
	// Refused is the form that the page is shown again for; nil: none.
	Refused *refusal
}

// view is what a template gets.
type view struct {
	*visit
	Title, Tab string
	Data       any
}

// Base is where the pages are.
func (v *visit) Base() string { return v.h.URL }

// CanLeave reports whether there is a login to end.
func (v *visit) CanLeave() bool { return v.h.Login != "" }

// Who is the user, in words where there is no login.
func (v *visit) Who() string {
	if !v.h.hasLogin() {
		return "this machine"
	}
	return v.User.Name
}

// Name is the gateway's.
func (v *visit) Name() string { return v.h.Name }

// Number is that of a form: it is good once.
func (v *visit) Number() string { return rand.Text() }

// show renders a page. The template's name is the tab's, or one of its own.
func (v *visit) show(status int, tmpl, tab, title string, data any) error {
	if v.Refused != nil {
		status = v.Refused.status
	}
	// A template that fails halfway shall show no half of a page.
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, "top", view{v, title, tab, data}); err != nil {
		return err
	}
	if err := pages.ExecuteTemplate(&page, tmpl, view{v, title, tab, data}); err != nil {
		return err
	}
	if err := pages.ExecuteTemplate(&page, "bottom", view{v, title, tab, data}); err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, err := page.WriteTo(v.w)
	return err
}

// part renders a part of a page, for htmx to put in place.
func (v *visit) part(tmpl string, data any) error {
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, tmpl, view{v, "", "", data}); err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err := page.WriteTo(v.w)
	return err
}

// leave sends the browser to a page after a change, so that loading it again
// repeats nothing.
func (v *visit) leave(path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	http.Redirect(v.w, v.r, v.h.URL+"/"+strings.Join(path, "/"), http.StatusSeeOther)
	return nil
}

// fail shows an error.
func (v *visit) fail(err error) {
	status, text := v.said(err)
	if status == http.StatusInternalServerError {
		v.h.logger.Error("a page of the console failed", zap.String("path", v.r.URL.Path), zap.Error(err))
	} else if v.r.Header.Get("HX-Request") != "" {
		v.w.Header().Set("HX-Refresh", "true") // an open page whose part is gone says so itself
	}
	if err := v.show(status, "error", "", "That did not work", errorPage{text, v.cameFrom(), v.signIn(err)}); err != nil {
		v.h.logger.Error("the page of an error failed", zap.Error(err))
	}
}

// said is what users are told of an error.
func (v *visit) said(err error) (status int, text string) {
	status, text = http.StatusInternalServerError, "Something went wrong here; the log says what."
	var (
		se *statusError
		fe *accounts.FieldError
		ce *connect.FieldError
		ne *operate.NotRunningError
	)
	switch {
	case errors.As(err, &se):
		status, text = se.status, se.text
	case errors.Is(err, errLogin):
		status, text = http.StatusUnauthorized, "Your session has ended: nothing was changed. Sign in again."
	case errors.As(err, &fe):
		status, text = http.StatusBadRequest, fmt.Sprintf("Field %s: %v", fe.Field, fe.Err)
	case errors.As(err, &ce):
		status, text = http.StatusBadRequest, fmt.Sprintf("Field %s: %v", ce.Field, ce.Err)
	case errors.As(err, &ne):
		status, text = http.StatusServiceUnavailable, ne.Error()+": nothing is set up yet, or a part is missing in the configuration. The overview says more."
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, connect.ErrUnknown):
		status, text = http.StatusNotFound, err.Error()
	case errors.Is(err, accounts.ErrReadOnly), errors.Is(err, accounts.ErrSealed), errors.Is(err, accounts.ErrPrecondition),
		errors.Is(err, connect.ErrNoSite), errors.Is(err, operate.ErrNoUpstream), errors.Is(err, operate.ErrNoOAuth):
		status, text = http.StatusConflict, err.Error()
	}
	return status, text
}

// errorPage says what did not work; Back is the page that it was asked for on, SignIn the
// label of a login that would help.
type errorPage struct{ Text, Back, SignIn string }

func (v *visit) signIn(err error) string {
	switch {
	case v.h.Login == "":
		return ""
	case errors.Is(err, errLogin):
		return "Sign in again"
	}
	if se, ok := errors.AsType[*statusError](err); ok && se.noRole {
		return "Sign in as someone else"
	}
	return ""
}

// cameFrom is the page of ours that has the link or the form, if the browser says so.
func (v *visit) cameFrom() string {
	from := v.r.Referer()
	if !strings.HasPrefix(from, v.h.URL+"/") {
		return ""
	}
	return from
}

// With is the same view with other data, for a template within it.
func (w view) With(data any) view {
	w.Data = data
	return w
}
