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

package cookie

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// carry is a request with the cookies that an answer has set.
func carry(w *httptest.ResponseRecorder) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	return r
}

func TestJar(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	one, two := &Jar{Storage: storage, Folder: "f", Secure: true}, &Jar{Storage: storage, Folder: "f", Secure: true}
	w := httptest.NewRecorder()
	if err := one.Set(w, httptest.NewRequest(http.MethodGet, "/", nil), "n", "secret", time.Minute, http.SameSiteLaxMode); err != nil {
		t.Fatal(err)
	}
	header := w.Header().Get("Set-Cookie")
	for _, want := range []string{"__Host-n=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(header, want) {
			t.Errorf("the cookie lacks %s: %s", want, header)
		}
	}
	if strings.Contains(header, "secret") {
		t.Errorf("the cookie shows its value: %s", header)
	}
	var got string
	if err := two.Get(carry(w), "n", &got); err != nil || got != "secret" {
		t.Errorf("another node reads %q, %v", got, err)
	}
	// Sealed under another name it is none.
	r := carry(w)
	c := r.Cookies()[0]
	r.AddCookie(&http.Cookie{Name: "__Host-other", Value: c.Value})
	if err := one.Get(r, "other", &got); err != ErrNone { //nolint:errorlint // this very error
		t.Errorf("a cookie of another name: %v", err)
	}
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-n", Value: c.Value[:len(c.Value)-4] + "AAAA"})
	if err := one.Get(r, "n", &got); err == nil {
		t.Error("an altered cookie is read")
	}
	w = httptest.NewRecorder()
	if err := one.Set(w, httptest.NewRequest(http.MethodGet, "/", nil), "n", "old", -time.Second, http.SameSiteLaxMode); err != nil {
		t.Fatal(err)
	}
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-n", Value: w.Result().Cookies()[0].Value})
	if err := one.Get(r, "n", &got); err == nil {
		t.Error("a cookie that has expired is read")
	}
}
