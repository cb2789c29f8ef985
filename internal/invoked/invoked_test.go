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

package invoked

import "testing"

// TestOwn: release files have their system in their names.
func TestOwn(t *testing.T) {
	for program, want := range map[string]bool{
		"mailgateway": true, "/usr/bin/mailgateway": true, "./mailgateway_1.2.0_linux_amd64": true,
		`C:\Program Files\Mailgateway\mailgateway.exe`: true,
		"caddy": false, "/usr/bin/caddy": false, "/opt/mailgateway/caddy": false, `C:\mailgateway\caddy.exe`: false, "": false,
	} {
		if own(program) != want {
			t.Errorf("%s: %v", program, !want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"run `caddy smtp login ACCOUNT`, then `caddy reload --force`": "run `mailgateway smtp login ACCOUNT`, then `mailgateway reload --force`",
		"caddy smtp doctor":                              "mailgateway smtp doctor",
		"as 'caddy hash-password' prints":                "as 'mailgateway hash-password' prints",
		"/var/lib/caddy smtps, Caddy smtp, mycaddy smtp": "/var/lib/caddy smtps, Caddy smtp, mycaddy smtp",
		"caddy": "caddy",
	} {
		if got := words(text, true); got != want {
			t.Errorf("%s", got)
		}
		if got := words(text, false); got != text {
			t.Errorf("a Caddy: %s", got)
		}
	}
}
