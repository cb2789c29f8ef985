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

package main

import (
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// TestAnswer holds that Caddy's commands that cannot work say what to do
// instead, and fail.
func TestAnswer(t *testing.T) {
	for _, tc := range []struct {
		command    string
		code       int
		ours       bool
		out, error string
	}{
		{"version", 0, true, "mailgateway-", ""},
		{"version", 0, true, " (Caddy ", ""},
		{"upgrade", 1, true, "", "docs/upgrade.md"},
		{"add-package", 1, true, "", "xcaddy build --with"},
		{"remove-package", 1, true, "", "remove-package does not work"},
		{"--version", 0, true, "mailgateway-", ""},
		{"-v", 0, true, " (Caddy ", ""},
		{"run", 0, false, "", ""},
		{"completion", 0, false, "", ""},
		{"__complete", 0, false, "", ""},
		{"smtp", 0, false, "", ""},
		{"account", 1, true, "", "did you mean 'mailgateway smtp account'?"},
		{"doctor", 1, true, "", "did you mean 'mailgateway smtp doctor'?"},
		{"validat", 1, true, "", "did you mean 'validate'?"},
		{"qwertz", 1, true, "", "there is no command 'mailgateway qwertz'; `mailgateway help`"},
	} {
		var out, errOut strings.Builder
		code, ok := answer(tc.command, &out, &errOut)
		if code != tc.code || ok != tc.ours || !strings.Contains(out.String(), tc.out) || !strings.Contains(errOut.String(), tc.error) {
			t.Errorf("%s: %d, %t, %q, %q", tc.command, code, ok, out.String(), errOut.String())
		}
	}
}

// TestOverview holds that who types the binary's name alone reads of the gateway,
// and that the commands named there exist.
func TestOverview(t *testing.T) {
	for _, word := range []string{"", "help", "--help", "-h"} {
		var out, errs strings.Builder
		if code, ok := answer(word, &out, &errs); code != 0 || !ok || out.String() != overview || errs.Len() > 0 {
			t.Errorf("%q: %d, %t, %s%s", word, code, ok, &out, &errs)
		}
	}
	for line := range strings.Lines(overview) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "mailgateway" {
			continue
		}
		if _, ok := caddycmd.Commands()[words[1]]; !ok && words[1] != "version" {
			t.Errorf("there is no command %s", words[1])
		}
	}
}
