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
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// awaitBatch waits for the end of a list of invitations.
func (c *console) awaitBatch(t *testing.T, address string) page {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if p := c.get(t, address+"?part=1"); strings.Contains(p.body, "Save the links") {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not end", address)
		}
	}
}

func TestInviteMany(t *testing.T) {
	c := newConsole(t, "user {http.request.header.X-User}\noperators op@example.com other@example.com\nviewers view@example.com")
	operator, other, viewer := c.as(t, "op@example.com"), c.as(t, "other@example.com"), c.as(t, "view@example.com")
	var list strings.Builder
	list.WriteString("Account,delegate\r\n")
	const n = 30
	for i := range n {
		name := fmt.Sprintf("many%d@example.com", i)
		c.Do(t, "PUT", "/smtp/accounts/"+name, `{"upstream": "oauth"}`).Want(http.StatusCreated)
		fmt.Fprintf(&list, "%s,\r\n", name)
	}
	list.WriteString("<script>alert(1)</script>,\r\n")
	form := operator.get(t, "/console/invitations/many", "An account a line")
	filled := form.fill(url.Values{"list": {list.String()}})
	p := operator.do(t, http.MethodPost, "/console/invitations/many", filled)
	if !strings.HasPrefix(p.address, "/console/invitations/many/") {
		t.Fatalf("%d %s\n%s", p.status, p.address, p.body)
	}
	end := operator.awaitBatch(t, p.address)
	if !strings.Contains(end.body, fmt.Sprintf("%d of %d are invited, 1 failed", n, n+1)) || !strings.Contains(end.body, "&lt;script&gt;") {
		t.Errorf("the end:\n%s", end.body)
	}
	// A double click makes no second list.
	if again := operator.do(t, http.MethodPost, "/console/invitations/many", filled); again.address != p.address {
		t.Errorf("the form sent again: %d %s", again.status, again.address)
	}
	rows, err := csv.NewReader(strings.NewReader(operator.get(t, p.address+"/links.csv").body)).ReadAll()
	if err != nil || len(rows) != n+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	seen := make(map[string]bool)
	for _, row := range rows[1:] {
		path, ok := strings.CutPrefix(row[3], c.base)
		if !ok || seen[path] {
			t.Errorf("the link %s", row[3])
		}
		seen[path] = true
	}
	path, _ := strings.CutPrefix(rows[1][3], c.base)
	operator.get(t, path, "many0@example.com")
	// The links are for who had them made.
	for who, b := range map[string]*console{"another operator": other, "a viewer": viewer} {
		for _, address := range []string{p.address, p.address + "/links.csv"} {
			if got := b.do(t, http.MethodGet, address, nil); got.status != http.StatusNotFound || strings.Contains(got.body, "/connect/i/") {
				t.Errorf("%s at %s: %d", who, address, got.status)
			}
		}
	}
	if got := viewer.post(t, form, "/console/invitations/many", url.Values{"list": {"many0@example.com"}}); got.status != http.StatusForbidden {
		t.Errorf("a viewer invites: %d", got.status)
	}
	for _, bad := range []string{"", "name,mailbox\na,b", `account,x` + "\n" + `"a`, "account\n" + strings.Repeat("a@example.com\n", 10_001), strings.Repeat("x", 3<<20)} {
		if got := operator.post(t, operator.get(t, "/console/invitations/many"), "/console/invitations/many", url.Values{"list": {bad}}); got.status != http.StatusBadRequest {
			t.Errorf("%.20q: %d %s", bad, got.status, got.address)
		}
	}
}
