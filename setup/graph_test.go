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

package setup_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/caddymail/mailgateway/setup"
)

// TestCheckMailboxAtGraph is what Graph and Entra say to an application that asks
// whether it may send, in their own forms, and what setup says of that.
func TestCheckMailboxAtGraph(t *testing.T) {
	jwt := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	failure := func(code, message string) string {
		text, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"error":{"code":%q,"message":%s,"innerError":{"date":"2026-11-27T21:00:00","request-id":"x"}}}`, code, text)
	}
	const allowed = "ErrorMimeContentInvalidBase64String"
	for name, tc := range map[string]struct {
		token  string
		status int
		body   string
		bad    bool
		want   []string
	}{
		"in the script's scope":     {jwt(`{"roles":[]}`), 400, failure(allowed, "Invalid base64 string for MIME content."), false, []string{"may send as it"}},
		"a token that is no JWT":    {"opaque", 400, failure(allowed, "Invalid base64 string for MIME content."), false, []string{"may send as it"}},
		"Entra's permission too":    {jwt(`{"roles":["User.Read.All","Mail.Send"]}`), 400, failure(allowed, "Invalid base64 string for MIME content."), false, []string{"every other mailbox of the tenant", "Remove it there"}},
		"a code within":             {"opaque", 400, `{"error":{"code":"generalException","innerError":{"code":"ErrorMimeContentInvalidBase64String"}}}`, false, []string{"may send as it"}},
		"outside of the scope":      {jwt(`{}`), 403, failure("ErrorAccessDenied", "Access is denied. Check credentials and try again."), true, []string{"may not send as it yet", "2 hours", "Test-ServicePrincipalAuthorization -Identity " + id1 + " -Resource scanner@contoso.com"}},
		"no such user":              {"opaque", 404, failure("ErrorInvalidUser", "The requested user 'scanner@contoso.com' is invalid."), true, []string{"no such user in the tenant"}},
		"no mailbox":                {"opaque", 404, failure("MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise."), true, []string{"no mailbox in Exchange Online", "licence"}},
		"a proxy's page":            {"opaque", 403, "<html>blocked</html>", true, []string{"HTTP 403"}},
		"taken, which cannot be":    {"opaque", 202, "", true, []string{"HTTP 202 for a request without a message"}},
		"a text that plays a trick": {"opaque", 400, failure("ErrorNew", "a\r\nok      b\x1b[2J"), true, []string{"ErrorNew"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				switch {
				case strings.HasSuffix(r.URL.Path, "/token"):
					if want := "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"; len(body) > 0 && !strings.Contains(string(body), want) {
						t.Errorf("the token is asked for with %s", body)
					}
					if len(body) > 0 {
						fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, tc.token)
					}
				case r.Header.Get("Authorization") == "":
					w.WriteHeader(http.StatusUnauthorized)
					fmt.Fprint(w, failure("InvalidAuthenticationToken", "Access token is empty."))
				default:
					asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body)+" "+r.Header.Get("Authorization"))
					w.WriteHeader(tc.status)
					fmt.Fprint(w, tc.body)
				}
			}))
			defer server.Close()
			a := filledIn(t)["microsoft app graph"]
			a.GraphURL, a.TokenURL = server.URL, server.URL+"/token"
			results := Check(t.Context(), &a, "abc8Q~secret")
			if len(results) != 4 {
				t.Fatalf("%+v", results)
			}
			for _, r := range results[:3] {
				if r.Err != nil {
					t.Errorf("%s: %v", r.Name, r.Err)
				}
			}
			last := results[3]
			text := fmt.Sprint(last.Said, last.Err, " ", last.Remedy)
			if tc.bad != (last.Err != nil) || strings.ContainsAny(text, "\r\n\x1b") || last.Err != nil && last.Remedy == "" && tc.status != 202 {
				t.Errorf("%+v", last)
			}
			for _, w := range tc.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q lacks %q", text, w)
				}
			}
			if want := "POST /v1.0/users/scanner@contoso.com/sendMail ! Bearer " + tc.token; len(asked) != 1 || asked[0] != want {
				t.Errorf("Graph was asked %q, want %q", asked, want)
			}
		})
	}
}

// TestGraphIsElsewhere is about an address where something else than Graph answers, and
// about an application whose secret is wrong: nothing that follows from it is said.
func TestGraphIsElsewhere(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
			return
		}
		fmt.Fprint(w, "<html>welcome</html>")
	}))
	defer server.Close()
	for name, a := range filledIn(t) {
		if !a.Graph() {
			continue
		}
		a.GraphURL, a.TokenURL = server.URL, server.URL+"/token"
		results := Check(t.Context(), &a, "wrong")
		if len(results) != 3 || results[0].Err == nil || !strings.Contains(results[0].Err.Error(), "HTTP 200, where Graph asks for a token") || results[2].Err == nil {
			t.Errorf("%s: %+v", name, results)
		}
	}
}

// TestCarrySecret: the way from SMTP to Graph with one application asks for its secret
// once, and another application's is not taken for it.
func TestCarrySecret(t *testing.T) {
	dir := t.TempDir()
	before := filledIn(t)["microsoft app"]
	if err := SaveSecret(dir, &before, "s3cret"); err != nil {
		t.Fatal(err)
	}
	now := before
	now.Transport = Graph
	other := now
	other.ClientID = id2
	if err := CarrySecret(dir, &before, &other); err != nil || HasSecret(dir, &other) {
		t.Errorf("another application has it (%v)", err)
	}
	if err := CarrySecret(dir, &before, &now); err != nil {
		t.Fatal(err)
	}
	if s, err := Secret(dir, &now); s != "s3cret" || err != nil || SecretFile(dir, &now) == SecretFile(dir, &before) {
		t.Errorf("%q %v", s, err)
	}
}

// TestEarlierAnswers: what a version without the choice has kept is SMTP.
func TestEarlierAnswers(t *testing.T) {
	dir := t.TempDir()
	text := `{"provider":"microsoft","way":"app","tenant":"contoso.onmicrosoft.com","client_id":"` + id1 + `"}`
	if err := os.WriteFile(filepath.Join(dir, "setup.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _, err := Load(dir)
	if q, _ := Missing(&a); err != nil || a.Graph() || q.Name != "object-id" {
		t.Errorf("%+v %s %v", a, q.Name, err)
	}
}
