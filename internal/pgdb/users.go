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
	"crypto/rand"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// apart is what the connections of this process are called that are no gateway's.
var apart = sync.OnceValue(func() string { return " apart " + rand.Text()[:12] })

// Apart has the connections no longer pass for a gateway's, neither those that there are
// nor those to come: what they are called begins with what a gateway's are called.
func (d *DB) Apart(ctx context.Context) error {
	name := d.set.ConnConfig.RuntimeParams["application_name"]
	name = name[:min(len(name), 63-len(apart()))] + apart() // longer ones are cut
	d.name.Store(&name)
	pool, err := d.open()
	if err != nil || pool == nil {
		return err
	}
	idle := pool.AcquireAllIdle(ctx)
	for _, conn := range idle {
		if err == nil {
			err = rename(ctx, conn, name)
		}
		conn.Release()
	}
	return d.explain(err)
}

func rename(ctx context.Context, conn *pgxpool.Conn, name string) error {
	_, err := conn.Exec(ctx, "SELECT set_config('application_name', $1, false)", name)
	return err
}

// Users returns the number of connections to the database that are those of other
// processes with this configuration, whatever their schema.
func (d *DB) Users(ctx context.Context) (n int, err error) {
	name := d.set.ConnConfig.RuntimeParams["application_name"]
	err = d.Do(ctx, func(ctx context.Context, q Querier) error {
		return q.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
			AND (application_name = $1::text OR left(application_name, length($2::text)) = $2) AND right(application_name, length($3::text)) <> $3 AND pid <> pg_backend_pid()`,
			name[:min(len(name), 63)], name[:min(len(name), 63-len(apart()))]+" apart ", apart()).Scan(&n)
	})
	return n, err
}
