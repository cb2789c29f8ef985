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

package nearest

import "testing"

func TestOf(t *testing.T) {
	presets := []string{"microsoft365", "gmail", "outlook", "zoho", "yahoo"}
	for word, want := range map[string]string{
		"microsoft356":  "microsoft365", // two letters swapped
		"microsft365":   "microsoft365",
		"Microsoft-365": "microsoft365",
		"gmial":         "gmail",
		"outlok":        "outlook",
		"zoo":           "zoho",
		"prov":          "",
		"x":             "",
		"":              "",
	} {
		if got := Of(word, presets); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := Hint("gmial", presets); got != "; did you mean 'gmail'?" {
		t.Errorf("got %q", got)
	}
}

func FuzzOf(f *testing.F) {
	f.Add("gmial", "gmail")
	f.Fuzz(func(t *testing.T, word, name string) {
		if distance(word, word) != 0 && len([]rune(word)) <= 64 {
			t.Errorf("%q differs from itself", word)
		}
		if d, e := distance(word, name), distance(name, word); d != e {
			t.Errorf("%q, %q: %d, %d", word, name, d, e)
		}
	})
}
