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
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

var globalOption = regexp.MustCompile(`(?ms)^\t(oauth_tokens|smtp_upstreams|smtp|smtp_sandbox) \{.*?^\t\}`)

// FuzzCaddyfileOptions holds that whatever stands in our global options is an
// error, or becomes JSON that our apps read.
func FuzzCaddyfileOptions(f *testing.F) {
	for _, pattern := range []string{"ok_*.caddyfiletest", "err_*.caddyfiletest"} {
		for _, fixture := range readFixtures(f, pattern) {
			for _, option := range globalOption.FindAllString(fixture.caddyfile, -1) {
				f.Add(strings.ReplaceAll(option, "\n\t", "\n"))
			}
		}
	}
	parsers := map[string]func(*caddyfile.Dispenser, any) (any, error){
		"smtp":           parseApp("smtp", smtpOptions),
		"oauth_tokens":   parseApp("oauth_tokens", oauthTokensOptions),
		"smtp_upstreams": parseApp("smtp_upstreams", smtpUpstreamsOptions),
		"smtp_sandbox":   parseApp("smtp_sandbox", sandboxOptions),
	}
	f.Fuzz(func(t *testing.T, input string) {
		// Reads whatever file is named.
		if strings.Contains(input, "_file") {
			t.Skip()
		}
		name, _, _ := strings.Cut(strings.TrimSpace(input), " ")
		parse := parsers[name]
		if parse == nil {
			t.Skip()
		}
		// NewTestDispenser ends the process where no tokens can be made.
		tokens, err := caddyfile.Tokenize([]byte(input), "Testfile")
		if err != nil {
			t.Skip()
		}
		value, err := parse(caddyfile.NewDispenser(tokens), nil)
		if err != nil {
			return
		}
		app := value.(httpcaddyfile.App)
		if !json.Valid(app.Value) {
			t.Fatalf("not JSON: %s", app.Value)
		}
		if err := caddy.StrictUnmarshalJSON(app.Value, apps()[app.Name]); err != nil {
			t.Fatalf("%v: %s", err, app.Value)
		}
		// A second block of the same option is read on top of the first.
		if _, err := parse(caddyfile.NewTestDispenser(app.Name+" {\n}"), app); err != nil {
			t.Fatalf("merging: %v: %s", err, app.Value)
		}
	})
}
