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
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// visitOf is a form that is sent.
func visitOf(ctx context.Context, h *Handler, number string) (*visit, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/form", nil)
	r.PostForm = url.Values{"number": {number}}
	return &visit{h: h, w: w, r: r}, w
}

func TestOnce(t *testing.T) {
	h := &Handler{once: formsOf("TestOnce")}
	calls, fails := 0, true
	began, goOn := make(chan struct{}, 1), make(chan struct{})
	f := doneOnce(func(v *visit) error {
		calls++
		began <- struct{}{}
		<-goOn
		if err := v.r.Context().Err(); err != nil {
			return err
		}
		if fails {
			return refuse(http.StatusConflict, "no")
		}
		http.SetCookie(v.w, &http.Cookie{Name: "secret", Value: fmt.Sprint(calls)})
		http.Redirect(v.w, v.r, "/done", http.StatusSeeOther)
		return nil
	})
	if h.once != formsOf("TestOnce") || h.once == formsOf("another site") {
		t.Error("a reload forgets the forms, or another site has them")
	}
	if v, _ := visitOf(t.Context(), h, ""); f(v) == nil {
		t.Error("a form without a number is taken")
	}

	// What failed may be sent again, by whoever waited for it too.
	close(goOn)
	v, _ := visitOf(t.Context(), h, "a")
	if f(v) == nil {
		t.Error("the error is lost")
	}
	<-began
	fails, goOn = false, make(chan struct{})

	// The browser leaves the first click's request for the second.
	ctx, leave := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	v1, _ := visitOf(ctx, h, "a")
	go func() { first <- f(v1) }()
	<-began
	leave()
	v2, w2 := visitOf(t.Context(), h, "a")
	go func() { second <- f(v2) }()
	close(goOn)
	if err := <-first; err != nil {
		t.Errorf("the first click: %v", err)
	}
	if err := <-second; err != nil || w2.Header().Get("Location") != "/done" || w2.Header().Get("Set-Cookie") != "secret=2" {
		t.Errorf("the second click: %v, %v", err, w2.Header())
	}
	if calls != 2 {
		t.Errorf("done %d times, want once after the failure", calls-1)
	}
	// Another user's form may have the same number.
	v4, w4 := visitOf(t.Context(), h, "a")
	v4.User.Name = "other"
	if err := f(v4); err != nil || w4.Header().Get("Set-Cookie") != "secret=3" {
		t.Errorf("another user: %v, %v", err, w4.Header())
	}
}

// TestSecondClick has a double click whose second one comes when the first one's page has
// been made, and not been shown: it gets the secret. Later nobody does.
func TestSecondClick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{once: formsOf("TestSecondClick")}
		f := doneOnce(func(v *visit) error {
			http.SetCookie(v.w, &http.Cookie{Name: "secret", Value: "1"})
			http.Redirect(v.w, v.r, "/done", http.StatusSeeOther)
			return nil
		})
		for _, step := range []struct {
			after time.Duration
			want  string
		}{{0, "secret=1"}, {secondClick, "secret=1"}, {secondClick - 1, "secret=1"}, {1, ""}, {time.Minute, ""}} {
			time.Sleep(step.after)
			v, w := visitOf(t.Context(), h, "a")
			if err := f(v); err != nil || w.Header().Get("Location") != "/done" || w.Header().Get("Set-Cookie") != step.want {
				t.Errorf("after %v more: %v, %v, want %q", step.after, err, w.Header(), step.want)
			}
			if step.after == 0 {
				continue // no page has been asked for yet
			}
			h.wasShown("secret")
		}
	})
}
