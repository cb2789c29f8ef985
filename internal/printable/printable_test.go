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

package printable

import "testing"

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"a@example.com":        "a@example.com",
		"bü@例え.example":        "bü@例え.example",
		"a\u202eb":             `a\u202eb`,
		"\u2066x\u2069\u200b":  `\u2066x\u2069\u200b`,
		"a\r\nb\x1b\x7f\u0085": `a\r\nb\x1b\x7f\u0085`,
		"\u2028\u2029\ufeff":   `\u2028\u2029\ufeff`,
		"\xff\U000e0001":       `\xff\U000e0001`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestCut holds that no half of a character is left.
func TestCut(t *testing.T) {
	for text, want := range map[string]string{"": "", "four": "four", "fives": "five...", "füöf": "fü..."} {
		if got := Cut(text, 4); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
