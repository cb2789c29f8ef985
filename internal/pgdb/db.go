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
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
)

// DB is a database. Its pool is made at the first call and ends with Close;
// who still has something to write then gets a connection for that alone.
type DB struct {
	set     *pgxpool.Config
	schema  string
	timeout time.Duration
	turns   *turns
	silence time.Duration // of one that listens, before it is asked
	hearing hearing

	owed atomic.Pointer[owed]   // what Later has put off
	name atomic.Pointer[string] // in place of application_name

	mu     sync.Mutex
	pool   *pgxpool.Pool
	closed bool
}

// Querier runs statements.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// Open checks a configuration. It connects to nothing.
func (c Config) Open() (*DB, error) {
	if err := c.resolve(); err != nil {
		return nil, err
	}
	set, err := c.pool()
	if err != nil {
		return nil, err
	}
	d := &DB{set: set, schema: c.Schema, timeout: time.Duration(c.Timeout), turns: newTurns(int(set.MaxConns)), silence: silence}
	renew := set.BeforeConnect
	set.BeforeConnect = func(ctx context.Context, conn *pgx.ConnConfig) error {
		if name := d.name.Load(); name != nil {
			conn.RuntimeParams["application_name"] = *name
		}
		return renew(ctx, conn)
	}
	return d, nil
}

// Table returns the quoted name of a table in the schema.
func (d *DB) Table(name string) string { return pgx.Identifier{d.schema, name}.Sanitize() }

// MaxConns is the number of connections that there may be.
func (d *DB) MaxConns() int { return int(d.set.MaxConns) }

// Timeout is what one call may take.
func (d *DB) Timeout() time.Duration { return d.timeout }

// Do runs f, again if its connection broke before the server can have seen
// anything of it.
func (d *DB) Do(ctx context.Context, f func(ctx context.Context, q Querier) error) error {
	return d.do(ctx, false, f)
}

// DoFirst is Do for what would be lost with the process: it does not wait behind
// others for a connection.
func (d *DB) DoFirst(ctx context.Context, f func(ctx context.Context, q Querier) error) error {
	return d.do(ctx, true, f)
}

func (d *DB) do(ctx context.Context, first bool, f func(ctx context.Context, q Querier) error) error {
	if err := d.Ready(ctx); err != nil {
		return err
	}
	return d.run(ctx, first, f)
}

func (d *DB) run(ctx context.Context, first bool, f func(ctx context.Context, q Querier) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if err := d.turns.take(ctx, first); err != nil {
		return d.explain(err)
	}
	defer d.turns.give()
	var err error
	for range 3 {
		if err = d.once(ctx, f); err == nil || !pgconn.SafeToRetry(err) || ctx.Err() != nil {
			break
		}
	}
	return d.explain(err)
}

func (d *DB) once(ctx context.Context, f func(ctx context.Context, q Querier) error) error {
	pool, err := d.open()
	if err != nil {
		return err
	}
	if pool != nil {
		err := f(ctx, pool)
		if !errors.Is(err, puddle.ErrClosedPool) {
			return err
		}
	}
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing depends on the farewell
	return f(ctx, conn)
}

// open returns the pool; nil: it was closed.
func (d *DB) open() (*pgxpool.Pool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.pool != nil {
		return d.pool, nil
	}
	var err error
	d.pool, err = pgxpool.NewWithConfig(context.Background(), d.set)
	return d.pool, err
}

// connect makes a connection beside the pool, for who wants to LISTEN. The
// caller closes it.
func (d *DB) connect(ctx context.Context) (*pgx.Conn, error) {
	conn := d.set.ConnConfig.Copy()
	if err := d.set.BeforeConnect(ctx, conn); err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, conn)
}

// Close ends the pool, once what is under way has ended.
func (d *DB) Close() {
	d.mu.Lock()
	pool := d.pool
	d.pool, d.closed = nil, true
	d.mu.Unlock()
	if pool != nil {
		pool.Close()
	}
}

// explain adds what an operator needs to know: which server, and what to do.
func (d *DB) explain(err error) error {
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	hint := tlsHint(err)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "28P01", "28000":
			hint = "; look at the fields dsn and password"
			if strings.Contains(pg.Message, "no encryption") {
				hint = "; the server wants TLS: sslmode=verify-full in the field dsn"
			}
		case "3D000":
			hint = "; the database in the field dsn has to be made first: CREATE DATABASE"
		case "42501":
			hint = "; the user of the field dsn needs rights"
			if d.schema != "" {
				hint += " on schema " + d.schema
			}
		case "25006":
			hint = "; this is a standby: name all servers in the field dsn, with target_session_attrs=read-write"
		case "53300":
			hint = "; lower the field max_conns, or raise the server's max_connections"
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		hint = fmt.Sprintf("; no answer within the field timeout, %s", d.timeout)
	}
	return fmt.Errorf("postgres at %s: %w%s", d.set.ConnConfig.Host, err, hint)
}

// tlsHint says what to do about a certificate that is not believed.
func tlsHint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "; sslrootcert in the field dsn names the file of the authority that issued the server's certificate"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "; the host in the field dsn has to be a name that the server's certificate is for"
	}
	if strings.Contains(err.Error(), "server refused TLS connection") {
		return "; the server has no TLS: set ssl = on there, or say sslmode=disable in the field dsn if nothing can listen on the way"
	}
	return ""
}
