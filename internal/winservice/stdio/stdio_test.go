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

package stdio

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRedirect(t *testing.T) {
	out, errOut := os.Stdout, os.Stderr
	t.Cleanup(func() { os.Stdout, os.Stderr = out, errOut })
	file := filepath.Join(t.TempDir(), "log", "mailgateway.log")
	say := func(words string) {
		t.Helper()
		if err := redirect(file, 10); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(os.Stdout, words)
		_ = os.Stderr.Close()
	}
	holds := func(file, want string) {
		t.Helper()
		if b, err := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", file, b, err, want)
		}
	}
	say("one ")
	say("two ")
	holds(file, "one two ")
	say("three four ")
	say("five")
	holds(file, "five")
	holds(file+".1", "one two three four ")
	if err := redirect(filepath.Join(file, strings.Repeat("x", 10)), 10); err == nil {
		t.Error("a file is no directory")
	}
}
