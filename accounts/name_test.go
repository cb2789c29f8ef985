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

package accounts_test

import (
	"testing"

	"github.com/caddymail/mailgateway/accounts"
)

func TestCheckNewName(t *testing.T) {
	for _, name := range []string{"scanner@example.com", "scanner", "room-2.scanner_x", "müller@exämple.de", "a+b@example.com", "EXAMPLE\\scanner", "u00003", "o'neil@example.com", "#1"} {
		if err := accounts.CheckNewName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "bad name@x y", "scanner room 2", " a", "a ", "a\u00a0b", "<a@b.example>", "A <a@b.example>", "a@b.example,", "a@b.example;c@b.example", "“a”", "a\u200b@b.example", "@b.example", "a@", "a\tb"} {
		if err := accounts.CheckNewName(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
