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

package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestChangesPage shows a viewer who changed what, whatever names they have.
func TestChangesPage(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com\nviewers view@example.com")
	c.AddAccount(t, "a@example.com")
	viewer, operator := c.as(t, "view@example.com"), c.as(t, "op@example.com")
	viewer.get(t, "/console/changes", "account written", "admin API", "secret; upstream")
	account := operator.get(t, "/console/accounts/a@example.com")
	for range 2 { // a double click
		operator.post(t, account, "/console/accounts/a@example.com/password", url.Values{"device": {hostile}})
	}
	operator.post(t, operator.get(t, "/console/accounts/a@example.com"), "/console/accounts/a@example.com/pause", nil)
	// Who may change nothing leaves no trace of having done so.
	if p := viewer.post(t, account, "/console/accounts/a@example.com/resume", nil); p.status != http.StatusForbidden {
		t.Errorf("a viewer's change: %d", p.status)
	}
	p := viewer.get(t, "/console/changes", "op@example.com", "password made", "&lt;script&gt;alert(1)", "account paused", "127.0.0.1")
	if strings.Index(p.body, "account paused") > strings.Index(p.body, "password made") {
		t.Error("the newest is not the first")
	}
	if n := strings.Count(p.body, "<strong>"); n != 3 {
		t.Errorf("%d changes, want 3:\n%s", n, p.body)
	}
	if m := shownPassword.FindString(p.body); m != "" {
		t.Errorf("a secret: %s", m)
	}
	if p := viewer.get(t, "/console/changes?q=PAUSED"); strings.Count(p.body, "<strong>") != 1 {
		t.Errorf("the search has\n%s", p.body)
	}
	// It is kept over configurations.
	c.reload(t, func(map[string]any) {})
	viewer.get(t, "/console/changes", "account paused")
	if p := viewer.do(t, http.MethodGet, "/console/changes?before=nonsense", nil); p.status != http.StatusBadRequest {
		t.Errorf("a cursor of nonsense: %d", p.status)
	}
}
