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
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExampleProvisions holds that Caddyfile.example is good as it is, and so
// it is with each of its alternatives.
func TestExampleProvisions(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	example := string(content)
	for _, name := range []string{"GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "MS_CLIENT_ID", "MS_CLIENT_SECRET"} {
		t.Setenv(name, "value")
	}
	validate := func(t *testing.T, caddyfile string) {
		t.Helper()
		adapted, err := adapt(t, caddyfile)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provision(t, adapted); err != nil {
			t.Error(err)
		}
	}
	t.Run("sandbox", func(t *testing.T) { validate(t, example) })
	for _, upstream := range []string{"gmail", "microsoft365"} {
		t.Run(upstream, func(t *testing.T) {
			var lines []string
			for line := range strings.Lines(example) {
				// A comment is a tab, #, a space, and an option.
				if bare := strings.Replace(line, "# ", "", 1); isOptionComment(line, upstream) {
					line = bare
				} else if strings.Contains(line, "refresh_token") || strings.Contains(line, "upstream sandbox") && !strings.Contains(line, "{") {
					line = ""
				}
				lines = append(lines, line)
			}
			caddyfile := strings.Join(lines, "")
			if !strings.Contains(caddyfile, "\t\t\t\tupstream "+upstream) {
				t.Fatalf("the comments do not turn it into %s:\n%s", upstream, caddyfile)
			}
			validate(t, caddyfile)
		})
	}
}

// isOptionComment tells whether a line is a commented option that this
// upstream needs, or one that any does.
func isOptionComment(line, upstream string) bool {
	option, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
	if !ok {
		return false
	}
	option = strings.TrimSpace(option)
	first, second, _ := strings.Cut(option, " ")
	switch first {
	case "upstream":
		return second == upstream
	case "provider", "tenant", "client_id", "client_secret", "}", "server", "tls", "dynamic":
		return true
	}
	return false
}

// TestDesignProvisions holds that the whole configuration of the design is
// good, once its files and variables are there.
func TestDesignProvisions(t *testing.T) {
	dir := t.TempDir()
	ca, _, _ := WriteCertificate(t)
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, name := range []string{"GOOGLE_CLIENT_ID", "MS_CLIENT_ID", "ACME_SECRET"} {
		t.Setenv(name, "value")
	}
	replacer := strings.NewReplacer(
		"/etc/acme-ca.pem", ca,
		"/run/credentials/token.key", write("token.key", strings.Repeat("ab", 32)),
		"/run/credentials/google", write("google", "secret"),
		"/run/credentials/ms", write("ms", "secret"),
		"/run/credentials/alerts.token", write("alerts.token", "token"),
		"/etc/mailgateway/accounts.jsonl", write("accounts.jsonl", `{"name":"a@example.com","upstream":"gmail"}`+"\n"),
		"$argon2id$...", "sha256:"+strings.Repeat("ab", 32),
	)
	for _, f := range readFixtures(t, "ok_design.caddyfiletest") {
		adapted, err := adapt(t, replacer.Replace(f.caddyfile))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provision(t, adapted); err != nil {
			t.Error(err)
		}
	}
}
