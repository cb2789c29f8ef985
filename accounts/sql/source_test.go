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
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
)

const people = `CREATE TABLE people (
	email text PRIMARY KEY, pw text, token text, via text, box varchar(80), enabled bool DEFAULT true,
	senders text[], per_minute text, conns int, tags jsonb, "From IP" inet, spooled char(8), changed timestamptz DEFAULT now())`

func wholeMap() map[string]string {
	return map[string]string{
		"name": "email", "password_hashes": "pw", "refresh_token": "token", "upstream": "via", "mailbox": "box", "active": "enabled",
		"senders": "senders", "rate": "per_minute", "max_conns": "conns", "labels": "tags", "source_ip": "From IP", "spool": "spooled",
		"updated_at": "changed",
	}
}

func TestRowsBecomeAccounts(t *testing.T) {
	db := newDatabase(t, people)
	hash := password.HashGenerated("secret")
	bcrypt := "$2a$04$abcdefghijklmnopqrstuuCBPVlQdSsmLVzqVBLF.9hMgCI6dJxTi"
	db.exec(`INSERT INTO people (email, pw, token, via, box, senders, per_minute, conns, tags, "From IP", spooled) VALUES
			('all@example.com', '` + hash + " {BLF-CRYPT}" + bcrypt + `', 'refresh', 'ms', 'robot@example.com', '{*@example.com,second@example.org}', '30/1m', 3,
			 '{"site": "berlin", "floor": 3}', '192.0.2.10', 'always')`)
	db.exec(`INSERT INTO people (email, pw, via) VALUES ('least@example.com', NULL, NULL), ('locked@example.com', '!` + hash + `', '')`)
	db.exec(`INSERT INTO people (email, enabled) VALUES ('off@example.com', false), ('null@example.com', NULL)`)
	s := db.start(&Source{Table: "public.people", Columns: wholeMap(), Upstream: "gmail"})

	get := func(name string) accounts.Record {
		t.Helper()
		a, err := directory(s).Get(context.Background(), name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return a.Record
	}
	want := accounts.Record{
		Name: "all@example.com", Upstream: "ms", Mailbox: "robot@example.com", PasswordHashes: []string{hash, bcrypt}, RefreshToken: "refresh",
		Senders: []string{"*@example.com", "second@example.org"}, Limits: &accounts.Limits{MaxConns: 3, Rate: accounts.Rate{Count: 30, Per: time.Minute}},
		SourceIP: "192.0.2.10", Spool: "always", Labels: map[string]string{"site": "berlin", "floor": "3"},
	}
	if got := get("ALL@example.com"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", map[string]any{"record": got.Redacted()}, map[string]any{"record": want.Redacted()})
	}
	if got := get("least@example.com"); got.Upstream != "gmail" || got.Mailbox != "least@example.com" || len(got.PasswordHashes) != 0 || got.Paused {
		t.Errorf("a row of nulls became %+v", got.Redacted())
	}
	if got := get("locked@example.com"); len(got.PasswordHashes) != 0 {
		t.Errorf("a locked row has passwords: %+v", got.Redacted())
	}
	if !get("off@example.com").Paused || !get("null@example.com").Paused {
		t.Error("an account that is not active is not paused")
	}
	d := directory(s)
	wantLogin(t, d, "all@example.com", "secret", nil)
	wantLogin(t, d, "all@example.com", "wrong", accounts.ErrBadCredentials)
	wantLogin(t, d, "least@example.com", "", accounts.ErrBadCredentials)
	wantLogin(t, d, "locked@example.com", "secret", accounts.ErrBadCredentials)
	wantLogin(t, d, "nobody@example.com", "secret", accounts.ErrBadCredentials)
	if p := s.Problems(); len(p) != 0 {
		t.Errorf("problems %v", p)
	}
}

func TestHostileNames(t *testing.T) {
	db := newDatabase(t, `CREATE TABLE people (name text PRIMARY KEY, pw text)`)
	names := []string{
		`o'brien@example.com`, `"quoted"@example.com`, `back\slash@example.com`, `{brace},comma@example.com`, `null`, `NULL`,
		`x' OR '1'='1`, `'; DROP TABLE people; --`, `$1`, `%`, `_`, `äö@exämple.com`, `a@example.com`,
	}
	for _, n := range names {
		db.exec(`INSERT INTO people VALUES ('`+strings.ReplaceAll(accounts.FoldName(n), `'`, `''`)+`', 'sha256:`+strings.Repeat("0", 64)+`') ON CONFLICT DO NOTHING`, "SELECT 1")
	}
	s := db.start(&Source{Table: "people", Columns: map[string]string{"password_hashes": "pw"}, Upstream: "up"})
	for _, n := range names {
		// Not what the sample brought.
		_ = s.Reload(t.Context())
		a, err := s.Load(context.Background(), n)
		if err != nil || a == nil || a.Key() != accounts.FoldName(n) {
			t.Errorf("%s: %v, %v", n, a, err)
		}
	}
	for _, n := range []string{`x' OR 'a'='a`, `%@example.com`, `a@example.com,b`, `{a@example.com}`, `"a@example.com"`, "\xff@example.com", ""} {
		if a, err := s.Load(context.Background(), n); a != nil || err != nil {
			t.Errorf("%q: %v, %v, want nothing", n, a, err)
		}
	}
}

// TestNamesInTheirColumn holds that names are found whatever the column's type,
// by its index.
func TestNamesInTheirColumn(t *testing.T) {
	db := newDatabase(t,
		`CREATE DOMAIN address AS varchar(200)`,
		`CREATE TABLE domains (name address PRIMARY KEY)`, `INSERT INTO domains VALUES ('a@example.com')`,
		`CREATE TABLE chars (name char(80) PRIMARY KEY)`, `INSERT INTO chars VALUES ('a@example.com')`,
		`CREATE TABLE mixed (name text)`, `CREATE UNIQUE INDEX ON mixed (lower(name))`,
		`INSERT INTO mixed VALUES ('A@Example.com'), ('Ä@example.com')`,
		`CREATE TABLE twice (name text)`, `INSERT INTO twice VALUES ('A@Example.com'), ('a@example.com')`,
		`CREATE TABLE users (id int, local text, domain text)`, `INSERT INTO users VALUES (1, 'a', 'example.com')`,
		`CREATE SCHEMA other`, `CREATE VIEW other.v AS SELECT local || '@' || domain AS name FROM users`)
	for _, s := range []*Source{
		{Table: "domains"},
		{Table: "chars"},
		{Table: "mixed", Lower: true},
		{Table: "other.v"},
		{Query: "SELECT local || '@' || domain AS name FROM users WHERE id > 0;"},
	} {
		s.Upstream = "up"
		db.start(s)
		d := directory(s)
		if a, err := d.Get(context.Background(), "a@EXAMPLE.com"); err != nil || a.Key() != "a@example.com" {
			t.Errorf("%s: %v, %v", s.Name(), a, err)
		}
		if _, err := d.Get(context.Background(), "ä@example.com"); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("%s: another letter's account: %v", s.Name(), err)
		}
	}
	s := db.start(&Source{Table: "twice", Upstream: "up", Lower: true})
	if _, err := directory(s).Get(context.Background(), "a@example.com"); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("two rows of one name: %v", err)
	}
	if p := s.Problems(); len(p) != 1 || p[0].Account == "" || p[0].Field != "name" || p[0].Message != "column 'name': two rows have this name" {
		t.Errorf("problems %v", p)
	}
}

func TestBadRows(t *testing.T) {
	db := newDatabase(t, people)
	hash := password.HashGenerated("secret")
	db.exec(`INSERT INTO people (email, pw) VALUES ('good@example.com', '`+hash+`'), ('hash@example.com', 'plaintext-password')`,
		`INSERT INTO people (email, per_minute, token) VALUES ('rate@example.com', 'often', 'refresh-me')`,
		`INSERT INTO people (email, tags) VALUES ('tags@example.com', '["x"]')`)
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up"})
	d := directory(s)
	wantLogin(t, d, "good@example.com", "secret", nil)
	for _, n := range []string{"hash", "rate", "tags"} {
		wantLogin(t, d, n+"@example.com", "secret", accounts.ErrUnavailable)
	}
	var said []string
	for _, p := range s.Problems() {
		said = append(said, p.String())
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{
		`sql people: account "hash@example.com": field 'password_hashes[0]': column 'pw': `,
		`sql people: account "rate@example.com": field 'rate': column 'per_minute': `,
		`sql people: account "tags@example.com": field 'labels': column 'tags': `,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no problem %s in\n%s", want, all)
		}
	}
	if strings.Contains(all, "plaintext") || strings.Contains(all, "refresh-me") {
		t.Errorf("a secret is in\n%s", all)
	}
}

func TestDatabaseAway(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email, pw) SELECT 'user' || i || '@example.com', '`+password.HashGenerated("secret")+`' FROM generate_series(1, 200) i`)
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up", Notify: "people", Fresh: caddy.Duration(100 * time.Millisecond), Stale: caddy.Duration(5 * time.Second), Negative: caddy.Duration(100 * time.Millisecond), Poll: caddy.Duration(50 * time.Millisecond)})
	d := directory(s)
	wantLogin(t, d, "user150@example.com", "secret", nil)
	db.Kill()
	wantLogin(t, d, "user150@example.com", "secret", nil)
	// Neither a wrong password nor an unknown name: it is not known, once what was looked
	// for a moment ago is past. Who is held may have another password by now.
	until(t, "that nothing is known of another password", func() bool { return errors.Is(login(t, d, "user150@example.com", "wrong"), accounts.ErrUnavailable) })
	wantLogin(t, d, "user151@example.com", "secret", accounts.ErrUnavailable)
	wantLogin(t, d, "nobody@example.com", "secret", accounts.ErrUnavailable)
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "cannot be read: postgres at 127.0.0.1: ") || !p[0].Kept {
		t.Errorf("problems %v", p)
	}
	until(t, "the end of what is held", func() bool { return s.Index().Len() == 0 })
	wantLogin(t, d, "user150@example.com", "secret", accounts.ErrUnavailable)
	db.Up()
	until(t, "the database", func() bool { return login(t, d, "user151@example.com", "secret") == nil })
	wantLogin(t, d, "user150@example.com", "secret", nil)
	wantLogin(t, d, "nobody@example.com", "secret", accounts.ErrBadCredentials)
	until(t, "that it can be read", func() bool { return len(s.Problems()) == 0 })
}

// TestStartsWithoutDatabase holds that a configuration is loaded all the same.
func TestStartsWithoutDatabase(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email, pw) VALUES ('a@example.com', '`+password.HashGenerated("secret")+`')`)
	db.Kill()
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up"})
	d := directory(s)
	wantLogin(t, d, "a@example.com", "secret", accounts.ErrUnavailable)
	db.Up()
	until(t, "the account", func() bool { return s.Index().Len() == 1 })
	wantLogin(t, d, "a@example.com", "secret", nil)
}

// TestLeastRights holds that SELECT is enough, and what is said without it.
func TestLeastRights(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email) VALUES ('a@example.com')`, `CREATE ROLE reader LOGIN`)
	s := &Source{Table: "people", Columns: wholeMap(), Upstream: "up"}
	db.start(s)
	other := &Source{Table: "people", Columns: wholeMap(), Upstream: "up"}
	other.Config.DSN = strings.Replace(db.DSN(), "gateway@", "reader@", 1)
	if err := other.provision(zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	defer other.Cleanup() //nolint:errcheck // it returns none
	_, err := other.Load(context.Background(), "a@example.com")
	if err == nil || !strings.Contains(err.Error(), "the user of the field dsn needs rights") {
		t.Errorf("without rights: %v", err)
	}
	db.exec(`GRANT SELECT ON people TO reader`)
	until(t, "the right", func() bool {
		a, err := other.Load(context.Background(), "a@example.com")
		return err == nil && a != nil
	})
}

func TestReloadKeepsWhatIsHeld(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email) VALUES ('a@example.com')`)
	first := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up"})
	a, err := directory(first).Get(context.Background(), "a@example.com")
	if err != nil {
		t.Fatal(err)
	}
	second := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up"})
	if got, ok := second.Index().Get("a@example.com"); !ok || got != a {
		t.Errorf("after a reload: %v, %v", got, ok)
	}
	other := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "other"})
	if got, err := directory(other).Get(context.Background(), "a@example.com"); err != nil || got.Upstream != "other" {
		t.Errorf("another configuration: %v, %v", got, err)
	}
}

func TestMalformedConfiguration(t *testing.T) {
	for _, tc := range []struct {
		want string
		s    Source
	}{
		{"accounts sql: field 'table': must not be empty", Source{}},
		{"accounts sql: field 'query': there is a table already", Source{Table: "t", Query: "SELECT 1"}},
		{"accounts sql: field 'upstream': accounts have none", Source{Table: "t"}},
		{"accounts sql: field 'columns': no account has a 'mailbx'; did you mean 'mailbox'?", Source{Table: "t", Upstream: "u", Columns: map[string]string{"mailbx": "x"}}},
		{"accounts sql: field 'columns.mailbox': '' is no column's name", Source{Table: "t", Upstream: "u", Columns: map[string]string{"mailbox": ""}}},
		{"accounts sql: field 'columns.active': there is a column for paused already", Source{Table: "t", Upstream: "u", Columns: map[string]string{"active": "a", "paused": "b"}}},
		{"accounts sql: field 'stale': 1s is shorter than fresh, 1m0s", Source{Table: "t", Upstream: "u", Stale: caddy.Duration(time.Second)}},
		{"accounts sql: field 'poll': must not be negative", Source{Table: "t", Upstream: "u", Poll: -1}},
		{"accounts sql: field 'cache_size': must not be negative", Source{Table: "t", Upstream: "u", CacheSize: -1}},
	} {
		tc.s.Config.DSN = "postgres://localhost/x"
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		err := tc.s.Provision(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}
