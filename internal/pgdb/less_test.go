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

package pgdb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestServerWithLess holds that a server that only speaks the protocol is taken: one
// without advisory locks and without a view of its standbys.
func TestServerWithLess(t *testing.T) {
	server := testpg.Start(t)
	exec(t, server, `ALTER FUNCTION pg_advisory_xact_lock(bigint) RENAME TO not_here`, `SET allow_system_table_mods = on`,
		`ALTER VIEW pg_catalog.pg_stat_replication RENAME TO not_here`)
	db, err := Config{DSN: server.DSN()}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 {
		if err := db.Migrate(t.Context(), "room", []string{"CREATE TABLE SCHEMA.t (n int)"}); err != nil {
			t.Fatal(err)
		}
	}
	if f := db.Examine(t.Context(), "it")[0]; f.State != checkup.OK || !strings.Contains(f.Said, "nothing is known of standbys") {
		t.Errorf("%+v", f)
	}
}

// TestBehindPooler holds that what is asked through PgBouncer in transaction mode is
// answered, migrations by several at once included.
func TestBehindPooler(t *testing.T) {
	server := testpg.Start(t)
	dsn := testpg.StartPooler(t, server)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			db, err := Config{DSN: dsn}.Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if err := db.Migrate(t.Context(), "room", []string{"CREATE TABLE SCHEMA.t (n int)"}); err != nil {
				t.Error(err)
			}
			for i := range 50 {
				if err := db.Do(t.Context(), func(ctx context.Context, q Querier) error {
					var text string
					var list []int64
					err := q.QueryRow(ctx, "SELECT $1::text, $2::bigint[]", fmt.Sprint(i), []int64{int64(i)}).Scan(&text, &list)
					if err == nil && (text != fmt.Sprint(i) || len(list) != 1 || list[0] != int64(i)) {
						err = fmt.Errorf("%s, %v in place of %d", text, list, i)
					}
					return err
				}); err != nil {
					t.Error(err)
				}
			}
			if f := db.Examine(t.Context(), "it")[0]; f.State != checkup.OK {
				t.Errorf("%+v", f)
			}
		})
	}
	all.Wait()
}

// TestMigrationCutShort holds that a migration which ends in the middle leaves nothing, and
// that the next one does it all.
func TestMigrationCutShort(t *testing.T) {
	server := testpg.Start(t)
	db, err := Config{DSN: server.DSN()}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const first = "CREATE TABLE SCHEMA.t (n int); INSERT INTO SCHEMA.t VALUES (1)"
	for _, steps := range [][]string{{first + "; SELECT pg_sleep(3600)"}, {first, "SELECT pg_sleep(3600)"}} {
		ended := make(chan error, 1)
		go func() { ended <- db.Migrate(t.Context(), "room", steps) }()
		exec(t, server, `DO $$ BEGIN
			WHILE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE CASE WHEN wait_event = 'PgSleep' THEN pg_terminate_backend(pid) ELSE false END) LOOP
				PERFORM pg_stat_clear_snapshot();
			END LOOP; END $$`)
		if err := <-ended; err == nil {
			t.Error("a migration that was cut short succeeded")
		}
	}
	if err := db.Migrate(t.Context(), "room", []string{first, "INSERT INTO SCHEMA.t VALUES (2)"}); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.Do(t.Context(), func(ctx context.Context, q Querier) error {
		return q.QueryRow(ctx, "SELECT count(*) FROM "+db.Table("t")).Scan(&n)
	}); err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestPasswordIsRenewed holds that a password which is another one in its file is used by the
// next connection, without a reload.
func TestPasswordIsRenewed(t *testing.T) {
	server := testpg.Start(t)
	file := filepath.Join(t.TempDir(), "password")
	set := func(password string) {
		t.Helper()
		exec(t, server, "ALTER ROLE other PASSWORD '"+password+"'")
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		// Those that there are go on, until they end.
		exec(t, server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'")
	}
	exec(t, server, "CREATE ROLE other LOGIN", `DO $$ BEGIN EXECUTE format('COPY (SELECT line FROM (VALUES (1, ''host all other all scram-sha-256''), (2, ''host all all all trust'')) AS v (n, line) ORDER BY n) TO %L', current_setting('hba_file')); END $$`,
		"SELECT pg_reload_conf()")
	set("first")
	inDSN := Config{DSN: "postgres://other:{file." + file + "}@" + server.Addr() + "/postgres?sslmode=disable"}
	beside := Config{DSN: "postgres://other@" + server.Addr() + "/postgres?sslmode=disable", Password: "{file." + file + "}"}
	for _, c := range []Config{inDSN, beside} {
		resolved, err := c.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]Config{"as given": c, "resolved": resolved} {
			set("first")
			db, err := c.Open()
			if err != nil {
				t.Fatal(err)
			}
			for _, password := range []string{"first", "second"} {
				set(password)
				var err error
				for range 3 * db.MaxConns() { // connections that were cut
					if err = db.Do(t.Context(), func(ctx context.Context, q Querier) error {
						_, err := q.Exec(ctx, "SELECT 1")
						return err
					}); err == nil {
						break
					}
				}
				if err != nil {
					t.Errorf("%s, %s: %v", name, password, err)
				}
			}
			db.Close()
		}
	}
}

func exec(t *testing.T, s *testpg.Server, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // a test's
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
