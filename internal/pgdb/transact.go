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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// idleTimeout ends a transaction whose process is paused: its locks would keep
// every other one from what it has locked.
const idleTimeout = "SET LOCAL idle_in_transaction_session_timeout = 2000"

// plannedAnew has each statement planned for what it is given. A driver's prepared statements
// are planned once for whatever comes, mostly while the tables are empty, and then read
// a table from end to end, comparing each row with each of hundreds of keys.
const plannedAnew = "SET LOCAL plan_cache_mode = force_custom_plan"

// Transact runs a transaction, READ COMMITTED, in two round trips: what first queues,
// and what then queues, with the commit. If that is nothing the transaction is rolled back:
// nobody waits for a disk then. The functions of queued statements are called before
// the round trip is over. Both may be called again, from the first on, if the connection
// broke before the server can have seen anything.
func (d *DB) Transact(ctx context.Context, first func(b *pgx.Batch), then func(b *pgx.Batch) error) error {
	return d.Do(ctx, func(ctx context.Context, q Querier) error {
		conn, ok := q.(*pgx.Conn)
		if pool, is := q.(*pgxpool.Pool); is {
			of, err := pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer of.Release()
			conn, ok = of.Conn(), true
		}
		if !ok {
			return fmt.Errorf("no connection in a %T", q)
		}
		begun, err := transact(ctx, conn, first, then)
		if begun {
			// A connection that cannot do this is none any more.
			_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
		}
		return err
	})
}

// transact reports whether there is a transaction left to be rolled back.
func transact(ctx context.Context, conn *pgx.Conn, first func(b *pgx.Batch), then func(b *pgx.Batch) error) (begun bool, err error) {
	var reads, writes pgx.Batch
	reads.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	reads.Queue(idleTimeout)
	reads.Queue(plannedAnew)
	first(&reads)
	if err := conn.SendBatch(ctx, &reads).Close(); err != nil {
		return !conn.IsClosed(), err
	}
	if err := then(&writes); err != nil || writes.Len() == 0 {
		return true, err
	}
	writes.Queue("COMMIT")
	if err := conn.SendBatch(ctx, &writes).Close(); err != nil {
		return !conn.IsClosed(), err
	}
	return false, nil
}
