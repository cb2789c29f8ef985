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

package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
)

// names asks a source for names, together, and returns what is said of each.
func names(t *testing.T, s *Source, names ...string) map[string]string {
	t.Helper()
	own := *s
	var err error
	if own.Config, err = s.Config.Resolve(); err != nil {
		t.Fatal(err)
	}
	if s.Config.Schema == "" {
		own.Config.Schema = ""
	}
	r, err := own.reader()
	if err != nil {
		t.Fatal(err)
	}
	if r.db, err = own.Config.Open(); err != nil {
		t.Fatal(err)
	}
	defer r.db.Close()
	found, err := r.Read(t.Context(), names)
	if err != nil {
		t.Fatalf("%s: %v", s.Name(), err)
	}
	said := make(map[string]string)
	for name, f := range found {
		if f.Account != nil {
			said[name] = f.Account.Mailbox
			continue
		}
		said[name] = f.Problem.String()
	}
	return said
}

// TestOneNameSpoilsNoOther holds that a client's name that the column's type cannot
// hold is unknown, and no failure of the database: who is asked for beside it is found.
func TestOneNameSpoilsNoOther(t *testing.T) {
	db := newDatabase(t,
		`CREATE TABLE numbers (name int PRIMARY KEY)`, `INSERT INTO numbers SELECT generate_series(1, 20)`,
		`CREATE TABLE uuids (name uuid PRIMARY KEY)`, `INSERT INTO uuids VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')`,
		`CREATE DOMAIN address AS text CHECK (VALUE ~ '^[a-z0-9]+@[a-z.]+$')`,
		`CREATE TABLE checked (name address PRIMARY KEY)`, `INSERT INTO checked VALUES ('a@example.com')`,
		`CREATE TYPE who AS ENUM ('a@example.com', 'b@example.com')`,
		`CREATE TABLE enums (name who PRIMARY KEY)`, `INSERT INTO enums VALUES ('a@example.com')`)
	db.exec(`CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
	db.execIn("latin", `CREATE TABLE people (name text PRIMARY KEY, box text)`, `INSERT INTO people VALUES ('a@example.com', 'a@example.com'), ('ä@example.com', 'ä')`)
	latin := db.startDSN(db.dsn("latin"), &Source{Table: "people", Columns: map[string]string{"mailbox": "box"}, Upstream: "up"})
	if a, err := latin.Load(t.Context(), "ä@example.com"); err != nil || a == nil || a.Mailbox != "ä" {
		t.Errorf("a name that both encodings have: %v, %v", a, err)
	}
	for _, tc := range []struct {
		s    *Source
		good string
		bad  []string
	}{
		{db.start(&Source{Table: "numbers", Upstream: "up"}), "7", []string{"a@example.com", "99999999999999999999", "", "7.5", "0x", "{}"}},
		{db.start(&Source{Table: "uuids", Upstream: "up"}), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", []string{"a@example.com", "a0eebc99"}},
		{db.start(&Source{Table: "checked", Upstream: "up"}), "a@example.com", []string{"nobody", "ä@example.com"}},
		{db.start(&Source{Table: "enums", Upstream: "up"}), "a@example.com", []string{"c@example.com"}},
		{latin, "a@example.com", []string{"\u0416@example.com", "\u20ac"}},
	} {
		asked := []string{tc.good}
		for i := range 40 {
			asked = append(asked, fmt.Sprintf("%s%d", tc.bad[i%len(tc.bad)], i))
		}
		asked = append(asked, tc.bad...)
		got := names(t, tc.s, asked...)
		if got[tc.good] != tc.good {
			t.Errorf("%s: the good name: %v", tc.s.Name(), got)
		}
		delete(got, tc.good)
		for name, said := range got {
			if name != said { // 7.5 followed by figures may be a number
				t.Errorf("%s: %s: %s", tc.s.Name(), name, said)
			}
		}
		d := directory(tc.s)
		if _, err := d.Get(context.Background(), tc.bad[0]); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("%s: %s: %v, want that it is unknown", tc.s.Name(), tc.bad[0], err)
		}
		if p := tc.s.Problems(); len(p) != 0 {
			t.Errorf("%s: %v", tc.s.Name(), p)
		}
	}
}

// TestOneRowSpoilsNoOther holds that a row that the server cannot make text of is that
// account's problem, not the source's: neither at the start nor beside others.
func TestOneRowSpoilsNoOther(t *testing.T) {
	db := newDatabase(t, `CREATE TABLE people (name text PRIMARY KEY, settings text, tags json)`,
		`INSERT INTO people SELECT 'user' || i || '@example.com', '3', '{}' FROM generate_series(1, 100) i`,
		`UPDATE people SET settings = 'many' WHERE name = 'user7@example.com'`,
		`UPDATE people SET tags = '{"site": "\u0000"}' WHERE name = 'user8@example.com'`)
	s := db.start(&Source{
		Query:   "SELECT name, settings::int AS conns, tags FROM people -- all of them;",
		Columns: map[string]string{"max_conns": "conns", "labels": "tags"}, Upstream: "up",
	})
	d := directory(s)
	for i := range 20 {
		name := fmt.Sprintf("user%d@example.com", i+1)
		_, err := d.Get(context.Background(), name)
		if bad := i == 6 || i == 7; bad && !errors.Is(err, accounts.ErrUnavailable) || !bad && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var asked []string
	for i := range 100 {
		asked = append(asked, fmt.Sprintf("user%d@example.com", i+1))
	}
	got := names(t, s, asked...)
	if len(got) != 100 {
		t.Errorf("%d of 100 rows are known", len(got))
	}
	if want := `sql: account "user7@example.com": the row cannot be read: `; !strings.HasPrefix(got["user7@example.com"], want) || strings.Contains(got["user7@example.com"], "many") {
		t.Errorf("got %s, want %s", got["user7@example.com"], want)
	}
	if p := s.Problems(); len(p) != 2 {
		t.Errorf("problems %v, want those of two rows", p)
	}
}

// TestStartFindsWhatALoginFinds holds that what the sample brings is what the same names
// bring: a row that no name finds is not an account until its first minute has passed.
func TestStartFindsWhatALoginFinds(t *testing.T) {
	db := newDatabase(t,
		`CREATE TABLE mixed (name text)`, `INSERT INTO mixed VALUES ('A@Example.com'), (' b@example.com '), ('c@example.com'), (NULL), (''), (E'd\nx@example.com')`,
		`CREATE TABLE twice (name text)`, `INSERT INTO twice SELECT 'a@example.com' FROM generate_series(1, 100)`)
	s := db.start(&Source{Table: "mixed", Upstream: "up"})
	until(t, "the sample", func() bool { return s.Index().Len() > 0 })
	for name, want := range map[string]bool{"a@example.com": false, "b@example.com": false, "c@example.com": true} {
		if _, ok := s.Index().Get(name); ok != want {
			t.Errorf("%s: held %v, want %v", name, ok, want)
		}
	}
	if p := s.Problems(); len(p) != 1 || p[0].Field != "columns.name" || !strings.Contains(p[0].Message, "column 'name': there are names with capital letters") {
		t.Errorf("problems %v, want that of names that nobody finds", p)
	}
	twice := db.start(&Source{Table: "twice", Upstream: "up"})
	until(t, "the sample", func() bool { return len(twice.Problems()) == 1 })
	if n := twice.Index().Len(); n != 0 {
		t.Errorf("%d accounts of a name that many rows have", n)
	}
}

// TestLooseTypes holds what values mean in the types that tables have them in.
func TestLooseTypes(t *testing.T) {
	db := newDatabase(t, `CREATE TABLE people (name text PRIMARY KEY, n numeric(5,2), f float8, b bit(1), c text, pw bytea)`,
		`INSERT INTO people VALUES ('zero', 0, 0, '0', ' no ', NULL), ('one', 1, 1, '1', 'Y', NULL), ('nan', 'NaN', 'NaN', '0', 'maybe', NULL), ('null', NULL, NULL, NULL, NULL, NULL)`,
		`INSERT INTO people (name, n) VALUES ('minus', -1)`, `INSERT INTO people (name, pw) VALUES ('octets', '$2y$10$secret')`)
	for column, want := range map[string]map[string]string{
		"n": {"zero": "off", "one": "on", "nan": "bad", "null": "off", "minus": "on"},
		"f": {"zero": "off", "one": "on", "nan": "bad", "null": "off"},
		"b": {"zero": "off", "one": "on", "null": "off"},
		"c": {"zero": "off", "one": "on", "nan": "bad", "null": "off"},
	} {
		s := db.start(&Source{Table: "people", Columns: map[string]string{"active": column}, Upstream: "up"})
		for name, want := range want {
			a, err := s.Load(t.Context(), name)
			got := "off"
			if err != nil {
				got = "bad"
			} else if !a.Paused {
				got = "on"
			}
			if got != want {
				t.Errorf("%s of %s: %s, want %s (%v)", column, name, got, want, err)
			}
		}
	}
	s := db.start(&Source{Table: "people", Columns: map[string]string{"max_conns": "n", "password_hashes": "pw"}, Upstream: "up"})
	if a, err := s.Load(t.Context(), "one"); err != nil || a.Limits.MaxConns != 1 {
		t.Errorf("1.00 connections: %v, %v", a, err)
	}
	for name, column := range map[string]string{"minus": "n", "octets": "pw", "nan": "n"} {
		_, err := s.Load(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), "column '"+column+"': ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want its column", name, err)
		}
	}
}

// TestErrorsNameTheOption holds that what the server says of a configuration is said with
// the option that is to be changed.
func TestErrorsNameTheOption(t *testing.T) {
	db := newDatabase(t, `CREATE TABLE people (name text PRIMARY KEY, n int, j json)`, `INSERT INTO people VALUES ('a@example.com')`,
		`CREATE TABLE slow (name text)`, `INSERT INTO slow VALUES ('a@example.com')`)
	for _, tc := range []struct {
		s    Source
		want string
	}{
		{Source{Table: "peple"}, "field 'table'"},
		{Source{Table: "nowhere.people"}, "field 'table'"},
		{Source{Table: "people", Columns: map[string]string{"mailbox": "boxx"}}, "field 'columns.mailbox'"},
		{Source{Table: "people", Columns: map[string]string{"name": "email"}}, "field 'columns.name'"},
		{Source{Table: "people", Columns: map[string]string{"name": "j"}}, "field 'columns.name'"},
		{Source{Table: "people", Columns: map[string]string{"name": "n"}, Lower: true}, "field 'lower'"},
		{Source{Query: "SELECT * FROM people WHERE name = $1"}, "field 'query'"},
		{Source{Query: "SELECT * FROM people WHERE name = '%u' AND name = ?"}, "field 'query'"},
		{Source{Query: "SELECT name FROM people; SELECT 1"}, "field 'query'"},
		{Source{Query: "DELETE FROM people RETURNING name"}, "field 'query'"},
		{Source{Query: "SELECT a.name, b.name FROM people a, people b"}, "field 'columns.name'"},
		{Source{Query: "SELECT name, 1/0 AS n FROM people", Columns: map[string]string{"max_conns": "n"}}, "division by zero"},
		{Source{Query: "SELECT name, pg_sleep(60) FROM slow OFFSET 0"}, "no answer within the field timeout"},
	} {
		s := tc.s
		s.Upstream, s.Timeout = "up", caddy.Duration(2*time.Second)
		db.start(&s)
		_, err := s.Load(t.Context(), "a@example.com")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %v: %v, want %s", s.Name()+s.Query, s.Columns, err, tc.want)
		}
	}
	s := &Source{Query: "SELECT name, pg_sleep(1)::text FROM slow OFFSET 0", Upstream: "up"}
	db.startDSN(db.DSN()+"&statement_timeout=200", s)
	if _, err := s.Load(t.Context(), "b@example.com"); err == nil || !strings.Contains(err.Error(), "statement timeout") {
		t.Errorf("a statement that lasts too long: %v", err)
	}
}

// TestRestartIsNotNoticed holds that connections that a restart of the server cut fail
// nobody's login.
func TestRestartIsNotNoticed(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email) SELECT 'user' || i || '@example.com' FROM generate_series(1, 200) i`)
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up", Poll: hour, Fresh: hour, Stale: hour})
	d := directory(s)
	done := make(chan error)
	for i := range 8 { // connections
		go func() {
			_, err := d.Get(context.Background(), fmt.Sprintf("user%d@example.com", 100+i))
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	db.Kill()
	db.Up()
	for i := range 20 {
		if _, err := d.Get(context.Background(), fmt.Sprintf("user%d@example.com", 150+i)); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
	db.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
	if _, err := d.Get(context.Background(), "user190@example.com"); err != nil {
		t.Errorf("after an administrator's command: %v", err)
	}
}
