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
)

// once has what a form asks for done once: the second click of a double click, and a
// page that is sent again, get the first's answer. A browser leaves the first click's
// request for the second, so that only what the second hears is seen.
type once struct {
	mu   sync.Mutex
	done map[string]*answer
}

// answer is what a form came to.
type answer struct {
	at    time.Time
	ready chan struct{} // closed when it is known
	where string        // the page that it led to; empty if it failed
	// cookies carry the secret to that page, until it has been shown.
	cookies []string
}

const (
	maxOnce = 10_000
	onceFor = time.Hour
	// formTimeout bounds what goes on without its browser.
	formTimeout = time.Minute
)

func newOnce() *once { return &once{done: make(map[string]*answer)} }

// doneOnce is f for forms with a number.
func doneOnce(f pageFunc) pageFunc {
	return func(v *visit) error {
		number := v.r.PostForm.Get("number")
		if number == "" {
			return refuse(http.StatusBadRequest, "The page was too old. Go back, load it again, and repeat what you did.")
		}
		key := v.User.Name + "\x00" + v.r.URL.Path + "\x00" + number
		for {
			a, first := v.h.once.begin(key)
			if first {
				return v.first(key, a, f)
			}
			select {
			case <-a.ready:
			case <-v.r.Context().Done():
				return v.r.Context().Err()
			}
			if where, cookies := v.h.once.answer(a); where != "" {
				for _, c := range cookies {
					v.w.Header().Add("Set-Cookie", c)
				}
				http.Redirect(v.w, v.r, where, http.StatusSeeOther)
				return nil
			}
		}
	}
}

// first does what the form asks for, whether or not its browser waits, and keeps the
// answer.
func (v *visit) first(key string, a *answer, f pageFunc) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), formTimeout)
	defer cancel()
	v.r = v.r.WithContext(ctx)
	where := ""
	defer func() { v.h.once.end(key, a, where, slices.Clone(v.w.Header().Values("Set-Cookie"))) }()
	err := f(v)
	if err == nil {
		where = v.w.Header().Get("Location")
	}
	return err
}

// begin reports whether the form is the first with its number. If it is not, the
// answer is that of the first.
func (o *once) begin(key string) (a *answer, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.done[key]; a != nil {
		return a, false
	}
	now := time.Now()
	if len(o.done) >= maxOnce {
		for k, old := range o.done {
			if now.Sub(old.at) > onceFor {
				delete(o.done, k)
			}
		}
	}
	a = &answer{at: now, ready: make(chan struct{})}
	if len(o.done) < maxOnce {
		o.done[key] = a
	}
	return a, true
}

// end keeps the answer. What failed may be sent again.
func (o *once) end(key string, a *answer, where string, cookies []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.where, a.cookies = where, cookies; where == "" && o.done[key] == a {
		delete(o.done, key)
	}
	close(a.ready)
}

func (o *once) answer(a *answer) (where string, cookies []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return a.where, a.cookies
}

// shown forgets the cookie of a secret that has been shown.
func (o *once) shown(cookie string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.done {
		if slices.ContainsFunc(a.cookies, func(c string) bool { return strings.HasPrefix(c, cookie+"=") }) {
			a.cookies = nil
		}
	}
}
