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
	"smtpapp/counters": {},
	"smtpapp/history":  {"internal/storelock"},
	"smtpapp/spans":    {},
	"accounts":         {"accounts/password", "accounts/rate", "internal/changes", "internal/fold", "internal/form", "internal/generation", "internal/invoked", "internal/jsonfield", "internal/plaintext", "internal/printable"},
	"explain":          {"internal/invoked"},
	"grant":            {},
	"limits":           {"accounts", "internal/filelock", "limits/fleet", "limits/internal/window", "limits/journal", "limits/lane", "limits/legacy", "limits/place", "limits/record"},
	"limits/journal":   {"limits/record"},
	"limits/record":    {},
	"limits/fleet":     {},
	"limits/lane":      {"internal/filelock"},
	"limits/legacy":    {},
	"limits/place":     {"internal/filelock"},
	"messagelog":       {"internal/filelock", "internal/generation", "internal/loggers"},
	"relay":            {"accounts"},
	"smtpapp":          {"accounts", "accounts/password", "internal/form", "internal/front", "internal/jsonfield", "internal/nearest", "internal/presence", "internal/printable", "internal/registry", "internal/servertls", "messagelog", "relay", "smtpapp/counters", "smtpapp/history", "smtpapp/legacyrsa", "smtpapp/smtpserver", "smtpapp/spans"},
	"upstreamapp":      {"accounts", "internal/checkup", "internal/jsonfield", "internal/outproxy", "internal/printable", "limits", "limits/fleet", "relay"},
	"upstreampool":     {"accounts", "explain", "grant", "internal/breaker", "internal/checkup", "internal/form", "internal/generation", "internal/jsonfield", "internal/nearest", "internal/outproxy", "internal/printable", "internal/tally", "limits", "relay", "upstreampool/dialer", "upstreampool/meter", "upstreampool/pace", "upstreampool/preset", "upstreampool/smtpclient"},
	"oauthtoken":       {"explain", "grant", "internal/breaker", "internal/generation", "internal/jsonfield", "internal/order", "internal/printable", "internal/registry", "internal/seal", "oauthtoken/authserver", "oauthtoken/gate", "oauthtoken/tokenstore"},
	"sandbox":          {"internal/form", "internal/jsonfield", "internal/printable", "sandbox/authority", "sandbox/certs", "sandbox/fault", "sandbox/internal/answer", "sandbox/record", "sandbox/webapi"},

	// Caddy's storage in PostgreSQL, and what reaches a database.
	"internal/pgdb":          {"internal/checkup", "internal/form"},
	"internal/changes":       {},
	"internal/exhausted":     {},
	"internal/registry":      {},
	"internal/once":          {},
	"internal/invoked":       {},
	"internal/order":         {},
	"internal/outproxy":      {},
	"internal/plaintext":     {},
	"internal/rawread":       {},
	"internal/testpg":        {"internal/freeport", "internal/testproc"},
	"internal/testproc":      {},
	"storage/postgres":       {"internal/checkup", "internal/jsonfield", "internal/loggers", "internal/pgdb", "internal/printable"},
	"storage/transfer":       {"internal/presence"},
	"limits/internal/window": {"accounts"},
	"limits/postgres":        {"accounts", "internal/checkup", "internal/jsonfield", "internal/loggers", "internal/order", "internal/pgdb", "internal/printable", "limits", "limits/fleet"},

	// What a password is worth, for whatever knows names; and the accounts of
	// the admin API, one source among others.
	"accounts/password": {"internal/invoked"},
	"accounts/rate":     {},
	"accounts/dynamic":  {"accounts", "internal/form", "internal/generation", "internal/jsonfield", "internal/printable", "internal/seal", "internal/storelock"},
	// Sources that are asked for names, and what is held of them.
	"accounts/ondemand": {"accounts", "internal/generation"},
	"accounts/mapped":   {"accounts"},
	"accounts/sql":      {"accounts", "accounts/mapped", "accounts/ondemand", "internal/form", "internal/jsonfield", "internal/loggers", "internal/nearest", "internal/pgdb", "internal/printable"},
	"accounts/ldap":     {"accounts", "accounts/mapped", "accounts/ondemand", "accounts/password", "internal/breaker", "internal/form", "internal/jsonfield", "internal/loggers", "internal/nearest", "internal/printable"},

	// An authorization server as its client sees it; no token is kept there.
	"oauthtoken/authserver": {"explain", "internal/exhausted", "internal/fold", "internal/form", "internal/mscloud", "internal/nearest", "internal/outproxy", "internal/printable", "internal/redact", "oauthtoken/assertion", "oauthtoken/internal/refusals"},
	// What is shown to it in place of a secret.
	"oauthtoken/assertion":         {},
	"oauthtoken/internal/refusals": {},
	// How many requests it is asked at a time.
	"oauthtoken/gate": {},
	// What is kept of a grant, and where.
	"oauthtoken/tokenstore": {"internal/filelock", "internal/printable", "internal/seal", "oauthtoken/authserver"},

	// A provider's HTTP side, in whose parser no transport may have a part.
	"sandbox/authority":       {"sandbox/internal/answer"},
	"sandbox/internal/answer": {},
	"sandbox/certs":           {},
	"sandbox/fault":           {},
	"sandbox/record":          {},
	"sandbox/webapi":          {},

	// Kinds of upstreams beside SMTP.
	"transports/graph":             {"accounts", "grant", "internal/jsonfield", "internal/mscloud", "internal/printable", "relay", "transports/internal/mailapi"},
	"transports/gmail":             {"accounts", "grant", "internal/jsonfield", "internal/printable", "relay", "transports/internal/mailapi"},
	"transports/choice":            {"accounts", "internal/jsonfield", "internal/printable", "relay"},
	"transports/internal/envelope": {},
	"transports/internal/apitest":  {"accounts", "explain", "grant", "relay", "sandbox", "sandbox/webapi"},
	"transports/internal/mailapi":  {"accounts", "grant", "internal/generation", "internal/printable", "limits", "relay", "transports/internal/envelope"},

	// An upstream in front of another.
	"spool":                   {"accounts", "internal/checkup", "internal/filelock", "internal/form", "internal/generation", "internal/jsonfield", "internal/loggers", "internal/order", "internal/printable", "internal/seal", "relay", "spool/dsn", "spool/illness", "spool/internal/delivery", "spool/internal/disk", "spool/internal/gauges", "spool/internal/record", "spool/internal/store"},
	"spool/dsn":               {"internal/printable", "relay"},
	"spool/illness":           {"internal/checkup", "internal/invoked"},
	"spool/internal/delivery": {"accounts", "relay", "spool/internal/record"},
	"spool/internal/disk":     {"internal/filelock"},
	"spool/internal/gauges":   {"internal/registry"},
	"spool/internal/store":    {"internal/seal", "spool/internal/disk", "spool/internal/record"},
	"spool/internal/record":   {"internal/printable", "internal/seal", "relay", "spool/internal/disk"},

	"internal/mscloud": {"internal/nearest"},

	// Sockets, generations and admission: for SMTP today, for IMAP next.
	"internal/front":    {"internal/exhausted", "internal/form", "internal/generation", "internal/printable", "internal/rawread"},
	"internal/freeport": {"internal/filelock"},
	"internal/firstrun": {},

	"internal/winservice/stdio": {},
	"internal/winservice":       {"internal/winservice/stdio"},
	// What a mistyped name was meant to be, for messages.
	"internal/nearest": {},
	// How values are written, for options and JSON alike.
	"internal/form": {"internal/nearest"},
	// JSON configurations, with the field in every error.
	"internal/jsonfield": {"internal/form", "internal/nearest"},
	"internal/redact":    {},
	// What others say, before it is logged.
	"internal/printable": {},
	"internal/stack":     {},
	// Where what outlives a configuration writes its lines.
	"internal/loggers": {"internal/printable"},

	// What exists once and is used by several rooms.
	"internal/breaker":    {},
	"internal/tally":      {},
	"internal/cookie":     {"internal/seal"},
	"internal/fold":       {},
	"internal/site":       {},
	"internal/storelock":  {"internal/filelock"},
	"internal/checkup":    {},
	"internal/filelock":   {},
	"internal/presence":   {"internal/filelock"},
	"internal/generation": {},
	"internal/seal":       {},
	"internal/servertls":  {},
	"internal/testpki":    {},

	// The protocol knows no account and no Caddy: relay is for replies.
	"smtpapp/smtpserver":         {"internal/rawread", "internal/stack", "relay", "smtpapp/smtpserver/content", "smtpapp/smtpserver/grammar", "smtpapp/smtpserver/pace"},
	"smtpapp/smtpserver/content": {},
	"smtpapp/smtpserver/grammar": {"relay"},
	"smtpapp/smtpserver/pace":    {},
	// A certificate for devices from before 2010.
	"smtpapp/legacyrsa":                  {},
	"upstreampool/smtpclient":            {"internal/exhausted", "internal/outproxy", "internal/rawread", "internal/redact", "internal/stack", "relay", "upstreampool/smtpclient/dots", "upstreampool/smtpclient/extensions"},
	"upstreampool/smtpclient/dots":       {},
	"upstreampool/smtpclient/extensions": {"relay"},
	// What opening a connection takes besides it: no pool.
	"upstreampool/dialer": {"accounts", "grant", "internal/breaker", "limits", "relay", "upstreampool/meter", "upstreampool/smtpclient"},
	// What is learned of a mailbox, and what providers publish: no pool, no lock.
	"upstreampool/meter":  {"internal/registry", "upstreampool/smtpclient"},
	"upstreampool/pace":   {"relay", "upstreampool/smtpclient"},
	"upstreampool/preset": {"accounts", "upstreampool/smtpclient"},

	// What an operator sees and does, over all apps; no route, command or page.
	// Other programs' accounts: records and Caddyfile text, nothing that runs.
	"operate/migrate": {"accounts", "internal/invoked", "internal/plaintext"},
	"operate/snippet": {},
	"operate":         {"accounts", "explain", "grant", "internal/checkup", "internal/form", "internal/invoked", "internal/nearest", "internal/outproxy", "internal/presence", "oauthtoken", "oauthtoken/authserver", "relay", "smtpapp", "smtpapp/counters", "spool", "upstreamapp"},

	// From nothing to a first test mail, for the terminal and the console.
	"setup": {"accounts", "explain", "internal/form", "internal/mscloud", "internal/printable", "upstreampool/preset"},

	// Who hears of what operate sees.
	"notify": {"internal/checkup", "internal/form", "internal/invoked", "internal/jsonfield", "internal/loggers", "internal/printable", "operate"},

	// The pages of mailbox owners. Glue may import them; they know no route of
	// the admin API and no command.
	"connect": {"accounts", "internal/cookie", "internal/generation", "internal/jsonfield", "internal/once", "internal/printable", "internal/site", "internal/storelock", "oauthtoken", "oauthtoken/authserver", "operate"},

	// Invitations by mail, through one of the accounts.
	"connect/mailing": {"accounts", "connect", "internal/generation", "internal/printable", "internal/storelock", "operate", "relay"},

	// The pages of operators.
	"console/audit":     {"internal/storelock"},
	"console/passwords": {"accounts/password", "internal/front"},
	"console/roles":     {"internal/fold"},
	"console/batch":     {"connect", "connect/mailing"},
	"console/firstrun":  {"accounts", "connect", "internal/invoked", "oauthtoken", "oauthtoken/authserver", "operate", "setup", "smtpapp", "upstreamapp"},
	"console/card":      {"operate", "smtpapp"},
	"console/ended":     {"internal/storelock"},
	"console/trial":     {"accounts", "explain", "operate", "relay", "upstreamapp"},
	"console/words":     {"accounts", "internal/checkup", "internal/invoked", "messagelog", "operate"},
	"console/picture":   {"smtpapp/history"},
	"console/settings":  {"accounts", "internal/printable"},
	"console":           {"accounts", "accounts/password", "connect", "connect/mailing", "console/audit", "console/batch", "console/card", "console/ended", "console/firstrun", "console/passwords", "console/picture", "console/roles", "console/settings", "console/trial", "console/words", "explain", "internal/checkup", "internal/cookie", "internal/jsonfield", "internal/once", "internal/printable", "internal/site", "limits", "messagelog", "oauthtoken", "oauthtoken/authserver", "operate", "relay", "setup", "smtpapp", "smtpapp/history", "spool", "upstreamapp", "upstreampool"},

	"caddymodule": {
		"accounts",
		"accounts/dynamic",
		"accounts/ldap",
		"accounts/password",
		"accounts/sql",
		"caddymodule/admin",
		"caddymodule/command",
		"caddymodule/logbuffer",
		"caddymodule/statuspage",
		"caddymodule/wording",
		"connect",
		"console",
		"internal/form",
		"internal/jsonfield",
		"internal/mscloud",
		"internal/nearest",
		"internal/pgdb",
		"limits/postgres",
		"messagelog",
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
		"upstreamapp",
		"upstreampool",
		"upstreampool/preset",
	},
	"caddymodule/admin":           {"accounts", "connect", "console/audit", "explain", "grant", "internal/checkup", "internal/form", "internal/printable", "internal/site", "limits", "limits/fleet", "messagelog", "oauthtoken", "oauthtoken/authserver", "operate", "smtpapp", "smtpapp/counters", "spool", "upstreamapp", "upstreampool"},
	"caddymodule/command":         {"accounts", "accounts/password", "caddymodule/admin", "caddymodule/command/browser", "caddymodule/command/health", "caddymodule/command/output", "caddymodule/command/record", "caddymodule/command/service", "caddymodule/command/usage", "connect", "explain", "grant", "internal/checkup", "internal/form", "internal/invoked", "internal/nearest", "internal/printable", "internal/winservice", "messagelog", "operate", "operate/migrate", "operate/snippet", "sandbox", "setup", "spool", "storage/transfer"},
	"caddymodule/command/browser": {"setup"},
	"caddymodule/command/output":  {},
	"caddymodule/command/usage":   {"internal/invoked", "internal/nearest"},
	"caddymodule/command/record":  {"internal/invoked"},
	"caddymodule/command/health":  {"caddymodule/command/output", "caddymodule/command/usage", "internal/printable"},
	"caddymodule/command/service": {"caddymodule/command/output", "internal/winservice"},
	"caddymodule/precheck":        {"caddymodule/wording", "internal/form", "internal/nearest"},
	"caddymodule/wording":         {"accounts", "internal/form", "internal/invoked", "internal/nearest", "oauthtoken/authserver"},
	"caddymodule/statuspage":      {"accounts", "explain", "internal/invoked", "internal/jsonfield", "internal/printable", "oauthtoken", "operate", "relay", "smtpapp", "spool", "upstreamapp", "upstreampool"},
	"caddymodule/logbuffer":       {},
	"caddymodule/gatewaytest":     {"accounts", "accounts/password", "caddymodule", "caddymodule/admin", "caddymodule/command", "internal/freeport", "sandbox"},
}

// testImports are what tests of any room may import as well.
var testImports = []string{"accounts/password", "caddymodule/gatewaytest", "internal/freeport", "internal/pgdb", "internal/testpg", "internal/testpki", "internal/testproc", "sandbox", "storage/postgres", "transports/internal/apitest", "upstreamapp"}

// webRooms hold HTTP handlers that are no glue.
var webRooms = []string{"connect", "console", "internal/site"}

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

// eachFile calls f with each Go file of our packages.
func eachFile(f func(file string) error) error {
	return filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			dir := strings.TrimPrefix(filepath.ToSlash(file), "../")
			if slices.Contains(notRooms, dir) || entry.Name() == "testdata" || file != ".." && strings.HasPrefix(entry.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		return f(file)
	})
}

// TestImportRule holds the import rule of the design, section 3: each of our
// packages stands in a room, and no file reaches through a wall.
func TestImportRule(t *testing.T) {
	err := eachFile(func(file string) error {
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), "..")
		if dir == "" {
			return nil
		}
		room := roomOf(strings.TrimPrefix(dir, "/"))
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
		{"upstreamapp", ours + "upstreampool", false, true},
		{"upstreampool", ours + "upstreamapp", false, true},
		{"accounts/password", ours + "accounts", false, true},
		{"accounts", ours + "accounts/dynamic", false, true},
		{"accounts/ondemand", ours + "accounts/sql", false, true},
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
