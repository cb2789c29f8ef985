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

package notify

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var checkInSource = regexp.MustCompile(`(?:Check(?:: *| = )|\n\t[A-Z][A-Za-z]+ += )"([a-z_]+)"`)

// TestEveryTroubleHasItsWords compares the kinds of trouble that the source finds
// without asking the network with the headings of notices and the manual's table.
func TestEveryTroubleHasItsWords(t *testing.T) {
	found := map[string]bool{}
	for _, pattern := range []string{"../operate/examine.go", "../spool/illness/illness.go", "../internal/pgdb/examine.go", "../limits/postgres/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range checkInSource.FindAllStringSubmatch(string(b), -1) {
				found[m[1]] = true
			}
		}
	}
	want := slices.Sorted(maps.Keys(found))
	if got := slices.Sorted(maps.Keys(headings)); !slices.Equal(got, want) {
		t.Errorf("headings for %q, and the source finds %q", got, want)
	}
	page, err := os.ReadFile("../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range want {
		if !strings.Contains(string(page), "\n| `"+check+"`") && !strings.Contains(string(page), ", `"+check+"` |") {
			t.Errorf("docs/notify.md has no row for %s", check)
		}
	}
}
