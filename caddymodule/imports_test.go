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
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowedImports says who may import whom among our packages. decisions.md
// says why relay is one of them.
var allowedImports = map[string][]string{
	"accounts":     {},
	"grant":        {},
	"relay":        {"accounts"},
	"smtpapp":      {"accounts", "relay", "internal/front"},
	"upstreampool": {"accounts", "grant", "relay"},
	"oauthtoken":   {"grant"},
	"sandbox":      {},

	// Sockets, generations and admission: for SMTP today, for IMAP next.
	"internal/front": {},
	// The protocol knows no account and no Caddy: relay is for replies.
	"smtpapp/smtpserver": {"relay"},

	"caddymodule": {"accounts", "grant", "relay", "smtpapp", "upstreampool", "oauthtoken", "sandbox"},
}

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

// TestImportRule holds the import rule of the design, section 3.
func TestImportRule(t *testing.T) {
	root := ".."
	for pkg, allowed := range allowedImports {
		err := filepath.WalkDir(filepath.Join(root, pkg), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			isTest := strings.HasSuffix(path, "_test.go")
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				if reason := forbidden(pkg, imported, allowed, isTest); reason != "" {
					t.Errorf("%s imports %s: %s", path, imported, reason)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func forbidden(pkg, imported string, allowed []string, isTest bool) string {
	if name, ok := strings.CutPrefix(imported, ours); ok {
		top, rest, _ := strings.Cut(name, "/")
		if top == "internal" { // each of them is a room of its own
			sub, _, _ := strings.Cut(rest, "/")
			top += "/" + sub
		}
		if top != pkg && !slices.Contains(allowed, top) && (!isTest || top != "sandbox" && name != "internal/freeport") {
			return "not among " + strings.Join(allowed, ", ")
		}
		return ""
	}
	// Tests may drive the real thing from outside.
	if pkg == "caddymodule" || isTest {
		return ""
	}
	if pkg == "smtpapp/smtpserver" && strings.HasPrefix(imported, "github.com/caddyserver/") {
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
		{"smtpapp", ours + "upstreampool", false, true},
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
		{"smtpapp/smtpserver", ours + "accounts", false, true},
		{"smtpapp/smtpserver", "github.com/caddyserver/caddy/v2", false, true},
		{"relay", "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile", false, true},
		{"caddymodule", "github.com/mholt/caddy-l4/layer4", false, false},
	} {
		got := forbidden(tc.pkg, tc.imported, allowedImports[tc.pkg], tc.isTest)
		if (got != "") != tc.want {
			t.Errorf("%s importing %s: %q", tc.pkg, tc.imported, got)
		}
	}
}
