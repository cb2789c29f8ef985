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

package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

func TestAdminAccounts(t *testing.T) {
	g := gatewaytest.New(t)
	const path = "/smtp/accounts/alerts@example.com"

	g.Do(t, "GET", path, "").Want(http.StatusNotFound)
	g.Do(t, "DELETE", path, "").Want(http.StatusNotFound)
	g.Do(t, "PATCH", path, "{}").Want(http.StatusNotFound)

	created := g.Do(t, "PUT", path, `{"upstream": "sandbox", "refresh_token": "planted-token", "secret": "planted-secret", "password_hashes": ["sha256:`+strings.Repeat("ab", 32)+`"]}`, "If-None-Match", "*")
	m := created.Want(http.StatusCreated)
	if m["name"] != "alerts@example.com" || m["state"] != "not_verified" || m["has_refresh_token"] != true || m["has_secret"] != true || m["source"] != "dynamic" {
		t.Errorf("created %v", m)
	}
	etag := created.Header.Get("ETag")
	if etag == "" {
		t.Error("no ETag")
	}
	g.Do(t, "PUT", path, `{"upstream": "sandbox"}`, "If-None-Match", "*").Want(http.StatusPreconditionFailed)
	g.Do(t, "PUT", path, `{"upstream": "sandbox"}`, "If-Match", `"another"`).Want(http.StatusPreconditionFailed)
	g.Do(t, "PUT", path, `{"upstream": "sandbox"}`, "If-Match", `not-quoted`).Want(http.StatusBadRequest)

	// A PUT keeps the write-only fields it does not name.
	put := g.Do(t, "PUT", path, `{"upstream": "sandbox", "labels": {"site": "berlin"}}`, "If-Match", etag)
	if m := put.Want(http.StatusOK); m["has_refresh_token"] != true || m["has_secret"] != true {
		t.Errorf("PUT lost a secret: %v", m)
	}
	if put.Header.Get("ETag") == etag {
		t.Error("the ETag stayed")
	}
	g.Do(t, "DELETE", path, "", "If-Match", etag).Want(http.StatusPreconditionFailed)
	g.Do(t, "PATCH", path, `{}`, "If-Match", etag).Want(http.StatusPreconditionFailed)

	m = g.Do(t, "PATCH", path, `{"labels": {"device": "scanner"}, "secret": null, "limits": {"rate": "10/1m"}}`).Want(http.StatusOK)
	if m["has_secret"] != false || fmt.Sprint(m["labels"]) != "map[device:scanner site:berlin]" || fmt.Sprint(m["limits"]) != "map[rate:10/1m]" {
		t.Errorf("PATCH made %v", m)
	}

	m = g.Do(t, "POST", path+"/pause", "").Want(http.StatusOK)
	if m["state"] != "paused" || m["paused"] != true {
		t.Errorf("paused %v", m)
	}
	m = g.Do(t, "POST", path+"/resume", "").Want(http.StatusOK)
	if m["state"] != "not_verified" {
		t.Errorf("resumed %v", m)
	}

	for _, p := range []string{path, "/smtp/accounts", "/config/"} {
		if got := g.Do(t, "GET", p, ""); bytes.Contains(got.Body, []byte("planted")) {
			t.Errorf("GET %s shows a secret: %s", p, got.Body)
		}
	}
	g.Do(t, "DELETE", path, "").Want(http.StatusNoContent)
	g.Do(t, "GET", path, "").Want(http.StatusNotFound)
}

// TestAdminErrors holds that errors are JSON and name the field, and no secret.
func TestAdminErrors(t *testing.T) {
	g := gatewaytest.New(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		field              string
	}{
		{"PUT", "/smtp/accounts/a", `{"upstream": "sandbox", "colour": 1}`, 400, "colour"},
		{"PUT", "/smtp/accounts/a", `{"upstream": "sandbox", "paused": "planted"}`, 400, "paused"},
		{"PUT", "/smtp/accounts/a", `{"upstream": "sandbox", "password_hashes": ["planted"]}`, 400, "password_hashes[0]"},
		{"PUT", "/smtp/accounts/a", `{"upstream": ""}`, 400, "upstream"},
		{"PUT", "/smtp/accounts/a", `{"upstream": "sandbox", "senders": ["planted planted"]}`, 400, "senders[0]"},
		{"PUT", "/smtp/accounts/a", `{"planted`, 400, ""},
		{"PUT", "/smtp/accounts/a", `[]`, 400, ""},
		{"PUT", "/smtp/accounts/a", `{"secret": "` + strings.Repeat("x", admin.MaxRecordSize) + `"}`, 413, ""},
		{"GET", "/smtp/accounts?limit=0", "", 400, "limit"},
		{"GET", "/smtp/accounts?limit=many", "", 400, "limit"},
		{"GET", "/smtp/accounts?state=sad", "", 400, "state"},
		{"GET", "/smtp/accounts?colour=red", "", 400, "colour"},
	} {
		got := g.Do(t, tc.method, tc.path, tc.body)
		m := got.Want(tc.status)
		field, _ := m["field"].(string)
		if text, _ := m["error"].(string); text == "" || field != tc.field {
			t.Errorf("%s %s: answered %s, want the field %q", tc.method, tc.path, got.Body, tc.field)
		}
		if bytes.Contains(got.Body, []byte("planted")) {
			t.Errorf("%s %s: the error shows a value: %s", tc.method, tc.path, got.Body)
		}
	}
}

// TestAdminNames holds that any name can be reached by its path.
func TestAdminNames(t *testing.T) {
	g := gatewaytest.New(t)
	for _, name := range []string{"a@example.com", "tenant/a@example.com", "a%2Fb", "..", "import", "50%", "a b+c@example.com", "jürgen@example.com", "a?b#c"} {
		path := admin.AccountPath(name)
		resp := g.Do(t, "PUT", path, `{"upstream": "sandbox"}`)
		if resp.Status == http.StatusBadRequest {
			continue // no name for an account
		}
		if m := resp.Want(http.StatusCreated); m["name"] != name {
			t.Errorf("PUT %s made %v", path, m["name"])
		}
		if m := g.Do(t, "GET", path, "").Want(http.StatusOK); m["name"] != name {
			t.Errorf("GET %s shows %v", path, m["name"])
		}
		g.Do(t, "POST", path+"/pause", "").Want(http.StatusOK)
		g.Do(t, "DELETE", path, "").Want(http.StatusNoContent)
	}
}

func TestAdminListAndImport(t *testing.T) {
	g := gatewaytest.New(t)
	const n = 250
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"name": "user%03d@example.com", "upstream": "sandbox", "paused": %t, "labels": {"site": "s%d"}}`+"\n", i, i%2 == 0, i%5)
	}
	lines.WriteString("\n{\"name\": \"bad@example.com\", \"upstream\": \"sandbox\", \"colour\": 1}\n{broken\n")

	for round, want := range []string{"created", "unchanged"} {
		resp := g.Do(t, "POST", "/smtp/accounts/import", lines.String(), "Content-Type", "application/x-ndjson")
		if resp.Status != http.StatusOK {
			t.Fatalf("import: %d %s", resp.Status, resp.Body)
		}
		counts := make(map[string]int)
		dec := json.NewDecoder(bytes.NewReader(resp.Body))
		var results []accounts.ImportResult
		for dec.More() {
			var r accounts.ImportResult
			if err := dec.Decode(&r); err != nil {
				t.Fatal(err)
			}
			counts[r.Result]++
			results = append(results, r)
		}
		if counts[want] != n || counts["error"] != 2 {
			t.Errorf("round %d: %v", round, counts)
		}
		if bad := results[n]; bad.Line != n+2 || bad.Field != "colour" || bad.Name != "bad@example.com" {
			t.Errorf("bad line: %+v", bad)
		}
	}

	list := func(query string) (names []string, pages int) {
		after := ""
		for {
			var page admin.AccountPage
			resp := g.Do(t, "GET", "/smtp/accounts?limit=40&after="+url.QueryEscape(after)+query, "")
			resp.Want(http.StatusOK)
			if err := json.Unmarshal(resp.Body, &page); err != nil {
				t.Fatal(err)
			}
			for _, a := range page.Accounts {
				names = append(names, a.Name)
			}
			pages++
			if after = page.Next; after == "" {
				return names, pages
			}
		}
	}
	for _, tc := range []struct {
		query string
		count int
	}{
		{"", n}, {"&state=paused", n / 2}, {"&state=not_verified", n / 2}, {"&state=active", 0}, {"&upstream=sandbox", n}, {"&upstream=other", 0},
		{"&label=site", n}, {"&label=site%3Ds1", n / 5}, {"&label=site%3Ds1&state=paused", n / 10}, {"&source=dynamic", n}, {"&source=inline", 0},
	} {
		names, pages := list(tc.query)
		if len(names) != tc.count || pages > tc.count/40+1 {
			t.Errorf("%q lists %d accounts on %d pages, want %d", tc.query, len(names), pages, tc.count)
		}
	}
}

// TestAdminReadOnly holds that accounts of the configuration are shown and not
// changed.
func TestAdminReadOnly(t *testing.T) {
	g := gatewaytest.New(t, `smtp {
	accounts {
		account fixed@example.com {
			upstream sandbox
		}
	}
}`)
	const path = "/smtp/accounts/fixed@example.com"
	if m := g.Do(t, "GET", path, "").Want(http.StatusOK); m["source"] != "inline" {
		t.Errorf("shown as %v", m)
	}
	g.Do(t, "PUT", path, `{"upstream": "sandbox"}`).Want(http.StatusConflict)
	g.Do(t, "DELETE", path, "").Want(http.StatusConflict)
	if m := g.Do(t, "GET", "/smtp/problems", "").Want(http.StatusOK); fmt.Sprint(m["problems"]) != "[]" {
		t.Errorf("problems: %v", m)
	}
}

// TestAccountStates holds that a state says what is known, and no more.
func TestAccountStates(t *testing.T) {
	g := gatewaytest.New(t)
	state := func(name string) any {
		t.Helper()
		return g.Do(t, "GET", admin.AccountPath(name), "").Want(http.StatusOK)["state"]
	}
	want := func(name, state string) {
		t.Helper()
		m := g.Do(t, "GET", admin.AccountPath(name), "").Want(http.StatusOK)
		if m["state"] != state {
			t.Errorf("%s is %v, want %s", name, m["state"], state)
		}
		list := g.Do(t, "GET", "/smtp/accounts?state="+state, "").Want(http.StatusOK)
		if !strings.Contains(fmt.Sprint(list["accounts"]), "name:"+name+" ") {
			t.Errorf("%s is not listed as %s", name, state)
		}
	}
	g.Do(t, "PUT", admin.AccountPath("new@example.com"), `{"upstream": "oauth"}`).Want(http.StatusCreated)
	want("new@example.com", "never_consented")

	g.Do(t, "PUT", admin.AccountPath("seed@example.com"), `{"upstream": "oauth", "refresh_token": "rt-seed@example.com"}`).Want(http.StatusCreated)
	want("seed@example.com", "not_verified")
	verify := func(name, body string) map[string]any {
		t.Helper()
		return g.Do(t, "POST", admin.AccountPath(name, "verify"), body).Want(http.StatusOK)
	}
	if m := verify("seed@example.com", `{}`); m["ok"] != true {
		t.Fatalf("verify: %v", m)
	}
	want("seed@example.com", "active")

	g.AddAccount(t, "plain@example.com")
	want("plain@example.com", "not_verified")
	if m := verify("plain@example.com", `{}`); m["ok"] != true {
		t.Fatalf("verify: %v", m)
	}
	want("plain@example.com", "active")
	// Another secret has to prove itself.
	g.Do(t, "PATCH", admin.AccountPath("plain@example.com"), `{"secret": "another"}`).Want(http.StatusOK)
	if got := state("plain@example.com"); got != "not_verified" {
		t.Errorf("with another secret: %v", got)
	}
}

// TestVerifyAppliesOwnRules: a test that goes around the account's own rules
// says that it can send where it cannot.
func TestVerifyAppliesOwnRules(t *testing.T) {
	g := gatewaytest.New(t)
	const name = "scanner@example.com"
	g.AddAccount(t, name)
	path := admin.AccountPath(name)
	g.Do(t, "PATCH", path, `{"senders": ["scanner@example.com"]}`).Want(http.StatusOK)
	failed := func(body, id string) {
		t.Helper()
		m := g.Do(t, "POST", path+"/verify", body).Want(http.StatusOK)
		e, _ := m["explanation"].(map[string]any)
		if m["ok"] != false || e["id"] != id || m["error"] == "" {
			t.Errorf("%s: %v", body, m)
		}
	}
	failed(`{"from": "other@example.com"}`, "sender_refused")
	for _, from := range []string{name, "<>"} {
		if m := g.Do(t, "POST", path+"/verify", `{"from": "`+from+`"}`).Want(http.StatusOK); m["ok"] != true {
			t.Errorf("%s: %v", from, m)
		}
	}
	g.Do(t, "POST", path+"/pause", "").Want(http.StatusOK)
	failed(`{}`, "account_paused")
}

// TestEditsAreChecked: what cannot work is refused when it is typed.
func TestEditsAreChecked(t *testing.T) {
	g := gatewaytest.New(t)
	for _, tc := range []struct{ name, body, field, says string }{
		{"a@example.com", `{"upstream": "sandbx"}`, "upstream", "did you mean 'sandbox'?"},
		{"a@example.com", `{"upstream": "nope"}`, "upstream", "there is no upstream 'nope'"},
		{"bad name@x y", `{"upstream": "sandbox"}`, "name", "blank"},
		{"@example.com", `{"upstream": "sandbox"}`, "name", "before the @"},
		{"scanner@", `{"upstream": "sandbox"}`, "name", "after the @"},
	} {
		m := g.Do(t, "PUT", admin.AccountPath(tc.name), tc.body).Want(http.StatusBadRequest)
		if m["field"] != tc.field || !strings.Contains(fmt.Sprint(m["error"]), tc.says) {
			t.Errorf("%s %s: %v", tc.name, tc.body, m)
		}
		line := strings.Replace(tc.body, "{", `{"name": "`+tc.name+`", `, 1)
		got := g.Do(t, "POST", "/smtp/accounts/import", line)
		if !strings.Contains(string(got.Body), `"result":"error"`) || !strings.Contains(string(got.Body), tc.says) {
			t.Errorf("import of %s: %s", line, got.Body)
		}
	}
	g.AddAccount(t, "good")
	m := g.Do(t, "PATCH", admin.AccountPath("good"), `{"upstream": "oath"}`).Want(http.StatusBadRequest)
	if !strings.Contains(fmt.Sprint(m["error"]), "did you mean 'oauth'?") {
		t.Errorf("PATCH: %v", m)
	}
}
