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

package roles

import (
	"fmt"
	"testing"
)

// TestGroups has the claim `groups` in every form that providers and strangers give it.
func TestGroups(t *testing.T) {
	many := make([]any, 1000)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	list := []string{"group:mail-admins", "group:"}
	for _, tc := range []struct {
		claim any
		in    bool
	}{
		{"mail-admins", true}, {[]any{"x", "mail-admins"}, true}, {nil, false}, {"", false}, {[]any{""}, false}, {[]any{" "}, false}, {[]any{nil, 1.0, true, map[string]any{"mail-admins": "mail-admins"}}, false},
		{map[string]any{"mail-admins": true}, false}, {"x mail-admins", false}, {"x,mail-admins", false}, {"MAIL-ADMINS", false}, {[]any{"group:mail-admins"}, false}, {[]any{[]any{"mail-admins"}}, false}, {many, false},
	} {
		if in := Listed(list, "somebody@example.com", Groups(tc.claim)); in != tc.in {
			t.Errorf("%.60v: %v", tc.claim, in)
		}
	}
}
