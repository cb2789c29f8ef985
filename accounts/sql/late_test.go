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
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestColumnsOfTheLastChange holds that a change is seen by the poll whatever a table's
// writers put into its column: whole seconds, or the time of another zone.
func TestColumnsOfTheLastChange(t *testing.T) {
	db := newDatabase(t)
	for name, c := range map[string]struct{ column, set, zone string }{
		"seconds":   {"timestamptz(0)", "now()", "UTC"},
		"UTC, east": {"timestamp", "now() AT TIME ZONE 'UTC'", "Europe/Berlin"},
		"UTC, west": {"timestamp(0)", "now() AT TIME ZONE 'UTC'", "America/New_York"},
		"local":     {"timestamp", "localtimestamp", "Asia/Tokyo"},
		"backwards": {"timestamptz", "now() - random() * interval '10 seconds'", "UTC"},
		"future":    {"timestamptz", "now() + interval '1 year'", "UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			db.execIn("postgres", `DROP TABLE IF EXISTS p`, `CREATE TABLE p (name text PRIMARY KEY, box text, changed `+c.column+`)`,
				`INSERT INTO p VALUES ('a@example.com', 'none', NULL)`)
			s := &Source{
				Table: "p", Columns: map[string]string{"mailbox": "box", "updated_at": "changed"}, Upstream: "up",
				Poll: caddy.Duration(10 * time.Millisecond), Fresh: hour, Negative: hour, Stale: 2 * hour,
			}
			dsn := db.DSN() + "&timezone=" + c.zone
			db.startDSN(dsn, s)
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background()) //nolint:errcheck // a test's
			d := directory(s)
			mailbox(d, "a@example.com")
			for _, box := range []string{"one", "two", "three", "four"} {
				if _, err := conn.Exec(t.Context(), `UPDATE p SET box = '`+box+`', changed = `+c.set+` WHERE name = 'a@example.com'`); err != nil {
					t.Fatal(err)
				}
				until(t, box, func() bool { return mailbox(d, "a@example.com") == box })
			}
		})
	}
}

// TestLateCommits holds that what a transaction stamped before others is seen when it is
// committed after them, also where more changed than is shown.
func TestLateCommits(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email, box) SELECT i || '@example.com', 'none' FROM generate_series(1, 3000) i`)
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up", Poll: caddy.Duration(10 * time.Millisecond), Fresh: hour, Negative: hour, Stale: 2 * hour})
	d := directory(s)
	mailbox(d, "1@example.com")
	mailbox(d, "2@example.com")
	late, err := pgx.Connect(t.Context(), db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close(context.Background()) //nolint:errcheck // a test's
	for box, others := range map[string]string{"few": `email = '2@example.com'`, "many": `email <> '1@example.com'`} {
		tx, err := late.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `UPDATE people SET changed = now(), box = '`+box+`' WHERE email = '1@example.com'`); err != nil {
			t.Fatal(err)
		}
		db.exec(`UPDATE people SET changed = now(), box = '` + box + `' WHERE ` + others)
		until(t, "the change that was committed before", func() bool { return mailbox(d, "2@example.com") == box })
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if box == "few" {
			until(t, "the late one", func() bool { return mailbox(d, "1@example.com") == box })
			continue
		}
		// It is seen when the many are out of the overlap: as if that were now.
		db.exec(`UPDATE people SET changed = now() - interval '1 hour'`)
		until(t, "the late one", func() bool { return mailbox(d, "1@example.com") == box })
	}
}

// problem waits for the problem of an option.
func problem(t *testing.T, s *Source, option string) (p accounts.Problem) {
	t.Helper()
	until(t, "a problem of "+option, func() bool {
		for _, p = range s.Problems() {
			if p.Field == option {
				return true
			}
		}
		return false
	})
	return p
}

// TestChangesThatAreNotSeen holds that a source tells when it sees changes late, and why.
func TestChangesThatAreNotSeen(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email, box) VALUES ('a@example.com', 'one')`, `ALTER TABLE people ADD day date, ADD epoch bigint`)
	for column, want := range map[string]string{
		"day":      "column 'day' is no timestamptz",
		"epoch":    "column 'epoch' is no timestamptz",
		"modified": "column a.modified does not exist (SQLSTATE 42703); look at the field 'columns.updated_at'",
	} {
		s := db.start(&Source{Table: "people", Columns: map[string]string{"name": "email", "updated_at": column}, Upstream: "up", Poll: caddy.Duration(10 * time.Millisecond)})
		if a, err := s.Load(t.Context(), "a@example.com"); a == nil || err != nil {
			t.Errorf("the account: %v, %v", a, err)
		}
		if p := problem(t, s, "columns.updated_at"); !strings.Contains(p.Message, want) || !strings.Contains(p.Message, "they are read again in their time") {
			t.Errorf("%s: %s, want %s", column, p.Message, want)
		}
	}
	s := db.start(&Source{Table: "people", Columns: map[string]string{"name": "email", "updated_at": "modified"}, Upstream: "up", Poll: caddy.Duration(10 * time.Millisecond)})
	problem(t, s, "columns.updated_at")
	db.exec(`ALTER TABLE people RENAME changed TO modified`)
	until(t, "that it is mended", func() bool { return len(s.Problems()) == 0 })
}

// TestStandby reads accounts from a standby, which takes no LISTEN.
func TestStandby(t *testing.T) {
	pair := testpg.StartPair(t)
	db := &database{pair.Primary, t}
	db.exec(people, `INSERT INTO people (email, box) VALUES ('a@example.com', 'one')`)
	s := &Source{Table: "people", Columns: wholeMap(), Upstream: "up", Notify: "people", Poll: caddy.Duration(10 * time.Millisecond), Fresh: hour, Negative: hour, Stale: 2 * hour}
	db.startDSN(pair.Standby.DSN(), s)
	d := directory(s)
	until(t, "the row", func() bool { return mailbox(d, "a@example.com") == "one" })
	db.exec(`UPDATE people SET box = 'two', changed = now()`)
	until(t, "its change", func() bool { return mailbox(d, "a@example.com") == "two" })
	if p := problem(t, s, "notify"); !strings.Contains(p.Message, "standby") {
		t.Errorf("%s, want that it is a standby", p.Message)
	}
}
