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
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/internal/once"
)

const (
	// formTimeout bounds what goes on without its browser.
	formTimeout = time.Minute
	// maxForms are those that are remembered, for formsKept at least.
	maxForms  = 10_000
	formsKept = time.Hour
	// secondClick is how long behind a page with a secret the form's second click may come:
	// its browser has left that page, and has not shown it.
	secondClick = 10 * time.Second
)

// sent is what a form came to.
type sent struct {
	where string // the page that it led to
	// cookies carry the secret to that page, until it has been shown, and for a second click
	// a little longer.
	cookies []string
	shown   time.Time
}

// forms are those of each address: they outlive a reload, which may come between two
// clicks.
var forms sync.Map

func formsOf(url string) *once.Group[sent] {
	f, _ := forms.LoadOrStore(url, once.New[sent](maxForms, formsKept))
	return f.(*once.Group[sent])
}

// doneOnce is f for forms with a number. What failed may be sent again.
func doneOnce(f pageFunc) pageFunc {
	return func(v *visit) error {
		number := v.r.PostForm.Get("number")
		if number == "" {
			return refuse(http.StatusBadRequest, "The page was too old. Go back, load it again, and repeat what you did.")
		}
		var failed error
		s, mine, err := v.h.once.Do(v.r.Context(), v.User.Name+"\x00"+v.r.URL.Path+"\x00"+number, func() (s sent, keep bool) {
			// Whether or not its browser waits.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), formTimeout)
			defer cancel()
			v.r = v.r.WithContext(ctx)
			if failed = f(v); failed == nil {
				s = sent{where: v.w.Header().Get("Location"), cookies: slices.Clone(v.w.Header().Values("Set-Cookie"))}
			}
			return s, s.where != ""
		})
		if mine {
			return failed
		}
		if err != nil {
			return err
		}
		if s.shown.IsZero() || time.Since(s.shown) < secondClick {
			for _, c := range s.cookies {
				v.w.Header().Add("Set-Cookie", c)
			}
		}
		http.Redirect(v.w, v.r, s.where, http.StatusSeeOther)
		return nil
	}
}

// wasShown notes that the secret of a cookie has been sent to be shown. A browser that is
// about to show it leaves it for the second click of a double one, which has to get it too.
func (h *Handler) wasShown(cookie string) {
	h.once.Each(func(s *sent) {
		if s.shown.IsZero() && slices.ContainsFunc(s.cookies, func(c string) bool { return strings.HasPrefix(c, cookie+"=") }) {
			s.shown = time.Now()
		}
	})
}
