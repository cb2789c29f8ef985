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

package operate

import (
	"testing"

	"github.com/caddymail/mailgateway/accounts"
)

// TestUnknownAccount holds that an account that is not there is named, and a
// mistake in its record as well.
func TestUnknownAccount(t *testing.T) {
	problems := []accounts.Problem{
		{File: "/etc/a.jsonl", Line: 2, Account: "b@example.com", Field: "upstrem", Message: "unknown field"},
		{Source: "dynamic", Account: "c@example.com", Message: "malformed JSON"},
	}
	for name, want := range map[string]string{
		"a@example.com": "no such account: 'a@example.com'",
		"B@example.com": "no such account: 'B@example.com': its record in /etc/a.jsonl, line 2, is not in use: field 'upstrem': unknown field",
		"c@example.com": "no such account: 'c@example.com': its record in dynamic is not in use: malformed JSON",
	} {
		if got := UnknownAccount(name, problems); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
