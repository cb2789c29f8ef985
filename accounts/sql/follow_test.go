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
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
)

// hour is longer than any test: what a test does not mean to happen.
const hour = caddy.Duration(time.Hour)

const trigger = `CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF TG_OP <> 'INSERT' THEN PERFORM pg_notify('people', OLD.email); END IF;
	IF TG_OP <> 'DELETE' THEN PERFORM pg_notify('people', NEW.email); END IF;
	RETURN NULL; END $$;
	CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON people FOR EACH ROW EXECUTE FUNCTION tell()`

func mailbox(d *accounts.Directory, name string) string {
	a, err := d.Get(context.Background(), name)
	if err != nil {
		return err.Error()
	}
	return a.Mailbox
}

func TestNotifications(t *testing.T) {
	db := newDatabase(t, people, trigger, `INSERT INTO people (email, box) VALUES ('a@example.com', 'one'), ('b@example.com', 'b')`)
	columns := wholeMap()
	delete(columns, "updated_at")
	s := db.start(&Source{Table: "people", Columns: columns, Upstream: "up", Notify: "people", Fresh: hour, Negative: hour, Stale: 2 * hour})
	d := directory(s)
	if got := mailbox(d, "new@example.com"); got != accounts.ErrNotFound.Error() {
		t.Fatalf("new: %s", got)
	}
	until(t, "mailbox one", func() bool { return mailbox(d, "a@example.com") == "one" })
	db.exec(`UPDATE people SET box = 'two' WHERE email = 'a@example.com'`)
	until(t, "mailbox two", func() bool { return mailbox(d, "a@example.com") == "two" })
	db.exec(`DELETE FROM people WHERE email = 'a@example.com'`)
	until(t, "the row's end", func() bool { return mailbox(d, "a@example.com") == accounts.ErrNotFound.Error() })
	db.exec(`INSERT INTO people (email, box) VALUES ('New@example.com', 'x')`, `UPDATE people SET email = 'new@example.com' WHERE box = 'x'`)
	until(t, "the new row", func() bool { return mailbox(d, "new@example.com") == "x" })

	// What changes while nobody listens is read when the database is back.
	mailbox(d, "b@example.com")
	db.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'; ALTER TABLE people DISABLE TRIGGER tell; UPDATE people SET box = 'later'`)
	until(t, "what changed meanwhile", func() bool { return mailbox(d, "b@example.com") == "later" })
}

func TestPollOfTheLastChange(t *testing.T) {
	db := newDatabase(t, people, `INSERT INTO people (email, box) VALUES ('a@example.com', 'one')`)
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Upstream: "up", Poll: caddy.Duration(20 * time.Millisecond), Fresh: hour, Negative: hour, Stale: 2 * hour})
	d := directory(s)
	mailbox(d, "a@example.com")
	mailbox(d, "new@example.com")
	for i := range 5 {
		box := fmt.Sprint("box", i)
		db.exec(`UPDATE people SET changed = now(), box = '` + box + `'`)
		until(t, box, func() bool { return mailbox(d, "a@example.com") == box })
	}
	db.exec(`INSERT INTO people (email, box) VALUES ('new@example.com', 'x')`)
	until(t, "the new row", func() bool { return mailbox(d, "new@example.com") == "x" })
	// More than are told one by one.
	db.exec(`INSERT INTO people (email) SELECT i || '@example.com' FROM generate_series(1, 2000) i`, `UPDATE people SET changed = now(), box = 'all'`)
	until(t, "a change of all", func() bool { return mailbox(d, "a@example.com") == "all" && mailbox(d, "new@example.com") == "all" })
	db.exec(`UPDATE people SET changed = now(), box = 'one more' WHERE email = 'a@example.com'`)
	until(t, "a change after that", func() bool { return mailbox(d, "a@example.com") == "one more" })
}

func TestNews(t *testing.T) {
	var s seen
	many := func(at string) (all []change) {
		for i := range maxChanges {
			all = append(all, change{fmt.Sprint("n", i), at, ""})
		}
		return all
	}
	for i, step := range []struct {
		changes []change
		want    string
	}{
		{nil, ""},
		{[]change{{"a", "1", ""}}, "a"},
		{[]change{{"a", "1", ""}}, ""},
		{[]change{{"b", "2", ""}, {"a", "1", ""}}, "b"},
		{[]change{{"a", "3", ""}, {"b", "2", ""}}, "a"},
		// Twice in the time that the column can tell apart.
		{[]change{{"a", "3", "other"}, {"b", "2", ""}}, "a"},
		// Two rows of one name.
		{[]change{{"a", "3", "x"}, {"a", "3", "y"}}, "a a"},
		{[]change{{"a", "3", "x"}, {"a", "3", "y"}}, ""},
		// One that was committed late, behind what was seen.
		{[]change{{"a", "3", "x"}, {"a", "3", "y"}, {"late", "0", ""}}, "late"},
		{many("4"), "all"},
		{many("4"), ""},
		{append([]change{{"c", "5", ""}}, many("4")...), "c"},
		{append([]change{{"c", "5", ""}}, many("4")...), ""},
		{many("6"), "all"},
		// Who was committed late was not shown among so many.
		{[]change{{"a", "7", ""}}, "all"},
		{[]change{{"a", "7", ""}}, ""},
	} {
		names, all := s.news(step.changes)
		got := strings.Join(names, " ")
		if all {
			got = "all"
		}
		if got != step.want {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
	}
}
