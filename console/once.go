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
	"time"

	"github.com/caddymail/mailgateway/console/once"
)

// formTimeout bounds what goes on without its browser.
const formTimeout = time.Minute

// doneOnce is f for forms with a number.
func doneOnce(f pageFunc) pageFunc {
	return func(v *visit) error {
		number := v.r.PostForm.Get("number")
		if number == "" {
			return refuse(http.StatusBadRequest, "The page was too old. Go back, load it again, and repeat what you did.")
		}
		key := v.User.Name + "\x00" + v.r.URL.Path + "\x00" + number
		for {
			a, first := v.h.once.Begin(key)
			if first {
				return v.first(key, a, f)
			}
			select {
			case <-a.Ready:
			case <-v.r.Context().Done():
				return v.r.Context().Err()
			}
			if where, cookies := v.h.once.Answer(a); where != "" {
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
func (v *visit) first(key string, a *once.Answer, f pageFunc) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), formTimeout)
	defer cancel()
	v.r = v.r.WithContext(ctx)
	where := ""
	defer func() { v.h.once.End(key, a, where, slices.Clone(v.w.Header().Values("Set-Cookie"))) }()
	err := f(v)
	if err == nil {
		where = v.w.Header().Get("Location")
	}
	return err
}
