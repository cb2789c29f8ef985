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
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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

func newEngine(db *pgdb.DB) *pgEngine {
	return &pgEngine{
		db: db, nodes: db.Table("nodes"), shares: db.Table("shares"), recalls: db.Table("recalls"),
		channel: strings.ReplaceAll(db.Table("shares"), `"`, ""),
	}
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

// change has what is due marked as ended only when it sees some: that is rare, and
// a transaction of its own, since a lease that is being renewed is waited for and
// no other row may be locked meanwhile.
func (e *pgEngine) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	var err error
	for range 10 {
		docs, v := make(map[key]*doc, len(keys)), newView()
		var found bool
		err = e.db.Transact(ctx,
			func(b *pgx.Batch) {
				clear(docs)
				v = newView()
				e.lock(b, keys, docs)
				e.forget(b, id, keys, &found)
				e.view(b, &v)
			},
			func(b *pgx.Batch) error {
				switch {
				case v.overdue:
					return errOverdue
				case v.until[id] == 0:
					return errEnded
				case len(docs) < len(keys):
					return errDeleted
				}
				return e.write(b, docs, f(v, docs), found)
			})
		switch {
		case errors.Is(err, errOverdue):
			if err := e.mark(ctx); err != nil {
				return err
			}
		case !errors.Is(err, errDeleted) || ctx.Err() != nil:
			return err
		}
	}
	return err
}

var (
	// errOverdue says that a lease is over and its node not marked as ended.
	errOverdue = errors.New("a lease is over")
	// errDeleted says that a document was deleted between two statements.
	errDeleted = errors.New("a row is gone")
)

// mark marks the nodes as ended whose lease is over.
func (e *pgEngine) mark(ctx context.Context) error {
	return e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "UPDATE "+e.nodes+" SET ended = until WHERE ended IS NULL AND until <= clock_timestamp()")
		return err
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

// each calls f with the mailboxes of each upstream, in the order in which rows are locked.
// A statement that names them so is planned well whatever is known of the tables'
// size, which a join with an array is not: plans are made while they are empty.
func each(keys []key, f func(upstream string, mailboxes []string)) {
	upstreams, mailboxes := columns(keys)
	for i, j := 0, 0; i < len(upstreams); i = j {
		for j < len(upstreams) && upstreams[j] == upstreams[i] {
			j++
		}
		f(upstreams[i], mailboxes[i:j])
	}
}

// lock reads the documents and keeps others from them. A row that is there already
// is not written for that; one that is deleted between the two statements is missing
// in docs.
func (e *pgEngine) lock(b *pgx.Batch, keys []key, docs map[key]*doc) {
	upstreams, mailboxes := columns(keys)
	b.Queue("INSERT INTO "+e.shares+` (upstream, mailbox)
		SELECT u, m FROM unnest($1::text[], $2::text[]) AS k (u, m) ORDER BY u COLLATE "C", m COLLATE "C"
		ON CONFLICT (upstream, mailbox) DO NOTHING`, upstreams, mailboxes)
	each(keys, func(upstream string, mailboxes []string) {
		b.Queue("SELECT mailbox, doc::text FROM "+e.shares+` WHERE upstream = $1 AND mailbox = ANY($2::text[])
			ORDER BY mailbox COLLATE "C" FOR UPDATE`, upstream, mailboxes).
			Query(func(rows pgx.Rows) error {
				k := key{Upstream: upstream}
				var raw *string
				_, err := pgx.ForEachRow(rows, []any{&k.Mailbox, &raw}, func() (err error) {
					docs[k] = new(doc)
					if raw != nil {
						if docs[k], err = decode([]byte(*raw)); err != nil {
							return fmt.Errorf("share of %s at %s: %w", k.Mailbox, k.Upstream, err)
						}
					}
					return nil
				})
				return err
			})
	})
}

// forget deletes the recalls that this look is the answer to, behind the lock: who
// writes one has it too.
func (e *pgEngine) forget(b *pgx.Batch, id string, keys []key, found *bool) {
	*found = false
	each(keys, func(upstream string, mailboxes []string) {
		b.Queue("DELETE FROM "+e.recalls+" WHERE holder = $1 AND upstream = $2 AND mailbox = ANY($3::text[])", id, upstream, mailboxes).
			Exec(func(tag pgconn.CommandTag) error {
				*found = *found || tag.RowsAffected() > 0
				return nil
			})
	})
}

// view looks at the nodes, behind the lock: if the one that asks is marked as
// ended after that, nobody has tidied these documents yet, and whoever does sees
// what it writes.
func (e *pgEngine) view(b *pgx.Batch, v *view) {
	b.Queue("SELECT id, (extract(epoch from until) * 1000000000)::bigint, (extract(epoch from ended) * 1000000000)::bigint, until <= clock_timestamp(), " + nano + " FROM " + e.nodes).
		Query(func(rows pgx.Rows) error {
			var (
				id    string
				until int64
				ended *int64
				over  bool
			)
			_, err := pgx.ForEachRow(rows, []any{&id, &until, &ended, &over, &v.now}, func() error {
				switch {
				case ended != nil:
					v.ended[id] = *ended
				case over:
					v.overdue = true
				default:
					v.until[id] = until
				}
				return nil
			})
			return err
		})
}

// payload bounds what a notification says: PostgreSQL takes less than 8000 octets.
const payload = 7000

// write queues what has to be written: nothing, if nothing has changed and there is
// nothing else to be committed.
func (e *pgEngine) write(b *pgx.Batch, docs map[key]*doc, fx effects, commits bool) error {
	var upstreams, mailboxes, texts []string
	var gone []key
	for k, d := range docs {
		raw, changed, err := d.encode()
		switch {
		case err != nil:
			return err
		case d.empty():
			gone, commits = append(gone, k), commits || changed
		case changed:
			upstreams, mailboxes, texts = append(upstreams, k.Upstream), append(mailboxes, k.Mailbox), append(texts, string(raw))
		}
	}
	if len(texts) > 0 {
		b.Queue("INSERT INTO "+e.shares+` (upstream, mailbox, doc) SELECT u, m, d::jsonb FROM unnest($1::text[], $2::text[], $3::text[]) AS k (u, m, d)
			ON CONFLICT (upstream, mailbox) DO UPDATE SET doc = EXCLUDED.doc`, upstreams, mailboxes, texts)
	}
	var holders, ups, boxes []string
	for k, ids := range fx.recalls {
		for _, id := range ids {
			holders, ups, boxes = append(holders, id), append(ups, k.Upstream), append(boxes, k.Mailbox)
		}
	}
	if len(holders) > 0 {
		b.Queue("INSERT INTO "+e.recalls+` (holder, upstream, mailbox) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS k (h, u, m)
			ORDER BY h, u, m ON CONFLICT DO NOTHING`, holders, ups, boxes)
	}
	if said := fx.notices(payload); len(said) > 0 {
		b.Queue("SELECT pg_notify($1, n) FROM unnest($2::text[]) AS n", e.channel, said)
	}
	// Without anything to be committed there are no rows of nothing either; with
	// recalls alone that are forgotten, this has it committed.
	if commits || b.Len() > 0 {
		each(gone, func(upstream string, mailboxes []string) {
			b.Queue("DELETE FROM "+e.shares+" WHERE upstream = $1 AND mailbox = ANY($2::text[])", upstream, mailboxes)
		})
	}
	if commits && b.Len() == 0 {
		b.Queue("SELECT 1")
	}
	return nil
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
		rows, err := q.Query(ctx, "SELECT upstream, mailbox FROM "+e.recalls+" WHERE holder = $1", id)
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
