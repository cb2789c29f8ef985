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

package apitest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Kept is what a row of the table says of a transport: words in its cell, and what
// holds them, which is a test of the package, or of another, as its folder from
// here, a full stop and the name.
type Kept [2]string

// Keeps holds that the table of docs/transports.md says of a transport what its
// defaults are and what tests hold: each row is to be among these, by its name.
func Keeps(t *testing.T, kind string, rows map[string]Kept) {
	t.Helper()
	page, err := os.ReadFile("../../docs/transports.md")
	if err != nil {
		t.Fatal(err)
	}
	column, found := 0, 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if column == 0 {
			for i, c := range cells {
				if strings.Trim(c, "|` ") == kind {
					column = i
				}
			}
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break // the table's end
		}
		if strings.HasPrefix(line, "|--") {
			continue
		}
		name := strings.Trim(cells[0], "| ")
		row, ok := rows[name]
		if !ok {
			t.Errorf("nothing holds what the table says of %s", name)
			continue
		}
		found++
		if column >= len(cells) || !strings.Contains(cells[column], row[0]) {
			t.Errorf("%s does not say %q of %s: %s", name, row[0], kind, line)
		}
		if !has(t, row[1]) {
			t.Errorf("%s: there is no test %s", name, row[1])
		}
	}
	if found != len(rows) {
		t.Errorf("%d of %d rows are in the table", found, len(rows))
	}
}

// has reports whether a test is there.
func has(t *testing.T, test string) bool {
	t.Helper()
	folder, name := ".", test
	if i := strings.LastIndexByte(test, '.'); i >= 0 {
		folder, name = test[:i], test[i+1:]
	}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "func "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// Commas writes a number as the page does.
func Commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
