// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package caddymodule

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is one subject and a package one room: what passes these is two.
const (
	maxFileLines    = 500
	maxPackageLines = 3500 // without tests
)

// TestSizes counts the lines of every file and package.
func TestSizes(t *testing.T) {
	packages := make(map[string]int)
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != ".."):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(path)[len("../"):]
		lines := bytes.Count(b, []byte("\n"))
		files++
		if lines > maxFileLines {
			t.Errorf("%s has %d lines, and %d are allowed: split it by subject", name, lines, maxFileLines)
		}
		if !strings.HasSuffix(name, "_test.go") {
			packages[filepath.ToSlash(filepath.Dir(name))] += lines
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, lines := range packages {
		if lines > maxPackageLines {
			t.Errorf("package %s has %d lines, and %d are allowed: give a part of it a package of its own", name, lines, maxPackageLines)
		}
	}
	if files < 300 || packages["caddymodule"] == 0 {
		t.Errorf("%d files and %d packages were seen: this looked elsewhere", files, len(packages))
	}
}
