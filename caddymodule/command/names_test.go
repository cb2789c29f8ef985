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

package command_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/command"
	"github.com/caddymail/mailgateway/explain"
)

// namedCommand finds what a text tells its reader to run: up to two words.
var namedCommand = regexp.MustCompile("(?:caddy|mailgateway) smtp ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")

// TestNamedCommandsExist looks at each command that strings, pages and manual
// tell an operator to run.
func TestNamedCommandsExist(t *testing.T) {
	root := &cobra.Command{Use: "smtp"}
	command.Setup(root)
	find := func(parent *cobra.Command, name string) *cobra.Command {
		for _, c := range parent.Commands() {
			if c.Name() == name {
				return c
			}
		}
		return nil
	}
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != "../.." && strings.HasPrefix(name, ".") && name != ".." || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".js", ".html", ".json", ".yaml", ".yml", ".sh", ".Caddyfile":
		default:
			return nil
		}
		// Tests name what does not exist, decisions what was.
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "decisions.md") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range namedCommand.FindAllStringSubmatch(string(b), -1) {
			c := find(root, m[1])
			if c == nil {
				t.Errorf("%s: there is no command %q", path, m[0])
				continue
			}
			found++
			if c.HasSubCommands() && m[2] != "" && find(c, m[2]) == nil {
				t.Errorf("%s: there is no command %q", path, m[0])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 60 {
		t.Errorf("only %d commands found", found)
	}
}

// runnable finds a command of Caddy's or ours in a text.
var runnable = regexp.MustCompile(`\bcaddy (smtp [a-z]|reload|hash-password|storage)`)

// TestCommandsCanBeRun holds that what the program tells people to run has the name that
// it was called by: each such text goes through invoked.Words.
func TestCommandsCanBeRun(t *testing.T) {
	const root = "../.."
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			switch {
			case strings.HasPrefix(d.Name(), ".") && rel != ".", rel == "bench", rel == "caddymodule/gatewaytest":
				return filepath.SkipDir // no text for people
			}
			return nil
		}
		switch {
		case !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		case strings.HasPrefix(rel, "explain/"), strings.HasPrefix(rel, "spool/illness/"): // they have one way out
			return nil
		case rel == "relay/table.go", rel == "oauthtoken/authserver/reasons.go": // replies, which clients compare
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				// NameBinary has them.
				if key, ok := n.Key.(*ast.Ident); ok && (key.Name == "Example" || key.Name == "Long") {
					return false
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Words" {
					found++
					return false
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING && runnable.MatchString(n.Value) {
					t.Errorf("%s: %s is told as it stands", rel, n.Value)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 20 {
		t.Errorf("only %d texts found", found)
	}
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	for binary, want := range map[string]string{"/usr/bin/mailgateway": "`mailgateway smtp login a@example.com`", "/usr/bin/caddy": "`caddy smtp login a@example.com`"} {
		os.Args = []string{binary}
		e := explain.About{Account: "a@example.com"}.OAuth("no_refresh_token", "")
		if !strings.Contains(e.Remedy, want) {
			t.Errorf("%s: %s", binary, e.Remedy)
		}
	}
}

// TestMistypedCommand holds that a script does not go on after one.
func TestMistypedCommand(t *testing.T) {
	for args, want := range map[string]string{
		"accounts list":  "did you mean 'account'?",
		"account lst":    "did you mean 'list'?",
		"tset a@b.c":     "did you mean 'test'?",
		"qwertz":         "there is no command 'smtp qwertz'",
		"account qwertz": "only ",
	} {
		cmd := &cobra.Command{Use: "smtp", SilenceErrors: true}
		command.Setup(cmd)
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	cmd := &cobra.Command{Use: "smtp"}
	command.Setup(cmd)
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs([]string{}) // nil stands for the arguments of the test itself
	if err := cmd.Execute(); err != nil || !strings.Contains(out.String(), "account") {
		t.Errorf("help: %v, %s", err, out.String())
	}
}

// TestHelpNamesTheManual holds that help leads to these commands' pages, under
// the name that the binary has.
func TestHelpNamesTheManual(t *testing.T) {
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	for binary, want := range map[string]string{"/usr/bin/mailgateway": "mailgateway smtp account add", "/usr/bin/caddy": "caddy smtp account add"} {
		os.Args = []string{binary}
		root := &cobra.Command{Use: "caddy"}
		root.SetHelpTemplate(root.HelpTemplate() + "\nFull documentation is available at:\nhttps://caddyserver.com/docs/command-line\n")
		cmd := &cobra.Command{Use: "smtp"}
		command.Setup(cmd)
		root.AddCommand(cmd)
		var out strings.Builder
		root.SetOut(&out)
		root.SetArgs([]string{"smtp", "account", "add", "--help"})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.Contains(text, want) || !strings.Contains(text, "caddymail/mailgateway/tree/main/docs") || strings.Contains(text, "caddyserver.com") {
			t.Errorf("%s: %s", binary, text)
		}
	}
}
