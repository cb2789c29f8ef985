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
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
)

var update = flag.Bool("update", false, "write what the fixtures adapt to into them")

const (
	fixtureSep = "----------\n"
	caseSep    = "==========\n"
)

// adapt turns a Caddyfile into JSON as `caddy adapt --pretty` does.
func adapt(tb testing.TB, body string) (string, error) {
	tb.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(body), nil)
	if err != nil {
		return "", err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, adapted, "", "\t"); err != nil {
		tb.Fatal(err)
	}
	return pretty.String(), nil
}

// fixture is one case of a fixture file.
type fixture struct {
	name, caddyfile, want string
}

func readFixtures(tb testing.TB, pattern string) []fixture {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "adapt", pattern))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no fixtures %s: %v", pattern, err)
	}
	var all []fixture
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for text := range strings.SplitSeq(string(content), caseSep) {
			caddyfile, want, ok := strings.Cut(text, fixtureSep)
			if !ok && !*update {
				tb.Fatalf("%s: no line of dashes", file)
			}
			all = append(all, fixture{
				name:      strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"),
				caddyfile: caddyfile,
				want:      strings.TrimSpace(want),
			})
		}
	}
	return all
}

func TestAdapt(t *testing.T) {
	for _, f := range readFixtures(t, "ok_*.caddyfiletest") {
		t.Run(f.name, func(t *testing.T) {
			got, err := adapt(t, f.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				path := filepath.Join("testdata", "adapt", f.name+".caddyfiletest")
				if err := os.WriteFile(path, []byte(f.caddyfile+fixtureSep+got+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != f.want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, f.want)
			}
		})
	}
}

func TestAdaptErrors(t *testing.T) {
	for _, f := range readFixtures(t, "err_*.caddyfiletest") {
		t.Run(f.name, func(t *testing.T) {
			got, err := adapt(t, f.caddyfile)
			if err == nil {
				t.Fatalf("no error for\n%s\nadapted to\n%s", f.caddyfile, got)
			}
			if f.want == "" || !strings.Contains(err.Error(), f.want) {
				t.Errorf("error %q does not say %q", err, f.want)
			}
		})
	}
}
