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

package fold

import "testing"

func TestEqual(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"kim@example.com", "KIM@Example.COM", true}, {"jürgen", "JüRGEN", true}, {"jürgen", "JÜRGEN", false},
		{"kim", "\u212aim", false}, {"boss", "bo\u017fs", false}, {"a", "ab", false}, {"ab", "a", false}, {"\xff", "\xfe", false}, {"\xff", "\xff", true},
		{"\xff", "\ufffd", false}, {"istanbul", "\u0130stanbul", false}, {"o", "\uff4f", false},
	} {
		if got := Equal(tc.a, tc.b); got != tc.want || Equal(tc.b, tc.a) != tc.want {
			t.Errorf("%q and %q: %v", tc.a, tc.b, got)
		}
	}
}
