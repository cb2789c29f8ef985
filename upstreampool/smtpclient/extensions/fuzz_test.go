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

package extensions

import (
	"strings"
	"testing"
)

func FuzzEHLOLine(f *testing.F) {
	for _, s := range []string{
		"PIPELINING", "SIZE 35882577", "SIZE", "SIZE -1", "SIZE 99999999999999999999", "AUTH LOGIN PLAIN XOAUTH2",
		"AUTH=LOGIN PLAIN", "AUTH=", "AUTH", "8 BITMIME", "auth\txoauth2", "", " ", "CHUNKING x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var s Set
		s.Line(line)
		if (s.plain || s.login || s.xoauth2 || s.oauthBearer) && !s.Auth {
			t.Errorf("%q: %+v", line, s)
		}
	})
}

// FuzzPath checks that an address that passes can't leave its brackets.
func FuzzPath(f *testing.F) {
	for _, s := range []string{`a@b`, `"a b"@c`, `"a\"b"@c`, `"a`, `a\`, `"\`, "a>b", `"a>"@c`, "é@b", "a\r\nb"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, utf bool) {
		if !safePath(s, utf) {
			return
		}
		if strings.ContainsAny(s, "<>\r\n\x00\t") || !utf && strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e }) {
			t.Fatalf("%q passes", s)
		}
		outside := true
		for i := 0; i < len(s); i++ {
			switch {
			case !outside && s[i] == '\\':
				i++
			case s[i] == '"':
				outside = !outside
			case outside && s[i] == ' ':
				t.Fatalf("%q passes", s)
			}
		}
	})
}
