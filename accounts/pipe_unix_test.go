//go:build unix

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

package accounts

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFileIsAPipe has a named pipe in the place of the file: it keeps no load, and
// the file behind it is read.
func TestFileIsAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	replaceFile(t, path, `{"name":"a","upstream":"1"}`+"\n")
	s := openFile(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if err := s.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, path, `{"name":"b","upstream":"1"}`+"\n")
	if err := s.Reload(t.Context()); err != nil || names(s.Index()) != "b=1" {
		t.Errorf("the file behind it: %v, %s", err, names(s.Index()))
	}
}

// TestFileEndsWithinALine is a file that another program is still writing, or that
// lost its end: nothing that it does not hold is gone. Once it is whole it counts.
func TestFileEndsWithinALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	line := func(name string) string { return `{"name":"` + name + `","upstream":"1"}` + "\n" }
	replaceFile(t, path, line("a")+line("b")+line("c")+line("d"))
	s := openFile(t, path)
	for _, end := range []string{`{"na`, `{"name":"c","upst`, "\x00\x00\x00", `{"name":"c","upstream":"1"}` + "\x00"} {
		replaceFile(t, path, line("a")+line("b")+end)
		if err := s.Reload(t.Context()); err != nil || names(s.Index()) != "a=1 b=1 c=1 d=1" {
			t.Errorf("end %q: %v, %s", end, err, names(s.Index()))
		}
		if ps := s.Problems(); len(ps) != 1 || !ps[0].Kept || ps[0].Line != 3 {
			t.Errorf("end %q: problems %v", end, ps)
		}
	}
	// A bad line elsewhere, or with its end, keeps no one who was taken out.
	for _, text := range []string{"# ours\n" + line("a") + line("b"), line("a") + line("b") + "# ours\n", line("a") + strings.TrimSuffix(line("b"), "\n")} {
		replaceFile(t, path, line("a")+line("b")+line("c"))
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		replaceFile(t, path, text)
		if err := s.Reload(t.Context()); err != nil || names(s.Index()) != "a=1 b=1" {
			t.Errorf("text %q: %v, %s", text, err, names(s.Index()))
		}
	}
}
