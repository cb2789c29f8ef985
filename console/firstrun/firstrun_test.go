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

package firstrun

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStartedWithAnother is about a `setup` that names a copy of what the process was
// started with.
func TestStartedWithAnother(t *testing.T) {
	dir := t.TempDir()
	file, copied, link := filepath.Join(dir, "Caddyfile"), filepath.Join(dir, "copy"), filepath.Join(dir, "link")
	for _, name := range []string{file, copied} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"caddy", "run", "--config", file}, ""},
		{[]string{"caddy", "run", "--config=" + link, "--watch"}, ""},
		{[]string{"caddy", "run", "-c", copied}, copied},
		{[]string{"caddy", "run", "--config=" + copied}, copied},
		{[]string{"caddy", "run", "--config", filepath.Join(dir, "gone")}, filepath.Join(dir, "gone")},
		{[]string{"caddy", "smtp", "setup", "--browser"}, ""},
		{[]string{"caddy", "run", "--config"}, ""},
	} {
		if got := startedWithAnother(c.args, file); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}
