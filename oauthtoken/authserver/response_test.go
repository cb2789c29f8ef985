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

package authserver

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseResponse(t *testing.T) {
	long := strings.Repeat("x", 12<<10)
	for name, tc := range map[string]struct {
		status   int
		ct, body string
		access   string
		life     time.Duration
		Err      string
		Class    Class
	}{
		"number":              {200, "application/json", `{"access_token":"a","token_type":"Bearer","expires_in":3600}`, "a", time.Hour, "", 0},
		"string":              {200, "application/json", `{"access_token":"a","token_type":"bearer","expires_in":"3600"}`, "a", time.Hour, "", 0},
		"float":               {200, "application/json", `{"access_token":"a","expires_in":3600.0}`, "a", time.Hour, "", 0},
		"exponent":            {200, "application/json", `{"access_token":"a","expires_in":3.6e3}`, "a", time.Hour, "", 0},
		"missing":             {200, "application/json", `{"access_token":"a"}`, "a", unknownLifetime, "", 0},
		"null":                {200, "application/json", `{"access_token":"a","expires_in":null}`, "a", unknownLifetime, "", 0},
		"zero":                {200, "application/json", `{"access_token":"a","expires_in":0}`, "a", unknownLifetime, "", 0},
		"negative":            {200, "application/json", `{"access_token":"a","expires_in":-5}`, "a", unknownLifetime, "", 0},
		"words":               {200, "application/json", `{"access_token":"a","expires_in":"soon"}`, "a", unknownLifetime, "", 0},
		"object":              {200, "application/json", `{"access_token":"a","expires_in":{}}`, "a", unknownLifetime, "", 0},
		"forever":             {200, "application/json", `{"access_token":"a","expires_in":1e300}`, "a", maxLifetime, "", 0},
		"odd type":            {200, "application/json", `{"access_token":"a","id_token":5,"refresh_token":"r"}`, "a", unknownLifetime, "", 0},
		"byte order mark":     {200, "application/json", "\xef\xbb\xbf" + `{"access_token":"a","expires_in":3600}`, "a", time.Hour, "", 0},
		"no type":             {200, "", `{"access_token":"a"}`, "a", unknownLifetime, "", 0},
		"form":                {200, "application/x-www-form-urlencoded", `access_token=a&expires_in=3600`, "a", time.Hour, "", 0},
		"long":                {200, "application/json", `{"access_token":"` + long + `"}`, long, unknownLifetime, "", 0},
		"html 200":            {200, "text/html", `<html>maintenance</html>`, "", 0, "no JSON in the token endpoint's answer but text/html", ClassTransient},
		"html 502":            {502, "text/html", `<html>`, "", 0, "HTTP 502", ClassTransient},
		"html 403":            {403, "text/html", `<html>`, "", 0, "HTTP 403", ClassTemporary},
		"redirect":            {302, "text/html", ``, "", 0, "HTTP 302", ClassTemporary},
		"empty":               {200, "application/json", ``, "", 0, "no JSON", ClassTransient},
		"array":               {200, "application/json", `[]`, "", 0, "no JSON", ClassTransient},
		"no token":            {200, "application/json", `{}`, "", 0, "no access_token", ClassTemporary},
		"control":             {200, "application/json", `{"access_token":"a\u0001auth=x"}`, "", 0, "characters that are not allowed", ClassTemporary},
		"mac":                 {200, "application/json", `{"access_token":"a","token_type":"mac"}`, "", 0, "token_type 'mac'", ClassTemporary},
		"invalid_grant":       {400, "application/json", `{"error":"invalid_grant","error_description":"AADSTS700082: expired"}`, "", 0, "invalid_grant: AADSTS700082: expired", ClassReauth},
		"microsoft transient": {400, "application/json", `{"error":"invalid_grant","error_description":"AADSTS90033: A transient error has occurred."}`, "", 0, "AADSTS90033", ClassTransient},
		"error in 200":        {200, "application/json", `{"error":"invalid_grant"}`, "", 0, "invalid_grant", ClassReauth},
		"invalid_client":      {401, "application/json", `{"error":"invalid_client"}`, "", 0, "invalid_client", ClassProvider},
		"busy":                {400, "application/json", `{"error":"temporarily_unavailable"}`, "", 0, "temporarily_unavailable", ClassTransient},
		"google api":          {503, "application/json", `{"error":{"code":503,"status":"UNAVAILABLE"}}`, "", 0, "unavailable", ClassTransient},
		"429":                 {429, "application/json", `{}`, "", 0, "HTTP 429", ClassTransient},
		"echo":                {400, "application/json", `{"error":"invalid_grant","error_description":"bad token sekret\nand eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0"}`, "", 0, "bad token [redacted] and [redacted]", ClassReauth},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tc.ct != "" {
				h.Set("Content-Type", tc.ct)
			}
			r, err := parseResponse(tc.status, h, []byte(tc.body), "sekret")
			if tc.Err != "" {
				if err == nil {
					t.Fatalf("no error: %+v", r)
				}
				wantError(t, err, tc.Err)
				if err.Class != tc.Class || err.ReauthRequired() != (tc.Class == ClassReauth) {
					t.Fatalf("class %d", err.Class)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.AccessToken != tc.access || r.Lifetime != tc.life {
				t.Fatalf("got %d bytes, %s", len(r.AccessToken), r.Lifetime)
			}
		})
	}
}

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"a","expires_in":"3600","refresh_token":"r"}`, `{"error":"invalid_grant","error_description":"AADSTS70000: x"}`,
		`{"error":{"status":"X"}}`, `access_token=a&expires_in=1`, `<html>`, `{"expires_in":1e999}`, `[]`, "", "null",
	} {
		f.Add(200, "application/json", s)
		f.Add(400, "text/plain", s)
	}
	f.Fuzz(func(t *testing.T, status int, ct, body string) {
		r, err := parseResponse(status, http.Header{"Content-Type": {ct}}, []byte(body), "sekret-token")
		if (r == nil) == (err == nil) {
			t.Fatal("neither or both")
		}
		if err != nil {
			s := err.Error()
			if strings.Contains(s, "sekret-token") || strings.ContainsAny(s, "\r\n\x00") || len(s) > 4000 {
				t.Fatalf("error %q", s)
			}
			return
		}
		if r.Lifetime <= 0 || r.Lifetime > maxLifetime || r.AccessToken == "" || strings.ContainsAny(r.AccessToken, "\x01\r\n ") {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzIDToken(f *testing.F) {
	f.Add("a.eyJhdWQiOiJjIiwiZW1haWwiOiJhQGIifQ.s")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIiwic3ViIjoicyIsImF1ZCI6ImMiLCJleHAiOjk5OTk5OTk5OTl9.")
	f.Add("..")
	p := &Provider{ClientID: "c", Kind: "generic", providerState: providerState{clock: new(Clock)}}
	f.Fuzz(func(t *testing.T, s string) {
		id, names, err := p.identify(context.Background(), s, new(endpoints), "")
		if err == nil && (id.Subject == "" || len(names) > 3) {
			t.Fatal(id, names)
		}
		_, _ = parseDiscovery("https://a.test", []byte(s))
		_, _ = parseDevice(200, nil, []byte(s), nil)
	})
}
