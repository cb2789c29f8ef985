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

package docs

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/dynamic"
	"github.com/caddymail/mailgateway/accounts/ldap"
	"github.com/caddymail/mailgateway/accounts/sql"
	"github.com/caddymail/mailgateway/caddymodule"
	"github.com/caddymail/mailgateway/caddymodule/statuspage"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/console"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/notify"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/spool"
	"github.com/caddymail/mailgateway/transports/choice"
	"github.com/caddymail/mailgateway/transports/gmail"
	"github.com/caddymail/mailgateway/transports/graph"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

// sections are the parts of the pages that have to name the fields of a
// configuration struct, and what is in it.
var sections = []struct {
	page, begin string
	config      any
}{
	{"configuration.md", "## App oauth_tokens", oauthtoken.App{}},
	{"configuration.md", "## App oauth_tokens", tokenstore.StorageStore{}},
	{"configuration.md", "\n## Storage postgres", caddymodule.PostgresStorage{}},
	{"configuration.md", "### Limits postgres", caddymodule.PostgresLimits{}},
	{"configuration.md", "## App smtp_upstreams", upstreamapp.App{}},
	{"configuration.md", "## App smtp_upstreams", upstreampool.SMTPTransport{}},
	{"configuration.md", "### Transport spool", spool.Transport{}},
	{"configuration.md", "## App smtp\n", messagelog.Config{}},
	{"configuration.md", "### Upstream transport graph", graph.Transport{}},
	{"configuration.md", "### Upstream transport gmail", gmail.Transport{}},
	{"configuration.md", "### Upstream transports", choice.Transport{}},
	{"configuration.md", "## App smtp\n", smtpapp.App{}},
	{"configuration.md", "## App smtp\n", accounts.FileSource{}},
	{"configuration.md", "## App smtp\n", dynamic.Source{}},
	{"configuration.md", "### Accounts sql", sql.Source{}},
	{"configuration.md", "### Accounts ldap", ldap.Source{}},
	{"configuration.md", "## Handler layer4", caddymodule.L4Handler{}},
	{"configuration.md", "## Handler http.handlers.smtp_status", statuspage.Page{}},
	{"configuration.md", "## Handler http.handlers.smtp_connect", connect.Handler{}},
	{"configuration.md", "## Handler http.handlers.smtp_console", console.Handler{}},
	{"configuration.md", "## Handler events.", notify.Handler{}},
	{"notify.md", "## Syntax", notify.Handler{}},
	{"configuration.md", "## App smtp_sandbox", sandbox.App{}},
	{"accounts.md", "## The record", accounts.Record{}},
}

// TestFieldsAreDocumented holds that each JSON field of a configuration has
// its name in a table of its section.
func TestFieldsAreDocumented(t *testing.T) {
	for _, s := range sections {
		_, section, ok := strings.Cut(read(t, s.page), s.begin)
		if !ok {
			t.Errorf("%s has no section %q", s.page, s.begin)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for name := range jsonFields(reflect.TypeOf(s.config)) {
			if !strings.Contains(section, "| `"+name+"` |") {
				t.Errorf("%s, section %q: no row for the JSON field `%s`", s.page, strings.TrimSpace(s.begin), name)
			}
		}
	}
}

// TestDefaultsAreDocumented holds that the default in the comment of a
// configuration's field stands in its row, too.
func TestDefaultsAreDocumented(t *testing.T) {
	tables := read(t, "configuration.md") + read(t, "accounts.md")
	byDefault := regexp.MustCompile(`Default: ([^.;,(]+)`)
	checked := 0
	for _, file := range []string{
		"../oauthtoken/config.go",
		"../internal/pgdb/config.go",
		"../oauthtoken/authserver/config.go",
		"../oauthtoken/tokenstore/store.go",
		"../upstreamapp/app.go",
		"../upstreampool/config.go",
		"../transports/graph/config.go",
		"../smtpapp/config.go",
		"../sandbox/config.go",
		"../sandbox/fault/fault.go",
		"../transports/gmail/config.go",
		"../accounts/account.go",
		"../accounts/dynamic/dynamic.go",
		"../accounts/sql/source.go",
		"../accounts/ldap/source.go",
		"../caddymodule/statuspage/page.go",
		"../spool/config.go",
		"../limits/postgres/module.go",
		"../messagelog/config.go",
		"../connect/handler.go",
		"../console/handler.go",
		"../notify/handler.go",
	} {
		inspect(t, file, func(n ast.Node) {
			f, ok := n.(*ast.Field)
			if !ok || f.Tag == nil || f.Doc == nil {
				return
			}
			name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
			comment := strings.Join(strings.Fields(f.Doc.Text()), " ")
			m := byDefault.FindStringSubmatch(comment)
			if m == nil || name == "" {
				return
			}
			checked++
			want := strings.TrimSpace(strings.ReplaceAll(m[1], "`", ""))
			for line := range strings.Lines(tables) {
				if strings.Contains(line, "| `"+name+"` |") && strings.Contains(strings.ReplaceAll(line, "`", ""), want) {
					return
				}
			}
			t.Errorf("%s: no row of `%s` has its default %q", filepath.Base(file), name, want)
		})
	}
	if checked < 80 {
		t.Errorf("checked only %d defaults", checked)
	}
}

// TestPresetsAreDocumented holds that each preset has its row, with where it
// goes.
func TestPresetsAreDocumented(t *testing.T) {
	text := read(t, "configuration.md")
	preset := regexp.MustCompile(`(?m)^\t"(\w+)": \{\n\t\tDial: "([^"]+)", TLS: smtpclient\.(StartTLS|Implicit)`)
	all := preset.FindAllStringSubmatch(read(t, "../upstreampool/preset/preset.go"), -1)
	if len(all) < 7 {
		t.Errorf("found only %d presets", len(all))
	}
	for _, m := range all {
		if row := "| `" + m[1] + "` | `" + m[2] + "` | `" + strings.ToLower(m[3]) + "` |"; !strings.Contains(text, row) {
			t.Errorf("configuration.md has no row %q", row)
		}
	}
}

// TestRoutesAreDocumented holds that accounts.md has each admin route.
func TestRoutesAreDocumented(t *testing.T) {
	text := read(t, "accounts.md")
	var api struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(read(t, "../caddymodule/admin/openapi.json")), &api); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range api.Paths {
		for method := range methods {
			switch method = strings.ToUpper(method); method {
			case "GET", "PUT", "PATCH", "POST", "DELETE":
				n++
				if !strings.Contains(text, "`"+method+" "+path+"`") {
					t.Errorf("accounts.md does not name %s %s", method, path)
				}
			}
		}
	}
	if n < 15 {
		t.Errorf("found only %d routes", n)
	}
}

// jsonFields are the fields of a configuration struct of ours, and of those
// in it.
func jsonFields(typ reflect.Type) map[string]bool {
	all := make(map[string]bool)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			if typ != reflect.TypeFor[json.RawMessage]() {
				walk(typ.Elem())
			}
		case reflect.Struct:
			if !strings.HasPrefix(typ.PkgPath(), "github.com/caddymail/") || typ == reflect.TypeFor[accounts.Rate]() {
				return
			}
			for f := range typ.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if f.IsExported() && name != "" && name != "-" {
					all[name] = true
					walk(f.Type)
				}
			}
		}
	}
	walk(typ)
	return all
}

// TestOptionsAreDocumented holds that each option of the Caddyfile stands in
// a row of configuration.md, accounts.md or metrics.md.
func TestOptionsAreDocumented(t *testing.T) {
	var rows []string
	for _, page := range []string{"configuration.md", "accounts.md", "metrics.md"} {
		for line := range strings.Lines(read(t, page)) {
			if strings.HasPrefix(line, "| `") || strings.HasPrefix(line, "| first") {
				rows = append(rows, line)
			}
		}
	}
	table := strings.Join(rows, "")
	files, err := filepath.Glob("../caddymodule/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		inspect(t, file, func(n ast.Node) {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return
			}
			if typ, ok := lit.Type.(*ast.Ident); !ok || typ.Name != "options" {
				return
			}
			for _, e := range lit.Elts {
				key, ok := e.(*ast.KeyValueExpr).Key.(*ast.BasicLit)
				if !ok || key.Kind != token.STRING {
					continue
				}
				name, err := strconv.Unquote(key.Value)
				if err != nil {
					t.Fatal(err)
				}
				found++
				if !strings.Contains(table, "`"+name+"`") && !strings.Contains(table, "`"+name+" ") {
					t.Errorf("no row names the option %s of %s", name, filepath.Base(file))
				}
			}
		})
	}
	if found < 100 {
		t.Errorf("found only %d options", found)
	}
}
