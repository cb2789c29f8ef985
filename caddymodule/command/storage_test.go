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

package command

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"
)

// TestStorageCopy holds what the command says and how it ends: what it copies
// is package transfer's test.
func TestStorageCopy(t *testing.T) {
	dir := t.TempDir()
	config := func(name string) string {
		file := filepath.Join(dir, name+".json")
		text := fmt.Sprintf(`{"storage": {"module": "file_system", "root": %q}}`, filepath.Join(dir, name))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	from, to := config("from"), config("to")
	run := func(args ...string) (string, error) {
		cmd := &cobra.Command{Use: "smtp"}
		Setup(cmd)
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"storage", "copy"}, args...))
		err := cmd.ExecuteContext(context.Background())
		return out.String(), err
	}
	source, target := &certmagic.FileStorage{Path: filepath.Join(dir, "from")}, &certmagic.FileStorage{Path: filepath.Join(dir, "to")}
	if err := source.Store(t.Context(), "smtp/tokens/a", []byte(`{"seq":1}`)); err != nil {
		t.Fatal(err)
	}
	out, err := run("--from", from, "--to", to, "--dry-run")
	if err != nil || !strings.Contains(out, "1 values, 9 bytes: 1 would be copied") || target.Exists(t.Context(), "smtp/tokens/a") {
		t.Errorf("dry run: %s, %v", out, err)
	}
	out, err = run("--from", from, "--to", to)
	if err != nil || !strings.Contains(out, "1 copied and read back, 0 were there") || !target.Exists(t.Context(), "smtp/tokens/a") {
		t.Errorf("%s, %v", out, err)
	}
	if err := target.Store(t.Context(), "smtp/tokens/a", []byte(`{"seq":2}`)); err != nil {
		t.Fatal(err)
	}
	out, err = run("--from", from, "--to", to)
	if err == nil || !strings.Contains(out, "newer, left as it is: smtp/tokens/a") {
		t.Errorf("a newer target: %s, %v", out, err)
	}
	if err := source.Store(t.Context(), "smtp/tokens/a", []byte(`{"seq":3}`)); err != nil {
		t.Fatal(err)
	}
	if err := target.Store(t.Context(), "smtp/accounts/removed", []byte("1")); err != nil {
		t.Fatal(err)
	}
	out, err = run("--from", from, "--to", to)
	if err == nil || !strings.Contains(out, "in the target alone, left there: smtp/accounts/removed") || !strings.Contains(err.Error(), "would be back") {
		t.Errorf("an account that the source has not: %s, %v", out, err)
	}
	if _, err = run("--from", from, "--to", from); err == nil || !strings.Contains(err.Error(), "the same storage") {
		t.Errorf("one storage: %v", err)
	}
	if _, err = run("--from", filepath.Join(dir, "none.json"), "--to", to); err == nil || !strings.Contains(err.Error(), "flag --from") {
		t.Errorf("no file: %v", err)
	}
}
