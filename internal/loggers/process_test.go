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

package loggers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
)

// TestProcess holds that a logger that was made under one configuration writes where
// the next one has its default log.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	load := func(file string) {
		t.Helper()
		path := filepath.Join(dir, file)
		cfg := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging": {"logs": {"default": {"writer": {"output": "file", "filename": %q}}}}}`, path)
		if err := caddy.Load([]byte(cfg), true); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	load("old.log")
	l := Process("smtp.accounts.sql")
	load("new.log")
	l.Error("cannot be read")
	for file, want := range map[string]bool{"old.log": false, "new.log": true} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil && want {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), `"logger":"smtp.accounts.sql","msg":"cannot be read"`); got != want {
			t.Errorf("%s: the line is there: %v\n%s", file, got, text)
		}
	}
}
