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

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext \u00e9 \u4f60":    "plain\n\ttext \u00e9 \u4f60",
		"a\u202eb":                       `a\u202eb`,
		"\u2066\u200b\ufeff\u2028\u0085": `\u2066\u200b\ufeff\u2028\u0085`,
		"tag \U000e0041!":                `tag \udb40\udc41!`,
		"not \xff UTF-8":                 "not \xff UTF-8",
	} {
		var b bytes.Buffer
		if n, err := (Writer{&b}).Write([]byte(text)); n != len(text) || err != nil || b.String() != want {
			t.Errorf("%q: %q, %d, %v, want %q", text, b.String(), n, err, want)
		}
	}
	const text = "535 a\u202eb \U000e0041 \u00e9"
	body, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(Escape(body), &back); err != nil || back != text {
		t.Errorf("%q, %v", back, err)
	}
}
