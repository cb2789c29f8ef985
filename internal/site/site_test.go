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

package site

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	for configured, want := range map[string]string{
		"":                                "must be set",
		"https://mail.example.com/pages/": "",
		"http://localhost:8080/pages":     "",
		"http://[::1]/pages":              "",
		"http://mail.example.com/pages":   "must be https",
		"ftp://localhost/pages":           "must be https",
		"//mail.example.com":              "must be https",
		"pages":                           "is no URL",
		"https://u:p@mail.example.com":    "is no URL",
		"https://mail.example.com/?x=1":   "is no URL",
		"https://mail.example.com/#x":     "is no URL",
	} {
		text, u, err := Address(configured, "https://mail.example.com/pages")
		switch {
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "url: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", configured, err, want)
		case want == "" && (err != nil || u.Host == "" || text != strings.TrimSuffix(configured, "/")):
			t.Errorf("%s: %s, %v", configured, text, err)
		}
	}
}

func TestAdmit(t *testing.T) {
	_, pages, err := Address("https://mail.example.com/pages", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		from, host string
		tls        bool
		want       int
	}{
		{"192.0.2.1:1234", "mail.example.com", true, http.StatusOK},
		{"192.0.2.1:1234", "MAIL.example.com", true, http.StatusOK},
		{"127.0.0.1:1234", "mail.example.com", false, http.StatusOK},
		{"[::1]:1234", "mail.example.com", false, http.StatusOK},
		{"192.0.2.1:1234", "mail.example.com", false, http.StatusForbidden},
		{"192.0.2.1:1234", "rebound.example.net", true, http.StatusMisdirectedRequest},
		{"127.0.0.1:1234", "rebound.example.net", false, http.StatusMisdirectedRequest},
	} {
		r := httptest.NewRequest(http.MethodGet, "/pages", http.NoBody)
		r.RemoteAddr, r.Host, r.TLS = tc.from, tc.host, nil
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if tc.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if status, err := Admit(r, pages); status != tc.want || (err == nil) != (tc.want == http.StatusOK) {
			t.Errorf("%+v: %d, %v", tc, status, err)
		}
	}
}
