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
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowedImports says who may import whom among our packages: the rooms and
// their walls. A package without a line belongs to the room above it; one with
// a line is a room of its own, which the room above has to list as well.
// decisions.md says why relay is one of them.
var allowedImports = map[string][]string{
	"accounts":     {"accounts/password", "internal/generation"},
	"explain":      {},
	"grant":        {},
	"limits":       {"accounts", "internal/filelock"},
	"relay":        {"accounts"},
	"smtpapp":      {"accounts", "accounts/password", "internal/front", "internal/nearest", "internal/servertls", "relay", "smtpapp/smtpserver"},
	"upstreampool": {"accounts", "explain", "grant", "internal/breaker", "internal/checkup", "internal/generation", "internal/nearest", "limits", "relay", "upstreampool/smtpclient"},
	"oauthtoken":   {"explain", "grant", "internal/breaker", "internal/generation", "internal/seal", "oauthtoken/authserver", "oauthtoken/tokenstore"},
	"sandbox":      {"sandbox/webapi"},

	// Caddy's storage in PostgreSQL, and what reaches a database.
	"internal/pgdb":    {},
	"internal/testpg":  {"internal/freeport"},
	"storage/postgres": {"internal/pgdb"},

	// What a password is worth, for whatever knows names; and the accounts of
	// the admin API, one source among others.
	"accounts/password": {},
	"accounts/dynamic":  {"accounts", "internal/generation", "internal/seal"},

	// An authorization server as its client sees it; no token is kept there.
	"oauthtoken/authserver": {"explain", "internal/redact"},
	// What is kept of a grant, and where.
	"oauthtoken/tokenstore": {"internal/seal", "oauthtoken/authserver"},

	// A provider's HTTP side, in whose parser no transport may have a part.
	"sandbox/webapi": {},

	// Kinds of upstreams beside SMTP.
	"transports/graph":             {"accounts", "grant", "relay", "transports/internal/envelope", "transports/internal/mailapi"},
	"transports/gmail":             {"accounts", "grant", "relay", "transports/internal/envelope", "transports/internal/mailapi"},
	"transports/choice":            {"accounts", "relay"},
	"transports/internal/envelope": {},
	"transports/internal/apitest":  {"accounts", "grant", "relay", "sandbox"},
	"transports/internal/mailapi":  {"accounts", "grant", "internal/generation", "limits", "relay", "transports/internal/envelope"},

	// An upstream in front of another.
	"spool": {"accounts", "internal/filelock", "internal/generation", "internal/seal", "relay"},

	// Sockets, generations and admission: for SMTP today, for IMAP next.
	"internal/front":    {"internal/generation"},
	"internal/freeport": {},
	"internal/firstrun": {},
	// What a mistyped name was meant to be, for messages.
	"internal/nearest": {},
	"internal/redact":  {},

	// What exists once and is used by several rooms.
	"internal/breaker":    {},
	"internal/cookie":     {"internal/seal"},
	"internal/site":       {},
	"internal/checkup":    {},
	"internal/filelock":   {},
	"internal/generation": {},
	"internal/seal":       {},
	"internal/servertls":  {},
	"internal/testpki":    {},

	// The protocol knows no account and no Caddy: relay is for replies.
	"smtpapp/smtpserver":         {"relay", "smtpapp/smtpserver/grammar"},
	"smtpapp/smtpserver/grammar": {"relay"},
	"upstreampool/smtpclient":    {"internal/redact", "relay"},

	// What an operator sees and does, over all apps; no route, command or page.
	// Other programs' accounts: records and Caddyfile text, nothing that runs.
	"operate/migrate": {"accounts"},
	"operate":         {"accounts", "explain", "grant", "internal/checkup", "internal/nearest", "oauthtoken", "oauthtoken/authserver", "relay", "smtpapp", "upstreampool"},

	// Who hears of what operate sees.
	"notify": {"internal/checkup", "operate"},

	// The pages of mailbox owners. Glue may import them; they know no route of
	// the admin API and no command.
	"connect": {"accounts", "internal/cookie", "internal/generation", "internal/site", "oauthtoken", "oauthtoken/authserver", "operate"},

	// The pages of operators.
	"console": {"accounts", "accounts/password", "connect", "explain", "internal/cookie", "internal/site", "oauthtoken", "oauthtoken/authserver", "operate", "relay", "smtpapp", "upstreampool"},

	"caddymodule": {
		"accounts",
		"accounts/dynamic",
		"caddymodule/admin",
		"caddymodule/command",
		"caddymodule/logbuffer",
		"caddymodule/statuspage",
		"connect",
		"console",
		"internal/nearest",
		"notify",
		"oauthtoken",
		"oauthtoken/authserver",
		"oauthtoken/tokenstore",
		"sandbox",
		"smtpapp",
		"spool",
		"storage/postgres",
		"transports/choice",
		"transports/gmail",
		"transports/graph",
		"upstreampool",
	},
	"caddymodule/admin":       {"accounts", "connect", "explain", "grant", "internal/checkup", "oauthtoken", "oauthtoken/authserver", "operate", "smtpapp", "spool", "upstreampool"},
	"caddymodule/command":     {"accounts", "accounts/password", "caddymodule/admin", "connect", "explain", "grant", "internal/checkup", "internal/nearest", "operate", "operate/migrate", "sandbox", "spool"},
	"caddymodule/statuspage":  {"accounts", "explain", "oauthtoken", "operate", "relay", "smtpapp", "upstreampool"},
	"caddymodule/logbuffer":   {},
	"caddymodule/gatewaytest": {"accounts", "accounts/password", "caddymodule", "caddymodule/admin", "caddymodule/command", "internal/freeport", "sandbox"},
}

// testImports are what tests of any room may import as well.
var testImports = []string{"accounts/password", "caddymodule/gatewaytest", "internal/freeport", "internal/testpg", "internal/testpki", "sandbox", "transports/internal/apitest"}

// webRooms hold HTTP handlers that are no glue.
var webRooms = []string{"connect", "console"}

// notRooms are programs and tests around the product, which may import it all.
var notRooms = []string{"bench", "docs", "e2e", "examples", "interop", "xcaddy"}

// glueImports are what only caddymodule imports: Caddyfile, commands, http and
// layer4.
var glueImports = []string{
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile",
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile",
	"github.com/caddyserver/caddy/v2/cmd",
	"github.com/caddyserver/caddy/v2/modules/caddyhttp",
	"github.com/mholt/caddy-l4",
	"github.com/spf13/cobra",
}

// TestImportRule holds the import rule of the design, section 3: each of our
// packages stands in a room, and no file reaches through a wall.
func TestImportRule(t *testing.T) {
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(filepath.ToSlash(file), "../")
		if entry.IsDir() {
			if slices.Contains(notRooms, dir) || entry.Name() == "testdata" || file != ".." && strings.HasPrefix(entry.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		dir = strings.TrimSuffix(dir, entry.Name())
		if !strings.HasSuffix(file, ".go") || dir == "" {
			return nil
		}
		room := roomOf(strings.TrimSuffix(dir, "/"))
		if room == "" {
			t.Errorf("%s stands in no room: give its package a line in allowedImports", file)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if reason := forbidden(room, imported, strings.HasSuffix(file, "_test.go")); reason != "" {
				t.Errorf("%s imports %s: %s", file, imported, reason)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// roomOf is the room that a package stands in: itself, or the nearest above.
func roomOf(pkg string) string {
	for pkg != "." && pkg != "" {
		if _, ok := allowedImports[pkg]; ok {
			return pkg
		}
		pkg = path.Dir(pkg)
	}
	return ""
}

// forbidden says why a file of a room may not import a package; empty: it may.
func forbidden(room, imported string, isTest bool) string {
	if name, ok := strings.CutPrefix(imported, ours); ok {
		to, allowed := roomOf(name), allowedImports[room]
		switch {
		case to == room, slices.Contains(allowed, to):
			return ""
		// Tests may drive the real thing from outside.
		case isTest && (slices.Contains(testImports, to) || strings.HasPrefix(room, to+"/")):
			return ""
		}
		return "not among " + strings.Join(allowed, ", ")
	}
	if slices.Contains(webRooms, room) && imported == "github.com/caddyserver/caddy/v2/modules/caddyhttp" {
		return ""
	}
	if isTest || room == "caddymodule" || strings.HasPrefix(room, "caddymodule/") {
		return ""
	}
	if (room == "smtpapp/smtpserver" || room == "upstreampool/smtpclient") && strings.HasPrefix(imported, "github.com/caddyserver/") {
		return "it knows nothing of Caddy"
	}
	for _, glue := range glueImports {
		if imported == glue || strings.HasPrefix(imported, glue+"/") {
			return "only caddymodule does"
		}
	}
	return ""
}

func TestForbidden(t *testing.T) {
	for _, tc := range []struct {
		pkg, imported string
		isTest, want  bool
	}{
		{"oauthtoken", ours + "accounts", false, true},
		{"oauthtoken/authserver", ours + "oauthtoken", false, true},
		{"smtpapp", ours + "upstreampool", false, true},
		{"accounts/password", ours + "accounts", false, true},
		{"accounts", ours + "accounts/dynamic", false, true},
		{"smtpapp", ours + "relay", false, false},
		{"smtpapp", ours + "smtpapp/internal/line", false, false},
		{"smtpapp", ours + "sandbox", false, true},
		{"smtpapp", ours + "sandbox", true, false},
		{"smtpapp", ours + "upstreampool", true, true},
		{"smtpapp", ours + "internal/freeport", true, false},
		{"smtpapp", ours + "internal/freeport", false, true},
		{"smtpapp", ours + "internal/front", false, false},
		{"oauthtoken", ours + "internal/front", false, true},
		{"internal/front", ours + "smtpapp", false, true},
		{"smtpapp", "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol", false, true},
		{"smtpapp", "github.com/caddyserver/caddy/v2/modules/caddytls", false, false},
		{"caddymodule/admin", ours + "caddymodule/command", false, true},
		{"caddymodule/command", ours + "caddymodule/gatewaytest", true, false},
		{"caddymodule/command", ours + "caddymodule/gatewaytest", false, true},
		{"smtpapp/smtpserver", ours + "accounts", false, true},
		{"smtpapp/smtpserver", "github.com/caddyserver/caddy/v2", false, true},
		{"upstreampool", ours + "upstreampool/smtpclient", false, false},
		{"upstreampool/smtpclient", ours + "upstreampool", false, true},
		{"upstreampool/smtpclient", ours + "accounts", false, true},
		{"upstreampool/smtpclient", ours + "limits", false, true},
		{"upstreampool/smtpclient", "github.com/caddyserver/caddy/v2", false, true},
		{"relay", "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile", false, true},
		{"caddymodule", "github.com/mholt/caddy-l4/layer4", false, false},
	} {
		got := forbidden(tc.pkg, tc.imported, tc.isTest)
		if (got != "") != tc.want {
			t.Errorf("%s importing %s: %q", tc.pkg, tc.imported, got)
		}
	}
}
