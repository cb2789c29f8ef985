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
	"errors"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/site"
)

// errOld is about a form of a session that is no more.
var errOld = refuse(http.StatusForbidden, "The page was too old, or from another browser. Go back, load it again, and repeat what you did.")

// parse reads the form, up to what its page may send.
func (v *visit) parse() error {
	if err := site.ParseForm(v.w, v.r, formLimit(v.r.URL.Path)); err != nil {
		return refuse(http.StatusBadRequest, "The form cannot be read.")
	}
	return nil
}

// againPage has a form that came too late, to be sent again.
type againPage struct {
	Action string
	// Login reports whether the user has to log in first.
	Login  bool
	Fields []againField
}

// againField is one field of it. Shown is what people read of it; empty: nothing.
type againField struct{ Name, Value, Shown string }

// Typed are the fields that are shown.
func (p againPage) Typed() []againField {
	return slices.DeleteFunc(slices.Clone(p.Fields), func(f againField) bool { return f.Shown == "" })
}

// notShown are the fields that no person has filled in, and those that nobody else is
// to see.
var notShown = []string{"csrf", "number", "version", "plan", "secret", "key-file"}

const maxShownField = 200

// showAgain answers a form whose login has ended, or whose page is of a session before:
// nothing was changed, and nothing that was typed is lost. It lies on the page that says
// so and nowhere else. Only what the browser vouches for is taken up, as sent by one of
// our pages; it reports whether it has answered.
func (v *visit) showAgain(err error) bool {
	login := errors.Is(err, errLogin) && v.session.asleep()
	if !login && !errors.Is(err, errOld) || v.r.Method != http.MethodPost || v.r.Header.Get("Sec-Fetch-Site") != "same-origin" || v.r.URL.Path == "/logout" {
		return false
	}
	if login && v.parse() != nil {
		return false
	}
	p := againPage{Action: v.h.URL + v.r.URL.EscapedPath(), Login: login}
	for name, values := range v.r.PostForm {
		for _, value := range values {
			f := againField{Name: name, Value: value}
			switch {
			case name == "csrf" && !login:
				continue // the page has one of its own
			case !slices.Contains(notShown, name):
				f.Shown = printable.Cut(strings.Join(strings.Fields(value), " "), maxShownField)
			}
			p.Fields = append(p.Fields, f)
		}
	}
	slices.SortStableFunc(p.Fields, func(a, b againField) int { return strings.Compare(a.Name, b.Name) })
	status, title := http.StatusForbidden, "That was not taken yet"
	if login {
		status, title = http.StatusUnauthorized, "Your session had ended"
	}
	if err := v.show(status, "again", "", title, p); err != nil {
		v.h.logger.Error("a page of the console failed", zap.String("path", v.r.URL.Path), zap.Error(err))
	}
	return true
}
