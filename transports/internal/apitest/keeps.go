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
	"strconv"
	"strings"
	"testing"
)

// Keeps holds that the table of docs/transports.md says of a transport what its
// defaults are: words is what a row's cell has to contain, by the row's name.
func Keeps(t *testing.T, kind string, words map[string]string) {
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
		want, ok := words[strings.Trim(cells[0], "| ")]
		if !ok {
			continue
		}
		found++
		if column >= len(cells) || !strings.Contains(cells[column], want) {
			t.Errorf("%s does not say %q of %s: %s", cells[0], want, kind, line)
		}
	}
	if found != len(words) {
		t.Errorf("%d of %d rows are in the table", found, len(words))
	}
}

// Commas writes a number as the page does.
func Commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
