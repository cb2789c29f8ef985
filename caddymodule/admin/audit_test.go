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
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/console/audit"
)

// changesOf are those that the page of changes has, the newest first.
func changesOf(t *testing.T, words string, limit int) []audit.Entry {
	t.Helper()
	trail := audit.Trail{Storage: caddy.ActiveContext().Storage()}
	if err := trail.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := trail.List(t.Context(), words, "", limit)
	if err != nil {
		t.Fatal(err)
	}
	return p.Entries
}

// TestChangesAreRecorded holds that what the admin API and the commands change is on
// the page of changes with who and what, and no value of it.
func TestChangesAreRecorded(t *testing.T) {
	g := gatewaytest.New(t)
	const secret = "a-made-up-secret-of-the-mailbox"
	path := admin.AccountPath("a@example.com")
	g.Do(t, "PUT", path, `{"upstream": "sandbox", "secret": "`+secret+`"}`).Want(http.StatusCreated)
	g.Do(t, "PATCH", path, `{"nonsense": 1}`, admin.UserHeader, "eve").Want(http.StatusBadRequest)
	g.Do(t, "PATCH", path, `{"labels": {"team": "x"}}`, admin.UserHeader, strings.Repeat("é", 100)).Want(http.StatusOK)
	g.Do(t, "GET", path, "").Want(http.StatusOK)
	g.MustRun(t, "", "account", "pause", "a@example.com")
	list := changesOf(t, "a@example.com", 100)
	if len(list) != 3 {
		t.Fatalf("%+v", list)
	}
	all := fmt.Sprintf("%+v", list)
	if strings.Contains(all, secret) || strings.Contains(all, "team") {
		t.Errorf("a value is in %s", all)
	}
	if e := list[0]; e.What != "account paused" || !strings.HasPrefix(e.User, "command line: ") || e.User == "command line: " || e.From != "127.0.0.1" {
		t.Errorf("a command's: %+v", e)
	}
	if e := list[1]; e.What != "account changed" || len(e.User) > 100 || !slices.Contains(e.Details, audit.Detail{Name: "fields", Value: "labels"}) {
		t.Errorf("a caller's who names somebody: %+v", e)
	}
	if e := list[2]; e.What != "account written" || e.User != "admin API" || !slices.Contains(e.Details, audit.Detail{Name: "fields", Value: "secret; upstream"}) {
		t.Errorf("a caller's: %+v", e)
	}
	// Many of a kind are few entries.
	for i := range 300 {
		g.Do(t, "PUT", admin.AccountPath(fmt.Sprintf("many%d@example.com", i)), `{"upstream": "sandbox"}`).Want(http.StatusCreated)
	}
	g.Do(t, "DELETE", path, "").Want(http.StatusNoContent)
	list = changesOf(t, "", 400)
	times := 0
	for _, e := range list {
		n := 1
		for _, d := range e.Details {
			if d.Name == "times" {
				_, _ = fmt.Sscan(d.Value, &n)
			}
		}
		if e.What == "account written" {
			times += n
		}
	}
	if times != 301 || len(list) > 150 { // a few for each moment in which they are written
		t.Errorf("%d writes in %d entries", times, len(list))
	}
}

// TestChangingRoutesAreNamed holds that no route changes something unseen.
func TestChangingRoutesAreNamed(t *testing.T) {
	quiet := []string{"POST /smtp/accounts/import/check", "POST /smtp/accounts/{name}/verify", "POST /smtp/logins/{id}"}
	for _, r := range (admin.API{}).Routes() {
		if strings.HasPrefix(r.Pattern, "GET ") || slices.Contains(quiet, r.Pattern) {
			continue
		}
		if admin.Changes[r.Pattern] == "" {
			t.Errorf("%s changes something, and has no words for it", r.Pattern)
		}
	}
}
