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
	"strings"
	"testing"
)

// tryUnknownWords asks for causes and servers that are none: an empty list would say that
// nobody was refused.
func tryUnknownWords(t *testing.T, check func(method, pattern, path, body string, status int, header ...string) map[string]any) {
	t.Helper()
	check("GET", "/smtp/refusals", "/smtp/refusals?cause=wrong_password&server=local", "", 200)
	for query, want := range map[string]string{
		"refusals?cause=nothing-such":   "wrong_password",
		"refusals?cause=wrong_pasword":  "did you mean 'wrong_password'?",
		"refusals?cause=WRONG_PASSWORD": "did you mean 'wrong_password'?",
		"refusals?server=nothing-such":  "local",
		"bans?server=nothing-such":      "local",
	} {
		path, _, _ := strings.Cut(query, "?")
		if answer := check("GET", "/smtp/"+path, "/smtp/"+query, "", 400); !strings.Contains(fmt.Sprint(answer), want) {
			t.Errorf("%s: %v, want %s", query, answer, want)
		}
	}
}
