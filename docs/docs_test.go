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
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the manual and the README, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d pages (%v)", len(files), err)
	}
	all := make(map[string]string)
	for _, file := range append(files, "../README.md") {
		all[file] = read(t, file)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testName is how a page names a test: `package.TestName`, with or without a
// subtest.
var testName = regexp.MustCompile("`([a-z0-9]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]*)(?:/[^`]*)?`")

// TestNamedTests holds that each test that a page names exists, and that each
// row of the tables of promises names one.
func TestNamedTests(t *testing.T) {
	exist := testFunctions(t)
	for file, text := range pages(t) {
		for i, line := range strings.Split(text, "\n") {
			names := testName.FindAllStringSubmatch(line, -1)
			for _, n := range names {
				if !exist[n[1]+"."+n[2]] {
					t.Errorf("%s:%d: there is no test %s in package %s", file, i+1, n[2], n[1])
				}
			}
			switch file {
			case "security.md", "protocol.md", "bottlenecks.md":
			default:
				continue
			}
			if len(names) == 0 && strings.HasPrefix(line, "|") && inProofTable(text, i) {
				t.Errorf("%s:%d: the row names no test", file, i+1)
			}
		}
	}
}

// inProofTable tells whether line i is a row of a table whose heading has a
// column for the test or the command.
func inProofTable(text string, i int) bool {
	lines := strings.Split(text, "\n")
	head := i
	for head > 0 && strings.HasPrefix(lines[head-1], "|") {
		head--
	}
	heading := lines[head]
	return i > head+1 && (strings.Contains(heading, "| test |") || strings.Contains(heading, "| command |"))
}

func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	var files []string
	for _, depth := range []string{"*", "*/*", "*/*/*"} {
		found, err := filepath.Glob("../" + depth + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	all := make(map[string]bool)
	for _, file := range files {
		for _, m := range function.FindAllStringSubmatch(read(t, file), -1) {
			all[filepath.Base(filepath.Dir(file))+"."+m[1]] = true
		}
	}
	return all
}

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	notAnchor = regexp.MustCompile("[^a-z0-9 _-]")
)

// TestLinks holds that links within the repository lead somewhere.
func TestLinks(t *testing.T) {
	for file, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: link %s: no such file", file, m[1])
				continue
			}
			if anchor != "" && strings.HasSuffix(path, ".md") && !anchors(read(t, path))[anchor] {
				t.Errorf("%s: link %s: no such heading", file, m[1])
			}
		}
	}
}

func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(withoutCode(text), -1) {
		id := notAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(strings.TrimSpace(id), " ", "-")] = true
	}
	return all
}

// withoutCode drops fenced blocks.
func withoutCode(text string) string {
	var out []string
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
