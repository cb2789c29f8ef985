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

package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/limits"
)

// migrations make the tables.
var migrations = []string{`
CREATE TABLE SCHEMA.nodes (
	id text PRIMARY KEY,
	name text NOT NULL,
	since timestamptz NOT NULL,
	until timestamptz NOT NULL,
	ended timestamptz
);
CREATE TABLE SCHEMA.shares (
	upstream text NOT NULL,
	mailbox text NOT NULL,
	doc jsonb,
	PRIMARY KEY (upstream, mailbox)
);
CREATE TABLE SCHEMA.recalls (
	holder text NOT NULL,
	upstream text NOT NULL,
	mailbox text NOT NULL,
	PRIMARY KEY (holder, upstream, mailbox)
);
`, `
ALTER TABLE SCHEMA.nodes ADD COLUMN draining boolean NOT NULL DEFAULT false;
`, `
ALTER TABLE SCHEMA.nodes ADD COLUMN sessions bigint NOT NULL DEFAULT 0, ADD COLUMN asked boolean;
`}

// endedFor is how long a node that has ended is remembered: what it held counts
// from its end, and from now on once that is forgotten.
const endedFor = 48 * time.Hour

// pgEngine is the engine in PostgreSQL. Every transaction is READ COMMITTED: a
// statement sees what was committed before it began, and waits for rows that
// others have locked.
type pgEngine struct {
	db                     *pgdb.DB
	nodes, shares, recalls string // quoted names of tables
	channel                string
}

func openEngine(ctx context.Context, c pgdb.Config) (*pgEngine, error) {
	db, err := c.Open()
	if err != nil {
		return nil, err
	}
	if err := db.Later(ctx, "limits", migrations); err != nil {
		db.Close()
		return nil, err
	}
	return &pgEngine{
		db: db, nodes: db.Table("nodes"), shares: db.Table("shares"), recalls: db.Table("recalls"),
		channel: strings.ReplaceAll(db.Table("shares"), `"`, ""),
	}, nil
}

// nano is the engine's clock.
const nano = "(extract(epoch from clock_timestamp()) * 1000000000)::bigint"

func (e *pgEngine) join(ctx context.Context, id, name string, ttl time.Duration) (now int64, err error) {
	err = e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		if _, err := q.Exec(ctx, "DELETE FROM "+e.nodes+" WHERE ended < clock_timestamp() - $1::float8 * interval '1 second'", endedFor.Seconds()); err != nil {
			return err
		}
		return q.QueryRow(ctx, "INSERT INTO "+e.nodes+` (id, name, since, until)
			VALUES ($1, $2, clock_timestamp(), clock_timestamp() + $3::float8 * interval '1 second') RETURNING `+nano, id, name, ttl.Seconds()).Scan(&now)
	})
	return now, err
}

func (e *pgEngine) beat(ctx context.Context, id string, ttl time.Duration, st standing) (b pulse, err error) {
	err = e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, "UPDATE "+e.nodes+` SET until = clock_timestamp() + $2::float8 * interval '1 second', draining = $3, sessions = $4, asked = NULLIF(asked, $3)
			WHERE id = $1 AND ended IS NULL AND until > clock_timestamp() RETURNING `+nano+", asked", id, ttl.Seconds(), st.draining, st.sessions)
		if err != nil {
			return err
		}
		b = pulse{}
		_, err = pgx.ForEachRow(rows, []any{&b.now, &b.asked}, func() error {
			b.alive = true
			return nil
		})
		return err
	})
	return b, err
}

func (e *pgEngine) ask(ctx context.Context, id string, drain bool) (lives bool, err error) {
	err = e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		tag, err := q.Exec(ctx, "WITH told AS (UPDATE "+e.nodes+` SET asked = $2 WHERE id = $1 AND ended IS NULL AND until > clock_timestamp() RETURNING id)
			SELECT pg_notify($3, $4 || id) FROM told`, id, drain, e.channel, urgent)
		lives = tag.RowsAffected() > 0
		return err
	})
	return lives, err
}

func (e *pgEngine) leave(ctx context.Context, id string) error {
	return e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		if _, err := q.Exec(ctx, "UPDATE "+e.nodes+" SET ended = clock_timestamp() WHERE id = $1 AND ended IS NULL", id); err != nil {
			return err
		}
		_, err := q.Exec(ctx, "DELETE FROM "+e.recalls+" WHERE holder = $1", id)
		return err
	})
}

// idleTimeout ends a transaction whose process is paused: its locks would keep
// every other node from what it has locked, and from marking it as ended.
const idleTimeout = "SET LOCAL idle_in_transaction_session_timeout = 2000"

func (e *pgEngine) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) (map[key][]string, []string)) error {
	return e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		// In a transaction of its own: a lease that is being renewed is waited
		// for, and no other row is locked meanwhile.
		if _, err := q.Exec(ctx, "UPDATE "+e.nodes+" SET ended = until WHERE ended IS NULL AND until <= clock_timestamp()"); err != nil {
			return err
		}
		tx, err := q.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // a committed one cannot be rolled back
		if _, err := tx.Exec(ctx, idleTimeout); err != nil {
			return err
		}
		docs, err := e.lock(ctx, tx, keys)
		if err != nil {
			return err
		}
		v, err := e.view(ctx, tx, id)
		if err != nil {
			return err
		}
		recalls, tell := f(v, docs)
		if err := e.write(ctx, tx, docs, recalls, tell); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
}

// columns are keys as two arrays, in the order in which rows are locked.
func columns(keys []key) (upstreams, mailboxes []string) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b key) int {
		if c := strings.Compare(a.Upstream, b.Upstream); c != 0 {
			return c
		}
		return strings.Compare(a.Mailbox, b.Mailbox)
	})
	for _, k := range keys {
		upstreams, mailboxes = append(upstreams, k.Upstream), append(mailboxes, k.Mailbox)
	}
	return upstreams, mailboxes
}

// lock reads the documents and keeps others from them.
func (e *pgEngine) lock(ctx context.Context, tx pgx.Tx, keys []key) (map[key]*doc, error) {
	upstreams, mailboxes := columns(keys)
	// A row that is there already is locked by this too: whoever deletes it
	// comes before or after.
	rows, err := tx.Query(ctx, "INSERT INTO "+e.shares+` AS s (upstream, mailbox)
		SELECT u, m FROM unnest($1::text[], $2::text[]) AS k (u, m) ORDER BY u COLLATE "C", m COLLATE "C"
		ON CONFLICT (upstream, mailbox) DO UPDATE SET doc = s.doc RETURNING upstream, mailbox, doc::text`, upstreams, mailboxes)
	if err != nil {
		return nil, err
	}
	docs := make(map[key]*doc, len(keys))
	var (
		k   key
		raw *string
	)
	_, err = pgx.ForEachRow(rows, []any{&k.Upstream, &k.Mailbox, &raw}, func() error {
		d := new(doc)
		if raw != nil {
			if err := json.Unmarshal([]byte(*raw), d); err != nil {
				return fmt.Errorf("share of %s at %s: %w", k.Mailbox, k.Upstream, err)
			}
		}
		docs[k] = d
		return nil
	})
	return docs, err
}

// view looks at the nodes. That of id is kept from being marked as ended until
// the transaction is over.
func (e *pgEngine) view(ctx context.Context, tx pgx.Tx, id string) (view, error) {
	v := view{until: make(map[string]int64), ended: make(map[string]int64)}
	rows, err := tx.Query(ctx, "SELECT 1 FROM "+e.nodes+" WHERE id = $1 AND ended IS NULL FOR SHARE", id)
	if err != nil {
		return v, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return v, err
	}
	if len(found) == 0 {
		return v, errEnded
	}
	rows, err = tx.Query(ctx, "SELECT id, (extract(epoch from until) * 1000000000)::bigint, (extract(epoch from ended) * 1000000000)::bigint, "+nano+" FROM "+e.nodes)
	if err != nil {
		return v, err
	}
	var (
		other string
		until int64
		ended *int64
	)
	_, err = pgx.ForEachRow(rows, []any{&other, &until, &ended, &v.now}, func() error {
		if ended == nil {
			v.until[other] = until
		} else {
			v.ended[other] = *ended
		}
		return nil
	})
	return v, err
}

func (e *pgEngine) write(ctx context.Context, tx pgx.Tx, docs map[key]*doc, recalls map[key][]string, tell []string) error {
	var b pgx.Batch
	var upstreams, mailboxes, texts []string
	var gone [2][]string
	for k, d := range docs {
		if d.empty() {
			gone[0], gone[1] = append(gone[0], k.Upstream), append(gone[1], k.Mailbox)
			continue
		}
		raw, err := json.Marshal(d)
		if err != nil {
			return err
		}
		upstreams, mailboxes, texts = append(upstreams, k.Upstream), append(mailboxes, k.Mailbox), append(texts, string(raw))
	}
	if len(texts) > 0 {
		b.Queue("UPDATE "+e.shares+` AS s SET doc = k.d::jsonb FROM unnest($1::text[], $2::text[], $3::text[]) AS k (u, m, d)
			WHERE s.upstream = k.u AND s.mailbox = k.m`, upstreams, mailboxes, texts)
	}
	if len(gone[0]) > 0 {
		b.Queue("DELETE FROM "+e.shares+" AS s USING unnest($1::text[], $2::text[]) AS k (u, m) WHERE s.upstream = k.u AND s.mailbox = k.m", gone[0], gone[1])
	}
	var holders, ups, boxes []string
	for k, ids := range recalls {
		for _, id := range ids {
			holders, ups, boxes = append(holders, id), append(ups, k.Upstream), append(boxes, k.Mailbox)
		}
	}
	if len(holders) > 0 {
		b.Queue("INSERT INTO "+e.recalls+` (holder, upstream, mailbox) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS k (h, u, m)
			ORDER BY h, u, m ON CONFLICT DO NOTHING`, holders, ups, boxes)
	}
	for _, id := range tell {
		b.Queue("SELECT pg_notify($1, $2)", e.channel, id)
	}
	return tx.SendBatch(ctx, &b).Close()
}

// list returns the nodes, the living ones first. self is who asks.
func (e *pgEngine) list(ctx context.Context, self string) ([]limits.Node, error) {
	var nodes []limits.Node
	err := e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, "SELECT name, id, since, until, ended IS NOT NULL OR until <= clock_timestamp(), id = $1, "+
			"(SELECT count(*) FROM "+e.shares+" WHERE doc -> 'nodes' ? n.id), draining, sessions, "+
			"CASE WHEN ended IS NOT NULL OR until <= clock_timestamp() OR asked IS NULL THEN '' WHEN asked THEN 'drain' ELSE 'resume' END FROM "+e.nodes+" AS n ORDER BY 5, name, since", self)
		if err != nil {
			return err
		}
		nodes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[limits.Node])
		return err
	})
	return nodes, err
}

func (e *pgEngine) recalled(ctx context.Context, id string) ([]key, error) {
	var keys []key
	err := e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, "DELETE FROM "+e.recalls+" WHERE holder = $1 RETURNING upstream, mailbox", id)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowToStructByPos[key])
		return err
	})
	return keys, err
}

func (e *pgEngine) listen(ctx context.Context, began func(), told func(id string)) error {
	return e.db.Listen(ctx, e.channel, began, told)
}

// Interface guards
var _ engine = (*pgEngine)(nil)
