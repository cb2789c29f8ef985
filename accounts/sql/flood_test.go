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
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestBehindPooler reads accounts through PgBouncer in transaction mode, by columns of
// types that a parameter has no type for, many at a time: no prepared statement is left
// on a connection that is another one's next. Notifications do not get through there, which
// is told: the column of the last change does.
func TestBehindPooler(t *testing.T) {
	db := newDatabase(t,
		`CREATE DOMAIN address AS varchar(200)`,
		`CREATE TABLE people (name address PRIMARY KEY, box text, changed timestamptz DEFAULT now())`,
		`INSERT INTO people SELECT 'user' || i || '@example.com', 'one' FROM generate_series(1, 400) i`,
		`CREATE TABLE numbers (name int PRIMARY KEY)`, `INSERT INTO numbers SELECT generate_series(1, 20)`)
	dsn := testpg.StartPooler(t, db.Server)
	s := db.startDSN(dsn, &Source{
		Table: "people", Columns: map[string]string{"mailbox": "box", "updated_at": "changed"}, Upstream: "up", Notify: "people",
		Poll: caddy.Duration(20 * time.Millisecond), Config: pgdb.Config{Timeout: caddy.Duration(2 * time.Second)}, Fresh: hour, Negative: hour, Stale: 2 * hour,
	})
	d := directory(s)
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			if got := mailbox(d, fmt.Sprintf("user%d@example.com", i+1)); got != "one" {
				t.Errorf("user %d: %s", i+1, got)
			}
			if got := mailbox(d, fmt.Sprintf("nobody%d@example.com", i)); got != accounts.ErrNotFound.Error() {
				t.Errorf("nobody: %s", got)
			}
		})
	}
	all.Wait()
	db.exec(`UPDATE people SET box = 'two', changed = now() WHERE name = 'user7@example.com'`)
	until(t, "the change", func() bool { return mailbox(d, "user7@example.com") == "two" })
	numbers := db.startDSN(dsn, &Source{Table: "numbers", Upstream: "up"})
	for name, want := range map[string]string{"7": "7", "70": accounts.ErrNotFound.Error(), "x": accounts.ErrNotFound.Error()} {
		if got := mailbox(directory(numbers), name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if p := numbers.Problems(); len(p) != 0 {
		t.Errorf("%v", p)
	}
	// The channel was listened to with success.
	until(t, "that nothing is heard", func() bool {
		p := s.Problems()
		return len(p) == 1 && p[0].Field == "notify" && strings.Contains(p[0].Message, "did not come back")
	})
}

// TestFloodOfNotifications holds that a change is seen behind notifications without number,
// whatever they say. How often the table is read meanwhile is ondemand's test.
func TestFloodOfNotifications(t *testing.T) {
	db := newDatabase(t, people, trigger, `INSERT INTO people (email, box) SELECT 'user' || i || '@example.com', 'one' FROM generate_series(1, 500) i`)
	for name, flood := range map[string]string{
		"empty": `DO $$ BEGIN FOR i IN 1..400 LOOP PERFORM pg_notify('people', ''); COMMIT; END LOOP; END $$`,
		"one":   `DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_notify('people', 'user1@example.com'); COMMIT; END LOOP; END $$`,
		"names": `DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_notify('people', 'unknown' || i || '@example.com'); COMMIT; END LOOP; END $$`,
		"large": `DO $$ BEGIN FOR i IN 1..400 LOOP PERFORM pg_notify('people', repeat('x', 7999)); COMMIT; END LOOP; END $$`,
	} {
		t.Run(name, func(t *testing.T) {
			s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up", Notify: "people", Fresh: hour, Negative: hour, Stale: 2 * hour, Poll: hour})
			d := directory(s)
			for i := range 500 {
				mailbox(d, fmt.Sprintf("user%d@example.com", i+1))
			}
			db.exec(flood, `UPDATE people SET box = '`+name+`' WHERE email = 'user2@example.com'`)
			until(t, "the change", func() bool { return mailbox(d, "user2@example.com") == name })
		})
	}
}

// TestManyColumns holds that rows are read that have columns without number, rows of
// megabytes, nothing in them, or types of an extension, arrays, bits and blanks.
func TestManyColumns(t *testing.T) {
	var columns []string
	for i := range 300 {
		columns = append(columns, fmt.Sprintf("c%d text DEFAULT repeat('x', 100)", i))
	}
	hash := password.HashGenerated("secret")
	db := newDatabase(t, `CREATE EXTENSION citext`,
		`CREATE TABLE wide (name text PRIMARY KEY, pw text, `+strings.Join(columns, ", ")+`)`, `INSERT INTO wide (name, pw) VALUES ('a@example.com', '`+hash+`')`,
		`CREATE TABLE huge (name text PRIMARY KEY, pw text, notes text, senders text[])`,
		`INSERT INTO huge VALUES ('a@example.com', '`+hash+`', repeat('x', 50000000), NULL), ('b@example.com', '`+hash+`', NULL, ARRAY(SELECT 'a' || i || '@example.com' FROM generate_series(1, 900) i))`,
		`CREATE TABLE folded (name citext PRIMARY KEY, pw varchar[], box char(40), ids uuid, on_off bit)`,
		`INSERT INTO folded VALUES ('A@Example.com', '{!locked,`+hash+`}', 'box@example.com', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '1'), ('null@example.com', NULL, NULL, NULL, NULL)`,
		`CREATE TABLE nulls (name text, pw text, box text)`, `INSERT INTO nulls VALUES (NULL, NULL, NULL), ('', '', ''), ('a@example.com', '`+hash+`', ' ')`,
		`CREATE MATERIALIZED VIEW kept AS SELECT * FROM huge`, `CREATE VIEW joined AS SELECT w.name, h.pw FROM wide w JOIN huge h USING (name)`,
		`CREATE TABLE parts (name text, pw text) PARTITION BY HASH (name)`, `CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)`,
		`INSERT INTO parts VALUES ('a@example.com', '`+hash+`')`)
	for _, s := range []*Source{
		{Table: "wide"},
		{Table: "huge", Columns: map[string]string{"senders": "senders"}},
		{Table: "folded", Columns: map[string]string{"mailbox": "box", "active": "on_off"}},
		{Table: "folded", Columns: map[string]string{"mailbox": "ids"}, Lower: true},
		{Table: "nulls", Columns: map[string]string{"mailbox": "box"}},
		{Table: "kept"}, {Table: "joined"}, {Table: "parts"},
		{Query: "SELECT name, pw FROM wide UNION ALL SELECT name, pw FROM nulls WHERE name = ''"},
		{Query: "WITH w AS (SELECT * FROM wide) SELECT name, pw FROM w ORDER BY name LIMIT 10"},
	} {
		s.Upstream = "up"
		if s.Columns == nil {
			s.Columns = make(map[string]string)
		}
		s.Columns["password_hashes"] = "pw"
		db.start(s)
		wantLogin(t, directory(s), "a@example.com", "secret", nil)
		wantLogin(t, directory(s), "A@EXAMPLE.com", "secret", nil)
		wantLogin(t, directory(s), "a@example.com", "wrong", accounts.ErrBadCredentials)
		if s.Table == "folded" {
			a, err := directory(s).Get(context.Background(), "null@example.com")
			if err != nil || a.Mailbox != "null@example.com" || len(a.PasswordHashes) > 0 {
				t.Errorf("a row of nulls: %v, %v", a, err)
			}
		}
		if p := s.Problems(); len(p) != 0 {
			t.Errorf("%s: %v", s.Name()+s.Query, p)
		}
	}
}
