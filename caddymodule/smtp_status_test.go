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

package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func TestStatusPageCaddyfile(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"smtp_status {\n show_accounts\n interval 5s\n}", ""},
		{"smtp_status", ""},
		{"smtp_status x", "argument"},
		{"smtp_status {\n nonsense\n}", "nonsense"},
		{"smtp_status {\n interval 1s\n interval 2s\n}", "duplicate"},
	} {
		_, err := parseStatusPage(httpcaddyfile.Helper{Dispenser: caddyfile.NewTestDispenser(tc.in)})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.in, err, tc.want)
		}
	}
}
