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

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddymail/mailgateway/internal/checkup"
)

// Examine says whether the database answers, and whether a failover could lose
// what it acknowledged. The subject is what it is used for.
func (d *DB) Examine(ctx context.Context, subject string) []checkup.Finding {
	f := checkup.Finding{Check: "database", Subject: subject, State: checkup.OK}
	var (
		names    *string
		standbys int
	)
	err := d.Do(ctx, func(ctx context.Context, q Querier) error {
		return q.QueryRow(ctx, `SELECT nullif(current_setting('synchronous_standby_names', true), ''),
			(SELECT count(*) FROM pg_stat_replication)`).Scan(&names, &standbys)
	})
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && (pg.Code == "42P01" || pg.Code == "0A000"):
		f.Said = "it answers; it has no pg_stat_replication, nothing is known of standbys"
	case err != nil:
		f.State, f.Said = checkup.Wrong, err.Error()
		f.Cause = "the database does not answer as it should"
		f.Remedy = "look at the server, and at the field dsn"
	case names == nil && standbys > 0:
		f.State, f.Said = checkup.Warning, "the database has a standby and none that is synchronous"
		f.Cause = "synchronous_standby_names is empty: a failover can lose writes that were acknowledged, a rotated token or counts of limits"
		f.Remedy = "set synchronous_standby_names, or synchronous_mode in Patroni"
	case names == nil:
		f.Said = "it answers; there is no standby"
	default:
		f.Said = "it answers; synchronous_standby_names is set"
	}
	out := []checkup.Finding{f}
	if instead, err := d.Unheard(); err != nil {
		out = append(out, checkup.Finding{
			Check: "notifications", Subject: subject, State: checkup.Warning, Said: err.Error(),
			Cause:  "what is in front of the database keeps no session for who listens, as PgBouncer in transaction mode, or the database has no LISTEN: " + instead,
			Remedy: "name the server itself in the field dsn, or a pool in session mode",
		})
	}
	return out
}
