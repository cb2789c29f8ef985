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

package setup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/caddymail/mailgateway/setup"
)

const added = "\toauth_tokens {\n\t\tprovider new generic {\n\t\t\ttoken_url https://id.example.com/token\n\t\t\tclient_id x\n\t\t\tclient_secret y\n\t\t}\n\t}\n"

// TestProposeKeepsAll adds to files of many shapes; whatever stood there stands there
// afterwards, octet for octet, and in the configuration that comes of it.
func TestProposeKeepsAll(t *testing.T) {
	site := "http://localhost:8025 {\n\trespond \"}\"\n}\n"
	for name, text := range map[string]string{
		"empty":                        "",
		"a site alone":                 site,
		"options":                      "{\n\tadmin off\n}\n" + site,
		"an indented end":              "{\n\tadmin off\n\n\n\t\t}\n" + site,
		"comments with braces":         "# { x\n{ # }\n\t# }\n\tadmin off # } {\n}\n" + site,
		"quoted braces":                "{\n\temail \"} {\"\n\tadmin `off`\n}\n" + site,
		"a provider that is there":     "{\n\toauth_tokens {\n\t\tprovider old generic {\n\t\t\ttoken_url https://id.example.com/t\n\t\t\tclient_id `}`\n\t\t\tclient_secret \"a\\\"}\"\n\t\t}\n\t}\n}\n",
		"a snippet first":              "(log) {\n\tlog\n}\n{\n\tadmin off\n}\n" + "http://localhost:8025 {\n\timport log\n}\n",
		"a snippet and no options":     "(log) {\n\tlog\n}\n" + "http://localhost:8025 {\n\timport log\n}\n",
		"lines of another system":      "{\r\n\tadmin off\r\n}\r\n" + strings.ReplaceAll(site, "\n", "\r\n"),
		"no line end":                  "{\n\tadmin off\n}",
		"a placeholder":                "{\n\temail {$MAIL:a@example.com}\n}\n" + site,
		"an address without its brace": "http://localhost:8025\nrespond 404\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
			p, err := Propose(file, added)
			if err != nil {
				if name == "an address without its brace" {
					t.Logf("refused: %v", err) // two ways to write it: either is right
					return
				}
				t.Fatal(err)
			}
			loaded := ""
			if err := p.Write(func(adapted []byte) error { loaded = string(adapted); return nil }); err != nil {
				t.Fatal(err)
			}
			now, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rest := string(now)
			for line := range strings.Lines(text) {
				word := strings.TrimSpace(line)
				i := strings.Index(rest, word)
				if i < 0 {
					t.Fatalf("%q is lost or has moved:\n%s", word, now)
				}
				rest = rest[i+len(word):]
			}
			if strings.Count(string(now), added) != 1 || !strings.Contains(loaded, `"new":{`) {
				t.Errorf("what was added is not there:\n%s\n%s", now, loaded)
			}
			if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o640 {
				t.Errorf("the mode: %v %v", st, err)
			}
			if before, err := os.ReadFile(file + ".before"); err != nil || string(before) != text {
				t.Errorf("what was there is not kept: %q %v", before, err)
			}
			if list, err := os.ReadDir(filepath.Dir(file)); err != nil || len(list) != 2 {
				t.Errorf("something is left over: %v %v", list, err)
			}
		})
	}
}

// TestProposeRefuses leaves alone what it cannot be sure of.
func TestProposeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no Caddyfile":           "{\n\tno_such_option\n}\n",
		"a heredoc":              "{\n\tservers {\n\t\tname <<X\n\t}\n\tX\n\t}\n}\n",
		"a provider of its name": "{\n" + added + "}\n",
		"half a file":            "{\n\tadmin off\n",
		"a brace too many":       "}\n{\n\tadmin off\n}\n",
	} {
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := Propose(file, added); err == nil {
			t.Errorf("%s: planned:\n%s", name, p.Added)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != text {
			t.Errorf("%s: the file is another", name)
		}
	}
	if _, err := Propose(filepath.Join(t.TempDir(), "Caddyfile"), added); err == nil {
		t.Error("a file that is not there")
	}
}

// TestPlanMeetsAnotherChange is about an editor that was faster, before the load and
// during it, and about a configuration that does not run.
func TestPlanMeetsAnotherChange(t *testing.T) {
	const text, theirs = "{\n\tadmin off\n}\n", "{\n\tadmin off\n\t# mine\n}\n"
	file := filepath.Join(t.TempDir(), "Caddyfile")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want string) {
		t.Helper()
		if now, err := os.ReadFile(file); err != nil || string(now) != want {
			t.Errorf("the file has %q (%v), want %q", now, err, want)
		}
	}
	propose := func() *Plan {
		t.Helper()
		p, err := Propose(file, added)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	write(text)
	p := propose()
	write(theirs)
	if err := p.Write(func([]byte) error { t.Error("it is loaded"); return nil }); !errors.Is(err, ErrChanged) {
		t.Errorf("changed before: %v", err)
	}
	want(theirs)
	if again := propose(); again.Hash == p.Hash {
		t.Error("two texts have one plan's name")
	}
	write(text)
	if err := propose().Write(func([]byte) error { write(theirs); return nil }); !errors.Is(err, ErrChanged) {
		t.Errorf("changed during the load: %v", err)
	}
	want(theirs)
	bad := errors.New("it does not run")
	if err := propose().Write(func([]byte) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("a configuration that does not run: %v", err)
	}
	want(theirs)
	// A link stays one: what it leads to is written.
	link := filepath.Join(filepath.Dir(file), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	p, err := Propose(link, added)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link: %s %v", to, err)
	}
}
