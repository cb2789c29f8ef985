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
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestLoggersArePrintable finds a module that takes Caddy's logger as it is, or
// sends an event, which Caddy logs: what others say would reach the log as they
// said it.
func TestLoggersArePrintable(t *testing.T) {
	found := 0
	err := eachFile(func(file string) error {
		if strings.HasSuffix(file, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		wrapped := make(map[ast.Node]bool)
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			switch {
			case !ok:
			case calls(call, "printable", "Logger"):
				found++
				wrapped[call.Args[0]] = true
			case named(call) == "Emit":
				// The data comes last.
				if last, ok := call.Args[len(call.Args)-1].(*ast.CallExpr); !ok || !calls(last, "printable", "Event") {
					t.Errorf("%s: the data of an event that is not printable.Event's", files.Position(call.Pos()))
				}
			case (calls(call, "ctx", "Logger") || calls(call, "caddy", "Log") || calls(call, "ctx", "Slogger")) && !wrapped[call]:
				t.Errorf("%s: a logger that is not printable.Logger's", files.Position(call.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if found < 15 {
		t.Errorf("only %d loggers found", found)
	}
}

// named is the name of a called method or function of a package.
func named(call *ast.CallExpr) string {
	if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
		return sel.Sel.Name
	}
	return ""
}

// calls reports whether a call is of x.name.
func calls(call *ast.CallExpr, x, name string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == x
}
