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

package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnknownUpstream: an account of the configuration that names an upstream
// which is not there is an error; for those of a file there is a warning.
func TestUnknownUpstream(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	load := func(accounts string) error {
		t.Helper()
		adapted, err := adapt(t, fmt.Sprintf(`{
			log {
				output file %s
			}
			smtp_upstreams {
				upstream known {
					dial 127.0.0.1:25
					auth none
				}
			}
			smtp {
				hostname gateway.example.com
				accounts {
					%s
				}
			}
		}`, log, accounts))
		if err != nil {
			t.Fatal(err)
		}
		_, err = provision(t, adapted)
		return err
	}
	wantError(t, load("account a@example.com {\nupstream knwon\n}"), `account "a@example.com": upstream: 'knwon' is not configured in smtp_upstreams`)

	path := filepath.Join(dir, "accounts.jsonl")
	lines := `{"name":"b@example.com","upstream":"knwon"}` + "\n" + `{"name":"c@example.com","upstream":"known"}` + "\n" + `{"name":"d@example.com","upstream":"knwon"}` + "\n"
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := load("file " + path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	const want = `"msg":"accounts name an upstream that is not configured","upstream":"knwon","accounts":2,"account":"b@example.com"`
	if !strings.Contains(string(b), want) {
		t.Errorf("no warning %s in\n%s", want, b)
	}
}
