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

package grant

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestOwnerAndScopes(t *testing.T) {
	for _, tc := range []struct {
		r           Request
		owner, keys string
	}{
		{Request{Account: "Scanner"}, "scanner", ""},
		{Request{Account: "scanner", Mailbox: "Office@Example.com"}, "office@example.com", ""},
		{Request{Account: "a", Mailbox: "a", Scopes: []string{"x"}}, "a", "x"},
		{Request{Account: "a", Mailbox: "a", Scopes: []string{"x", "offline_access"}}, "a", "x offline_access"},
	} {
		if o, k := tc.r.Owner(), tc.r.ScopeKey(); o != tc.owner || k != tc.keys {
			t.Errorf("%+v: owner %q, scopes %q", tc.r, o, k)
		}
	}
	r := Request{Account: "a@example.com", Mailbox: "a@example.com", Scopes: []string{"https://graph.microsoft.com/.default"}}
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Owner(), r.ScopeKey() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSeedIsNotPrinted(t *testing.T) {
	r := Request{Provider: "google", Account: "a", Seed: "planted-seed"}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(r), fmt.Sprintf("%+v", r), fmt.Sprintf("%#v", &r), string(b)} {
		if strings.Contains(text, "planted") || !strings.Contains(text, "google") {
			t.Errorf("%s", text)
		}
	}
}
