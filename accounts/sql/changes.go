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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddymail/mailgateway/internal/pgdb"
)

// change is a row that changed, when, and what is in it now: the time alone does not
// tell two changes of one second apart where the column has seconds.
type change struct{ Name, At, Sum string }

// changes are the parts of the statement that looks for them.
type changes struct{ at, name, row, from string }

// statement returns the newest $2 names that changed in $1 seconds, the last first. A
// column without a time zone has the time of whoever writes it, of the database's time
// zone or of UTC: what is new by either is.
func (c changes) statement(zone bool) string {
	now := "now()"
	if !zone {
		now = "least(localtimestamp, now() AT TIME ZONE 'UTC')"
	}
	return "SELECT coalesce(" + c.name + "::text, ''), " + c.at + "::text, sha256(convert_to(" + c.row + ", 'UTF8'))::text" + c.from +
		" WHERE " + c.at + " > " + now + " - $1 * interval '1 second' ORDER BY " + c.at + " DESC LIMIT $2"
}

// changed returns the rows that changed in so many seconds, the last first.
func (r *reader) changed(ctx context.Context, seconds float64) ([]change, error) {
	var all []change
	err := r.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		zone, err := r.zone(ctx, q)
		if err != nil {
			return err
		}
		rows, err := q.Query(ctx, r.changes.statement(zone), seconds, maxChanges)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[change])
		return err
	})
	return all, r.explain(err)
}

// zone reports whether the column of the last change has a time zone.
func (r *reader) zone(ctx context.Context, q pgdb.Querier) (bool, error) {
	rows, err := q.Query(ctx, "SELECT "+r.changes.at+r.changes.from+" LIMIT 0")
	if err != nil {
		return false, err
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return false, err
	}
	switch rows.FieldDescriptions()[0].DataTypeOID {
	case pgtype.TimestamptzOID:
		return true, nil
	case pgtype.TimestampOID:
		return false, nil
	}
	return false, fmt.Errorf("field 'columns.%s': column '%s' is no timestamptz", changedField, r.columns[changedField])
}
