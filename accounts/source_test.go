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
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/plaintext"
)

func openFile(t *testing.T, path string) *FileSource {
	t.Helper()
	s := &FileSource{Path: path}
	if err := s.Provision(newContext(t)); err != nil {
		t.Fatal(err)
	}
	s.logger = zap.NewNop()
	s.state.setLogger(s.logger)
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

// replaceFile puts a new file in the place of the old one.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func names(x *Index) string {
	var s []string
	for _, a := range x.All() {
		s = append(s, a.Name+"="+a.Upstream)
	}
	return strings.Join(s, " ")
}

func TestFileBadLineKeepsTheOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	replaceFile(t, path, "\xef\xbb\xbf"+`{"name":"a","upstream":"1"}`+"\r\n\n"+
		`{"name":"b","upstream":"1","senders":["x*@y"],"refresh_token":"MARKED"}`+"\n"+
		`{"name":"c","upstream":"1","nope":1}`+"\n"+
		`{"name":"d","upstream":"1"}`+"\n"+
		`{"name":"D","upstream":"2"}`+"\n"+
		`{"upstream":"1", "name":"e", "secret":["MARKED"]}`+"\n"+
		`{"name":"f","upstream":`+"\n"+
		`null`+"\n"+
		`{"name":"g","upstream":"1","limits":{"rate":"MARKED"}}`+"\n"+
		strings.Repeat("x", plaintext.MaxLine+1)+"\n"+
		`{"name":"h","upstream":"1"} {"name":"i"}`+"\n"+
		`{"name":"z","upstream":"1"}`)
	s := openFile(t, path)
	if got := names(s.Index()); got != "a=1 d=1 z=1" {
		t.Errorf("accounts: %s", got)
	}
	var got strings.Builder
	for _, p := range s.Problems() {
		got.WriteString(strings.TrimPrefix(p.String(), path) + "\n")
	}
	want := `:3: account "b": field 'senders[0]': malformed sender pattern: * stands for a whole local part or for everything
:4: account "c": field 'nope': unknown field
:6: account "D": field 'name': duplicate account, the first one counts
:7: account "e": field 'secret': got JSON array, want a string
:8: account "f": malformed JSON: it ends too early
:9: want a JSON object
:10: account "g": field 'limits.rate': malformed rate "MARKED": want COUNT/PERIOD, as in 30/1m
:11: line is longer than 1 MiB
:12: account "h": more than one JSON value
`
	if got.String() != want {
		t.Errorf("problems:\n%s\nwant:\n%s", got.String(), want)
	}
}

func TestFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	replaceFile(t, path, `{"name":"a","upstream":"1"}`+"\n"+`{"name":"b","upstream":"1"}`+"\n")
	s := openFile(t, path)
	reload := func(text string) error {
		t.Helper()
		replaceFile(t, path, text)
		return s.Reload(t.Context())
	}
	before, _ := s.Index().Get("a")

	// The bad line's account stays as it was; the good one changes.
	if err := reload(`{"name":"a","upstream":"1"}` + "\n" + `{"name":"b","upstream":"2","oops":1}` + "\n" + `{"name":"c","upstream":"2"}`); err != nil {
		t.Error(err)
	}
	if got := names(s.Index()); got != "a=1 b=1 c=2" {
		t.Errorf("accounts: %s", got)
	}
	if ps := s.Problems(); len(ps) != 1 || !ps[0].Kept || ps[0].Line != 2 || ps[0].Field != "oops" {
		t.Errorf("problems: %v", ps)
	}
	if a, _ := s.Index().Get("a"); a != before {
		t.Error("an unchanged line made a new account")
	}
	// So it stays through a second bad version.
	if err := reload(`{"name":"a","upstream":"1"}` + "\n" + `{"name":"b","upstream":` + "\n"); err != nil {
		t.Error(err)
	}
	if got := names(s.Index()); got != "a=1 b=1" {
		t.Errorf("accounts: %s", got)
	}
	// What is no accounts file at all changes nothing, and says where.
	for range 2 {
		if err := reload("<html>\n<body>MARKED"); err == nil || !strings.Contains(err.Error(), path+":1") {
			t.Errorf("garbage: %v", err)
		}
		if got := names(s.Index()); got != "a=1 b=1" {
			t.Errorf("accounts: %s", got)
		}
		if ps := s.Problems(); len(ps) == 0 || ps[0].Line != 1 || !strings.Contains(ps[0].Message, "stay as they were") {
			t.Errorf("problems: %v", ps)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if got := names(s.Index()); got != "a=1 b=1" {
		t.Errorf("accounts: %s", got)
	}
	if ps := s.Problems(); len(ps) == 0 || !strings.Contains(ps[0].Message, path) {
		t.Errorf("problems: %v", ps)
	}
	if err := reload(`{"name":"d","upstream":"1"}`); err != nil {
		t.Error(err)
	}
	if got := names(s.Index()); got != "d=1" || len(s.Problems()) != 0 {
		t.Errorf("accounts: %s, problems: %v", got, s.Problems())
	}
}

// A disk that is full and an editor that is killed leave files that are empty
// or cut off. They cost nothing until an operator confirms them.
func TestFileThatLosesAccounts(t *testing.T) {
	line := func(i int) string { return fmt.Sprintf(`{"name":"a%d","upstream":"1"}`+"\n", i) }
	lines := func(n int) (text string) {
		for i := range n {
			text += line(i)
		}
		return text
	}
	for name, tc := range map[string]struct {
		text string
		left int // accounts once it is confirmed
		kept bool
	}{
		"empty":               {"", 0, true},
		"blank lines":         {"\n\n\r\n", 0, true},
		"mark only":           {"\xef\xbb\xbf", 0, true},
		"cut to less than ½":  {lines(4), 4, true},
		"cut within a line":   {lines(4) + line(5)[:10], 4, true},
		"one":                 {lines(1), 1, true},
		"half":                {lines(5), 5, false},
		"more":                {lines(20), 20, false},
		"others, as many":     {strings.ReplaceAll(lines(10), `"a`, `"b`), 10, false},
		"bad lines keep them": {strings.ReplaceAll(lines(10), `"upstream":"1"`, `"upstream":1`) + line(11), 11, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "accounts.jsonl")
			replaceFile(t, path, lines(10))
			s := openFile(t, path)
			replaceFile(t, path, tc.text)
			// The watcher looks, again and again.
			for range 3 {
				if err := s.state.load(); (err != nil) != tc.kept {
					t.Fatalf("load: %v", err)
				}
			}
			if !tc.kept {
				if s.Index().Len() != tc.left {
					t.Fatalf("%d accounts", s.Index().Len())
				}
				return
			}
			// Nobody was told yet, so that the reload confirms nothing.
			if err := s.Reload(t.Context()); err == nil || s.Index().Len() != 10 {
				t.Fatalf("a reload that came first: %v, %d accounts", err, s.Index().Len())
			}
			if ps := s.Problems(); len(ps) == 0 || !strings.Contains(ps[0].Message, "of 10 accounts") || !strings.Contains(ps[0].Message, "caddy reload --force") {
				t.Fatalf("problems: %v", ps)
			}
			// A change after that is another loss to be told of.
			replaceFile(t, path, tc.text+"\n")
			if err := s.Reload(t.Context()); err == nil || s.Index().Len() != 10 {
				t.Fatalf("confirmed what nobody was told of: %v, %d accounts", err, s.Index().Len())
			}
			if err := s.Reload(t.Context()); err != nil || s.Index().Len() != tc.left {
				t.Fatalf("confirmed: %v, %d accounts", err, s.Index().Len())
			}
			// And the whole file counts at once.
			replaceFile(t, path, lines(10))
			if err := s.state.load(); err != nil || s.Index().Len() != 10 {
				t.Fatalf("whole again: %v, %d accounts", err, s.Index().Len())
			}
		})
	}
}

func TestFileIsWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	replaceFile(t, path, `{"name":"a","upstream":"1"}`+"\n")
	s := openFile(t, path)
	d := NewDirectory([]Source{s}, nil)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	replaceFile(t, path, `{"name":"b","upstream":"1"}`+"\n")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, ok := d.Lookup("b"); ok {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the change is not seen")
		}
	}
	if _, ok := d.Lookup("a"); ok {
		t.Error("removed, and still there")
	}
}

func TestFileSurvivesReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	replaceFile(t, path, `{"name":"a","upstream":"1"}`+"\n")
	first := openFile(t, path)
	d := NewDirectory([]Source{first}, nil)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	a, _ := d.Lookup("a")
	second := openFile(t, path)
	d2 := NewDirectory([]Source{second}, nil)
	if b, _ := d2.Lookup("a"); a != b {
		t.Error("parsed again")
	}
	// Changed shortly before the reload: it counts when the reload is done.
	replaceFile(t, path, `{"name":"b","upstream":"1"}`+"\n")
	if err := d2.Start(); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	if _, ok := d2.Lookup("b"); !ok {
		t.Error("the reload did not read the changed file")
	}
	d2.Stop()
	if n, _ := files.References(path); n != 2 {
		t.Errorf("%d references", n)
	}
}

func TestFileProvisionErrors(t *testing.T) {
	dir := t.TempDir()
	for _, s := range []*FileSource{{}, {Path: filepath.Join(dir, "missing")}, {Path: dir}, {Path: "{env.NOT_SET_AT_ALL}/x"}} {
		err := s.Provision(newContext(t))
		if err == nil || s.Path != "" && !strings.HasPrefix(s.Path, "{") && !strings.Contains(err.Error(), s.Path) {
			t.Errorf("%q: %v", s.Path, err)
		}
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	}
}

func TestInline(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAILGATEWAY_TEST_HASH", password.HashGenerated("x"))
	s := &InlineSource{Accounts: []Record{{
		Name: "a", Upstream: "u", RefreshToken: "{file." + file + "}", Secret: "literal", PasswordHashes: []string{"{env.MAILGATEWAY_TEST_HASH}"},
	}}}
	if err := s.Provision(newContext(t)); err != nil {
		t.Fatal(err)
	}
	a, ok := s.Index().Get("A")
	if !ok || a.RefreshToken != "from-file" || a.Secret != "literal" || a.Passwords()["sha256"] != 1 {
		t.Errorf("%v", a)
	}
	if s.Accounts[0].RefreshToken != "{file."+file+"}" || s.Accounts[0].PasswordHashes[0] != "{env.MAILGATEWAY_TEST_HASH}" {
		t.Error("the configuration was changed")
	}
	for want, bad := range map[string][]Record{
		`account "a": field 'refresh_token'`:      {{Name: "a", Upstream: "u", RefreshToken: "{env.NOT_SET_AT_ALL}"}},
		`account "a": field 'secret'`:             {{Name: "a", Upstream: "u", Secret: "{file." + dir + "/missing}"}},
		`account "a": field 'password_hashes[0]'`: {{Name: "a", Upstream: "u", PasswordHashes: []string{"x"}}},
		`inline account 2: field 'name'`:          {{Name: "a", Upstream: "u"}, {Upstream: "u"}},
		`account "A": field 'name': duplicate`:    {{Name: "a", Upstream: "u"}, {Name: "A", Upstream: "u"}},
	} {
		err := (&InlineSource{Accounts: bad}).Provision(newContext(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Passwords is for tests.
func (a *Account) Passwords() map[string]int { return a.Redacted().Passwords }

func TestList(t *testing.T) {
	one := newMemory(t)
	two := newMemory(t)
	for i := range 50 {
		r := Record{Name: fmt.Sprintf("N%02d", i), Upstream: fmt.Sprint("u", i%2), Paused: i%5 == 0, Labels: map[string]string{"i": fmt.Sprint(i % 3)}}
		m := one
		if i%3 == 0 {
			m = two
		}
		m.index.Set(mustCompile(t, r))
		if i == 7 { // hidden by the first source
			r.Upstream = "hidden"
			two.index.Set(mustCompile(t, r))
		}
	}
	d := NewDirectory([]Source{one, two}, nil)
	for _, limit := range []int{0, 1, 7, 50, 100} {
		var all []string
		after := ""
		for {
			page, next := d.List(Filter{}, after, limit)
			for _, a := range page {
				all = append(all, a.Name)
			}
			if limit > 0 && len(page) > limit {
				t.Fatalf("%d accounts on a page of %d", len(page), limit)
			}
			if next == "" {
				break
			}
			after = next
		}
		if len(all) != 50 || all[0] != "N00" || all[49] != "N49" {
			t.Errorf("limit %d: %v", limit, all)
		}
	}
	for want, f := range map[int]Filter{
		10: {State: "paused"}, 40: {State: "active"}, 25: {Upstream: "u1"}, 17: {Label: "i=0"}, 16: {Label: "i=2"},
		50: {Label: "i"}, 0: {Upstream: "hidden"}, 5: {State: "paused", Upstream: "u1"}, 1: {Match: func(a *Account) bool { return a.Name == "N33" }},
	} {
		if page, _ := d.List(f, "", 0); len(page) != want {
			t.Errorf("%+v: %d accounts", f, len(page))
		}
	}
	for _, f := range []Filter{{State: "nonsense"}, {Label: "j"}, {Source: "file"}} {
		if page, _ := d.List(f, "", 0); len(page) != 0 {
			t.Errorf("%+v: %d accounts", f, len(page))
		}
	}
	one.index.Delete("n01")
	if page, next := d.List(Filter{}, "n00", 1); len(page) != 1 || page[0].Name != "N02" || next != "N02" {
		t.Errorf("after a deletion: %v", page)
	}
}

func FuzzAccountsLine(f *testing.F) {
	f.Add([]byte(`{"name":"a@example.com","upstream":"gmail","password_hashes":["sha256:00"],"limits":{"rate":"30/1m","max_conns":3},"labels":{"k":"v"}}`))
	f.Add([]byte("{\"name\":\"a\",\"upstream\":\"u\"}\n{\"name\":\"A\",\"upstream\":\"u\"}\r\n\nnull\n[]"))
	f.Add([]byte(`{"name":"a","upstream":`))
	f.Add([]byte("\xef\xbb\xbf{\"NAME\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var old Index
		p, err := parseLines(strings.NewReader(string(data)), "file x", "x", nil, &old)
		if err != nil {
			t.Fatal(err)
		}
		old.Replace(p.accounts)
		if old.Len() != len(p.accounts) {
			t.Error("two accounts of one name")
		}
		for _, pr := range p.problems {
			if pr.Line < 1 || pr.Message == "" {
				t.Errorf("problem: %+v", pr)
			}
		}
		// The same again gives the same accounts.
		q, err := parseLines(strings.NewReader(string(data)), "file x", "x", p, &old)
		if err != nil || len(q.accounts) != len(p.accounts) || len(q.problems) != len(p.problems) {
			t.Errorf("the second time: %v, %d and %d accounts", err, len(p.accounts), len(q.accounts))
		}
	})
}

// BenchmarkParse reads a file of ten thousand accounts, new, and again with
// one line changed.
func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, `{"name":"account%d@example.com","upstream":"gmail","password_hashes":["%s"],"refresh_token":"1//%050d","labels":{"team":"%d"}}`+"\n",
			i, password.HashGenerated(fmt.Sprint(i)), i, i%10)
	}
	var index Index
	first, err := parseLines(strings.NewReader(text.String()), "file x", "x", nil, &index)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if _, err := parseLines(strings.NewReader(text.String()), "file x", "x", nil, &index); err != nil {
				b.Fatal(err)
			}
		}
	})
	changed := strings.Replace(text.String(), `"team":"5"`, `"team":"x"`, 1)
	b.Run("one-changed", func(b *testing.B) {
		for b.Loop() {
			p, err := parseLines(strings.NewReader(changed), "file x", "x", first, &index)
			if err != nil {
				b.Fatal(err)
			}
			index.Replace(p.accounts)
		}
	})
	b.Run("set-one", func(b *testing.B) {
		a := mustCompile(b, Record{Name: "account5@example.com"})
		other := mustCompile(b, Record{Name: "account5@example.com"})
		for i := 0; b.Loop(); i++ {
			if i%2 == 0 {
				index.Set(a)
			} else {
				index.Set(other)
			}
		}
	})
}
