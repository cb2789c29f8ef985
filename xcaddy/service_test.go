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

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/winservice/stdio"
)

// TestServiceLog holds that a service's log file gets what Caddy's logger
// writes before there is a configuration, although that logger keeps the
// standard error that it finds as the program starts.
func TestServiceLog(t *testing.T) {
	const message = "what a service says first"
	if os.Getenv(stdio.Env) != "" {
		caddy.Log().Error(message)
		return
	}
	file := filepath.Join(t.TempDir(), "log", "mailgateway.log")
	cmd := exec.Command(os.Args[0], "-test.run", "^TestServiceLog$") //nolint:gosec // this binary
	cmd.Env = append(os.Environ(), stdio.Env+"="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), message) {
		t.Errorf("the file holds %q (%v)", b, err)
	}
}
