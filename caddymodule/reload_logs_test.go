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

package caddymodule_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// TestReloadMovesLogs holds that what outlives a reload writes where the new
// configuration has its log.
func TestReloadMovesLogs(t *testing.T) {
	dir := t.TempDir()
	options := func(file string) string {
		return fmt.Sprintf(`log mail {
		output file %s
		include smtp_upstreams
	}
	smtp_upstreams {
		upstream kept {
			transport spool sandbox {
				directory %s
				min_free 0.001 # whatever disk the tests run on
			}
		}
	}`, filepath.Join(dir, file), filepath.Join(dir, "spool"))
	}
	g := gatewaytest.New(t, options("old.log"))
	g.Load(t, options("new.log"))
	g.Do(t, "POST", "/smtp/spool/drain", "{}").Want(200)
	g.Do(t, "DELETE", "/smtp/spool/drain", "").Want(204)
	for file, want := range map[string]bool{"old.log": false, "new.log": true} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if got := err == nil && strings.Contains(string(text), "spool is drained"); got != want {
			t.Errorf("%s: the line is there: %v (%v)\n%s", file, got, err, text)
		}
	}
}
