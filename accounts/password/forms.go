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

package password

import (
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// forms are the ways to write a password: as it came and, if a letter of it is none of
// ASCII's, as another client or keyboard would have written the same letters. A letter
// with its accent is one code point or two (RFC 4013 and RFC 8265 have both made one of),
// and old devices know one octet for it alone (Windows-1252).
func forms(password string) []string {
	list := []string{password}
	for i := range len(password) {
		if password[i] < utf8.RuneSelf {
			continue
		}
		text := password
		if !utf8.ValidString(text) {
			text, _ = charmap.Windows1252.NewDecoder().String(text)
		}
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if other := form.String(text); other != password {
				list = append(list, other)
			}
		}
		break
	}
	return list
}
