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

package ondemand

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
)

// held is an accounts.Source over a cache that somebody else runs.
type held struct{ *Cache }

func (held) Name() string             { return "table" }
func (held) Start() error             { return nil }
func (held) Stop()                    {}
func (held) Missed(string)            {}
func (h held) Index() *accounts.Index { return h.Cache.Index() }

// fixed is a source of accounts that are all there.
type fixed struct{ index accounts.Index }

func (*fixed) Name() string                 { return "fixed" }
func (f *fixed) Index() *accounts.Index     { return &f.index }
func (*fixed) Start() error                 { return nil }
func (*fixed) Stop()                        {}
func (*fixed) Problems() []accounts.Problem { return nil }

// people is a reader of accounts whose password is "right", unless their name says otherwise.
type people struct {
	table
	records map[string]accounts.Record
}

func (p *people) Read(ctx context.Context, names []string) (map[string]Found, error) {
	if _, err := p.table.Read(ctx, names); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found := make(map[string]Found)
	for _, n := range names {
		if rec, ok := p.records[n]; ok {
			a, err := accounts.Compile(rec, "table")
			if err != nil {
				panic(err)
			}
			found[n] = Found{Account: a}
		}
	}
	return found, p.err
}

func (p *people) put(rec accounts.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec.Upstream = "up"
	p.records[rec.Name] = rec
}

// bcrypt is a hash of "right" of the least cost.
const bcrypt = "$2a$04$0QtC0wIhEibCbkon7cJfOu4UkAPdOmU4ocqdTHclwPD8fCtbnH4K6"

func newPeople() *people {
	p := &people{table: table{rows: make(map[string]string), takes: 30 * time.Millisecond}, records: make(map[string]accounts.Record)}
	for _, n := range []string{"held", "cold", "gone", "changes"} {
		p.put(accounts.Record{Name: n, PasswordHashes: []string{bcrypt}})
	}
	p.put(accounts.Record{Name: "paused", PasswordHashes: []string{bcrypt}, Paused: true})
	p.put(accounts.Record{Name: "locked"})
	return p
}

func run(t *testing.T, p Reader, set Options) *Cache {
	t.Helper()
	c := New("table", p, set, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return c
}

// TestGuess holds that who tries names and passwords cannot tell who is there: neither
// by the time of an answer nor by the answer, at the first attempt and at each other,
// whatever is held and remembered, in this source and in those around it, with a source
// that answers and with one that does not.
func TestGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPeople(), newPeople()
		clear(two.records)
		two.put(accounts.Record{Name: "second", PasswordHashes: []string{bcrypt}})
		set := Options{Size: 100, Fresh: time.Minute, Stale: time.Hour, Negative: 10 * time.Second, Batch: 10, Readers: 8}
		first, second := run(t, one, set), run(t, two, set)
		var front fixed
		a, err := accounts.Compile(accounts.Record{Name: "file", Upstream: "up", PasswordHashes: []string{bcrypt}}, "fixed")
		if err != nil {
			t.Fatal(err)
		}
		front.index.Replace([]*accounts.Account{a})
		d := accounts.NewDirectory([]accounts.Source{&front, held{first}, held{second}}, zap.NewNop())
		// Who is in use is held.
		for _, n := range []string{"held", "gone", "paused", "locked", "changes", "second"} {
			if _, err := d.Get(t.Context(), n); err != nil {
				t.Fatal(n, err)
			}
		}
		time.Sleep(3 * set.Fresh)
		synctest.Wait()
		one.mu.Lock()
		delete(one.records, "gone")
		one.mu.Unlock()

		n := 0
		try := func(name, secret string) string {
			ops := password.Process().Computations()
			began := time.Now()
			_, err := d.Authenticate(t.Context(), name, secret)
			took := time.Since(began)
			after := password.Process().Computations()
			said := "refused"
			switch {
			case err == nil:
				said = "let in"
			case errors.Is(err, accounts.ErrOverloaded):
				said = "later"
			}
			return fmt.Sprint(said, " after ", took, " and ", after[password.Bcrypt]-ops[password.Bcrypt], " hashes")
		}
		all := []string{"held", "cold", "gone", "paused", "locked", "second", "file"}
		round := func(when string) {
			t.Helper()
			n++
			if one.err != nil {
				_ = try("somebody", "guess") // finds out for all
			}
			want := try("nobody", fmt.Sprint("guess", n))
			for _, name := range all {
				if got := try(name, fmt.Sprint("guess", n)); got != want {
					t.Errorf("%s, %s: %s, an unknown name: %s", when, name, got, want)
				}
			}
			t.Logf("%s: %s", when, want)
		}
		round("at first")
		round("at once again")
		time.Sleep(10 * time.Second)
		round("what is remembered has ended for all")
		for range 5 {
			time.Sleep(25 * time.Second)
			round("later")
		}
		time.Sleep(2 * set.Fresh)
		one.fail(errors.New("away"))
		round("the source is away")
		time.Sleep(time.Second + 1)
		round("the source is away still")
		time.Sleep(10 * set.Fresh)
		round("for long")
		if got := try("held", "right"); got != "let in after 0s and 1 hashes" {
			t.Errorf("a right password: %s", got)
		}
		one.fail(nil)
		time.Sleep(set.Fresh)
		round("it is back")
	})
}

// TestPausedGuess holds that a right password of a paused account cannot be told from a
// wrong one, and that of several hashes it is not seen which one it is.
func TestPausedGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeople()
		p.put(accounts.Record{Name: "paused", PasswordHashes: []string{bcrypt, "$2a$04$abcdefghijklmnopqrstuuCBPVlQdSsmLVzqVBLF.9hMgCI6dJxTi"}, Paused: true})
		c := run(t, p, Options{Size: 100, Fresh: time.Minute, Stale: time.Hour, Negative: 10 * time.Second, Batch: 10, Readers: 8})
		d := accounts.NewDirectory([]accounts.Source{held{c}}, zap.NewNop())
		cost := func(secret string, want error) string {
			ops, began := password.Process().Computations(), time.Now()
			if _, err := d.Authenticate(t.Context(), "paused", secret); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", secret, err, want)
			}
			return fmt.Sprint(time.Since(began), password.Process().Computations()[password.Bcrypt]-ops[password.Bcrypt])
		}
		for i := range 3 {
			time.Sleep(time.Minute)
			wrong := cost("wrong", accounts.ErrBadCredentials)
			time.Sleep(time.Minute)
			if right := cost("right", accounts.ErrPaused); right != wrong {
				t.Errorf("attempt %d: right %s, wrong %s", i, right, wrong)
			}
		}
		// Resumed a moment ago: it is let in.
		time.Sleep(11 * time.Second)
		p.put(accounts.Record{Name: "paused", PasswordHashes: []string{bcrypt}})
		cost("right", nil)
	})
}

// TestNewPasswordAtOnce holds that a password that was changed in the table a moment ago is
// taken, and the old one no longer once the new one was.
func TestNewPasswordAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeople()
		c := run(t, p, Options{Size: 100, Fresh: time.Hour, Stale: 2 * time.Hour, Negative: 10 * time.Second, Batch: 10, Readers: 8})
		d := accounts.NewDirectory([]accounts.Source{held{c}}, zap.NewNop())
		login := func(name, secret string, want error) {
			t.Helper()
			if _, err := d.Authenticate(t.Context(), name, secret); !errors.Is(err, want) {
				t.Errorf("%s with %s: %v, want %v", name, secret, err, want)
			}
		}
		login("changes", "right", nil)
		time.Sleep(time.Minute)
		p.put(accounts.Record{Name: "changes", PasswordHashes: []string{password.HashGenerated("another")}})
		login("changes", "another", nil)
		login("changes", "right", accounts.ErrBadCredentials)
		login("locked", "right", accounts.ErrBadCredentials)
		time.Sleep(time.Minute)
		p.put(accounts.Record{Name: "locked", PasswordHashes: []string{bcrypt}})
		login("locked", "right", nil)
	})
}
