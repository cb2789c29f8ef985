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
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/accounts/password"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*FileStorage).Lock.gowrap1"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// memory is a source that holds what a test puts there.
type memory struct {
	name  string
	index Index
}

func (m *memory) Name() string        { return m.name }
func (m *memory) Index() *Index       { return &m.index }
func (m *memory) Start() error        { return nil }
func (m *memory) Stop()               {}
func (m *memory) Problems() []Problem { return nil }

func newMemory(t testing.TB, records ...Record) *memory {
	t.Helper()
	m := &memory{name: "memory"}
	for _, r := range records {
		m.index.Set(mustCompile(t, r))
	}
	return m
}

func mustCompile(t testing.TB, r Record) *Account {
	t.Helper()
	if r.Upstream == "" {
		r.Upstream = "sandbox"
	}
	a, err := Compile(r, "memory")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newContext(t testing.TB) caddy.Context {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return ctx
}

func TestDirectoryFirstSourceWins(t *testing.T) {
	first := newMemory(t, Record{Name: "a@example.com", Upstream: "one"})
	second := newMemory(t, Record{Name: "A@example.com", Upstream: "two"}, Record{Name: "b@example.com", Upstream: "two"})
	d := NewDirectory([]Source{first, second}, nil)
	for name, want := range map[string]string{
		"a@example.com": "one", "A@EXAMPLE.COM": "one", "B@example.com": "two", "c@example.com": "",
		"": "", strings.Repeat("x", 10_000): "",
	} {
		a, ok := d.Lookup(name)
		if ok != (want != "") || ok && a.Upstream != want {
			t.Errorf("Lookup(%.20q) = %v, %v; want upstream %q", name, a, ok, want)
		}
	}
	first.index.Delete("A@example.COM")
	if a, ok := d.Lookup("a@example.com"); !ok || a.Upstream != "two" {
		t.Errorf("after the first one's deletion: %v, %v", a, ok)
	}
}

func TestAuthenticate(t *testing.T) {
	plain, hash := password.Generate()
	d := NewDirectory([]Source{newMemory(t,
		Record{Name: "a@example.com", PasswordHashes: []string{hash}},
		Record{Name: "paused@example.com", PasswordHashes: []string{hash}, Paused: true},
		Record{Name: "none@example.com"},
	)}, nil)
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"a@example.com", plain, nil},
		{"A@Example.com", plain, nil},
		{"a@example.com", plain + "x", ErrBadCredentials},
		{"a@example.com", "", ErrBadCredentials},
		{"unknown@example.com", plain, ErrBadCredentials},
		{"none@example.com", "", ErrBadCredentials},
		{"paused@example.com", plain, ErrPaused},
		{"paused@example.com", "wrong", ErrBadCredentials},
		{strings.Repeat("é", 5000), plain, ErrBadCredentials},
	} {
		a, err := d.Authenticate(t.Context(), c.name, c.password)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || (a.Account != nil) != (err == nil) {
			t.Errorf("Authenticate(%.30q) = %v, %v; want %v", c.name, a, err, c.want)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	d := NewDirectory([]Source{newMemory(t), newMemory(t, Record{Name: "someone@example.com"})}, nil)
	long := strings.Repeat("X", maxNameLen)
	for _, name := range []string{"someone@example.com", "SomeOne@Example.com", "unknown@example.com", long, long + "y"} {
		if n := testing.AllocsPerRun(100, func() { d.Lookup(name) }); n != 0 {
			t.Errorf("Lookup(%.20q): %v allocations", name, n)
		}
	}
}

func TestReadersWhileReloading(t *testing.T) {
	const accounts, rounds = 100, 25
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	write := func(round int) {
		var b strings.Builder
		for i := range accounts {
			fmt.Fprintf(&b, `{"name":"a%d@example.com","upstream":"u","labels":{"round":"%d"}}`+"\n", i, round)
		}
		if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Error(err)
		}
	}
	write(0)
	src := &FileSource{Path: path}
	if err := src.Provision(newContext(t)); err != nil {
		t.Fatal(err)
	}
	defer src.Cleanup()
	d := NewDirectory([]Source{src}, nil)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.Stop()

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				runtime.Gosched()
				name := fmt.Sprintf("A%d@example.com", i%accounts)
				if a, ok := d.Lookup(name); !ok || a.Key() != FoldName(name) {
					t.Errorf("%s: %v, %v", name, a, ok)
					return
				}
			}
		})
	}
	for round := 1; round <= rounds; round++ {
		write(round)
		if err := d.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		if a, _ := d.Lookup("a7@example.com"); a == nil || a.Labels["round"] != fmt.Sprint(round) {
			t.Errorf("after reload %d: %v", round, a.Labels)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// BenchmarkLookup looks up names in another case. `all` goes through all
// accounts, so that with 100,000 of them the time is that of a memory which no
// cache holds; `active` stays with 100 of them.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100, 10_000, 100_000} {
		list := make([]*Account, n)
		names := make([]string, n)
		for i := range list {
			list[i] = mustCompile(b, Record{Name: fmt.Sprintf("account%d@example.com", i)})
			names[i] = fmt.Sprintf("Account%d@example.com", i)
		}
		m := &memory{}
		m.index.Replace(list)
		d := NewDirectory([]Source{m}, nil)
		for _, c := range []struct {
			name string
			of   int
		}{{"active", min(n, 100)}, {"all", n}} {
			b.Run(fmt.Sprintf("%d/%s", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i += 7919 {
						if _, ok := d.Lookup(names[i%c.of]); !ok {
							b.Fatal("lost")
						}
					}
				})
			})
		}
	}
}

func TestSeedsOfOneMailboxThatDiffer(t *testing.T) {
	first := newMemory(t,
		Record{Name: "erp", Upstream: "m", Mailbox: "box@example.com", RefreshToken: "planted-1"},
		Record{Name: "nas", Upstream: "m", Mailbox: "Box@Example.com", RefreshToken: "planted-2"},
		Record{Name: "web", Upstream: "m", Mailbox: "box@example.com", RefreshToken: "planted-1"},
		Record{Name: "fax", Upstream: "m", Mailbox: "box@example.com"},
		Record{Name: "other", Upstream: "n", Mailbox: "box@example.com", RefreshToken: "planted-3"},
		Record{Name: "alone@example.com", Upstream: "m", RefreshToken: "planted-4"},
	)
	second := newMemory(t, Record{Name: "erp", Upstream: "m", Mailbox: "box@example.com", RefreshToken: "planted-5"})
	problems := NewDirectory([]Source{first, second}, nil).Problems()
	found := 0
	for _, p := range problems {
		if strings.Contains(p.String(), "planted") {
			t.Errorf("a token is shown: %s", p)
		}
		if p.Field != "refresh_token" {
			continue
		}
		if found++; p.Account != "nas" || !strings.Contains(p.Message, "'erp'") || !strings.Contains(p.Message, "Box@Example.com") {
			t.Errorf("%s", p)
		}
	}
	if found != 1 {
		t.Errorf("%d problems: %v", found, problems)
	}
}

func TestHiddenAccountsAreProblems(t *testing.T) {
	first := newMemory(t, Record{Name: "a"})
	first.name = "first"
	a, err := Compile(Record{Name: "a", Upstream: "u"}, "first")
	if err != nil {
		t.Fatal(err)
	}
	first.index.Set(a)
	d := NewDirectory([]Source{first, newMemory(t, Record{Name: "A"}, Record{Name: "b"})}, nil)
	if ps := d.Problems(); len(ps) != 1 || ps[0].Account != "A" || !strings.Contains(ps[0].Message, "from first") {
		t.Errorf("%v", ps)
	}
}

func TestModulesLoad(t *testing.T) {
	ctx := newContext(t)
	value, err := ctx.LoadModuleByID("smtp.accounts.inline", []byte(`{"accounts":[{"name":"a","upstream":"u","limits":{"rate":"30/1m"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := value.(Source).Index().Get("a"); !ok || a.Limits.Rate.Per != time.Minute {
		t.Errorf("%v", a)
	}
	if _, err := ctx.LoadModuleByID("smtp.accounts.inline", []byte(`{"accounts":[{"nmae":"a"}]}`)); err == nil || !strings.Contains(err.Error(), "nmae") {
		t.Errorf("misspelt field: %v", err)
	}
	for _, id := range []string{"smtp.accounts.file"} {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, ok := info.New().(Source); !ok {
			t.Errorf("%s is no source", id)
		}
	}
}
