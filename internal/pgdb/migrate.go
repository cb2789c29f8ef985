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
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// migrateLock is the advisory lock that processes take turns by: the letters
// of "mailgate".
const migrateLock = 0x6d61696c67617465

// Migrate brings the tables of a room to the version len(steps). In a step,
// SCHEMA stands for the quoted name of the schema. Where nothing is to be done
// the user needs no right to make anything.
func (d *DB) Migrate(ctx context.Context, room string, steps []string) error {
	return d.run(ctx, false, func(ctx context.Context, q Querier) error {
		v, err := d.version(ctx, q, room)
		if err == nil && v == len(steps) {
			return nil
		}
		if err != nil && !missing(err) {
			return err
		}
		tx, err := q.BeginTx(ctx, pgx.TxOptions{})
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // a committed one cannot be rolled back
		if err := d.migrate(ctx, tx, room, steps); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
}

// owed is a migration that was put off.
type owed struct {
	turn  chan struct{} // held by who makes it
	room  string
	steps []string
}

// Later has the first call that uses the database make what Migrate would. It
// changes nothing itself, for a configuration that may only be looked at (`caddy
// validate`), but says what speaks against it already: the server does not
// answer, or a newer binary has been here.
func (d *DB) Later(ctx context.Context, room string, steps []string) error {
	return d.run(ctx, false, func(ctx context.Context, q Querier) error {
		v, err := d.version(ctx, q, room)
		switch {
		case err != nil && !missing(err):
			return err
		case err == nil && v > len(steps):
			return d.newer(v, room, steps)
		case err == nil && v == len(steps):
			return nil
		}
		d.owed.Store(&owed{turn: make(chan struct{}, 1), room: room, steps: steps})
		return nil
	})
}

// Ready makes now what Later has put off.
func (d *DB) Ready(ctx context.Context) error {
	o := d.owed.Load()
	if o == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return d.explain(ctx.Err())
	}
	if d.owed.Load() == nil {
		return nil
	}
	if err := d.Migrate(ctx, o.room, o.steps); err != nil {
		return err
	}
	d.owed.Store(nil)
	return nil
}

// alone waits until no other process makes tables. A server that has no such locks, as some
// have that only speak the protocol, refuses the second of two that do.
func alone(ctx context.Context, tx pgx.Tx) error {
	try, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		return err
	}
	_, err = try.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrateLock))
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42883" || pg.Code == "0A000") {
		return try.Rollback(ctx)
	}
	if err != nil {
		return err
	}
	return try.Commit(ctx)
}

// newer is the error of tables that are newer than this binary.
func (d *DB) newer(v int, room string, steps []string) error {
	return fmt.Errorf("schema %s: the tables of %s have version %d, this binary knows %d: a newer one has been here", d.schema, room, v, len(steps))
}

// missing reports whether the error says that a schema or table is not there.
func missing(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "42P01" || pg.Code == "3F000")
}

type rower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (d *DB) version(ctx context.Context, q rower, room string) (int, error) {
	var v int
	err := q.QueryRow(ctx, "SELECT version FROM "+d.Table("schema_versions")+" WHERE room = $1", room).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return v, err
}

func (d *DB) migrate(ctx context.Context, tx pgx.Tx, room string, steps []string) error {
	if err := alone(ctx, tx); err != nil {
		return err
	}
	schema := pgx.Identifier{d.schema}.Sanitize()
	var there bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM information_schema.schemata WHERE schema_name = $1)", d.schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
			return fmt.Errorf("making schema %s: %w", d.schema, err)
		}
	}
	versions := d.Table("schema_versions")
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+versions+" (room text PRIMARY KEY, version int NOT NULL)"); err != nil {
		return fmt.Errorf("making table %s: %w", versions, err)
	}
	v, err := d.version(ctx, tx, room)
	if err != nil {
		return err
	}
	if v > len(steps) {
		return d.newer(v, room, steps)
	}
	for i := v; i < len(steps); i++ {
		if _, err := tx.Exec(ctx, strings.ReplaceAll(steps[i], "SCHEMA", schema)); err != nil {
			return fmt.Errorf("schema %s, migration %d of %s: %w", d.schema, i+1, room, err)
		}
	}
	_, err = tx.Exec(ctx, "INSERT INTO "+versions+" (room, version) VALUES ($1, $2) ON CONFLICT (room) DO UPDATE SET version = excluded.version", room, len(steps))
	return err
}
