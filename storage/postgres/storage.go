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
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/certmagic"
	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/pgdb"
)

// migrations make the tables. COLLATE "C" orders keys by their bytes, so that
// what lies below a prefix is one range of the index.
var migrations = []string{`
CREATE TABLE SCHEMA.storage (
	key text COLLATE "C" PRIMARY KEY,
	value bytea NOT NULL,
	modified timestamptz NOT NULL,
	seq bigint
);
CREATE TABLE SCHEMA.locks (
	name text PRIMARY KEY,
	holder text NOT NULL,
	fence bigint NOT NULL,
	until timestamptz NOT NULL
);
CREATE SEQUENCE SCHEMA.fences;
`}

// ErrChanged says that a row does not have the number it was expected to have.
// It is an fs.ErrExist, which callers know that don't know this package.
var ErrChanged = fmt.Errorf("another process has written it meanwhile: %w", fs.ErrExist)

// Storage is Caddy's storage in a database.
type Storage struct {
	db    *pgdb.DB
	locks *locks

	storage string          // quoted names of tables
	open    context.Context //nolint:containedctx // of the storage, not of a call
	shut    context.CancelFunc
}

// Open returns a storage. The tables are brought to this binary's version.
// The caller closes it.
func Open(ctx context.Context, c pgdb.Config) (*Storage, error) {
	db, err := c.Open()
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "storage", migrations); err != nil {
		db.Close()
		return nil, err
	}
	return newStorage(db), nil
}

func newStorage(db *pgdb.DB) *Storage {
	s := &Storage{db: db, locks: newLocks(db), storage: db.Table("storage")}
	s.open, s.shut = context.WithCancel(context.Background())
	return s
}

// Ready brings the tables to this binary's version, where a configuration has
// put that off until it is in force.
func (s *Storage) Ready(ctx context.Context) error { return s.db.Ready(ctx) }

// Close gives the connections back. Locks that are held go on being renewed
// until they are given back.
func (s *Storage) Close() {
	s.shut()
	s.db.Close()
}

// Examine implements checkup.Examiner.
func (s *Storage) Examine(ctx context.Context) []checkup.Finding {
	return s.db.Examine(ctx, "storage postgres")
}

// Apart has the storage's connections no longer pass for a gateway's.
func (s *Storage) Apart(ctx context.Context) error {
	return wrap("naming", "connections", s.db.Apart(ctx))
}

// Users returns the number of connections that other processes have to the database and
// that are a gateway's, whatever their schema.
func (s *Storage) Users(ctx context.Context) (int, error) {
	n, err := s.db.Users(ctx)
	return n, wrap("asking for", "connections", err)
}

// Values lists all keys that have a value, in one statement: List has what would be
// directories of files too.
func (s *Storage) Values(ctx context.Context) (keys []string, err error) {
	err = s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, "SELECT key FROM "+s.storage+" ORDER BY 1")
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return keys, wrap("listing", "all", err)
}

// clean brings a key to the form in which it is stored.
func clean(key string) string { return strings.TrimPrefix(path.Clean("/"+key), "/") }

// below returns the condition of keys below a directory, and adds its arguments to those
// that there are: '0' follows '/'.
func below(dir string, args ...any) (condition string, all []any) {
	if dir == "" {
		return "key <> ''", args
	}
	n := len(args)
	return fmt.Sprintf("key >= $%d AND key < $%d", n+1, n+2), append(args, dir+"/", dir+"0")
}

// errNoKey is that of a value without a name: it would be that of the root.
var errNoKey = errors.New("a value needs a key")

// notExist is what a caller asks for by errors.Is.
func notExist(op, key string) error { return &fs.PathError{Op: op, Path: key, Err: fs.ErrNotExist} }

// wrap names the operation and the key.
func wrap(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// Store implements certmagic.Storage.
func (s *Storage) Store(ctx context.Context, key string, value []byte) error {
	key = clean(key)
	if value == nil {
		value = []byte{}
	}
	if key == "" {
		return wrap("storing", key, errNoKey)
	}
	return wrap("storing", key, s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "INSERT INTO "+s.storage+` AS s (key, value, modified) VALUES ($1, $2, clock_timestamp())
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, modified = excluded.modified, seq = NULL`, key, value)
		return err
	}))
}

// Swap stores a value under the number seq if the row has the number was, or if
// there is no row and was is 0; else it returns an error that wraps ErrChanged.
// A row that Store has written has no number, and takes any. What is written so is
// not found elsewhere, and waits behind nothing else for a connection.
func (s *Storage) Swap(ctx context.Context, key string, was, seq uint64, value []byte) error {
	key = clean(key)
	if key == "" {
		return wrap("storing", key, errNoKey)
	}
	var n int64
	err := s.db.DoFirst(ctx, func(ctx context.Context, q pgdb.Querier) error {
		statement := "UPDATE " + s.storage + ` SET value = $2, seq = $3, modified = clock_timestamp()
			WHERE key = $1 AND (seq = $4 OR seq IS NULL)`
		if was == 0 {
			statement = "INSERT INTO " + s.storage + ` AS s (key, value, seq, modified) VALUES ($1, $2, $3, clock_timestamp())
				ON CONFLICT (key) DO UPDATE SET value = excluded.value, seq = excluded.seq, modified = excluded.modified
				WHERE s.seq = $4 OR s.seq IS NULL`
		}
		tag, err := q.Exec(ctx, statement, key, value, int64(seq), int64(was)) //nolint:gosec // counts up from 1
		n = tag.RowsAffected()
		return err
	})
	if err == nil && n == 0 {
		err = ErrChanged
	}
	if err != nil && !errors.Is(err, ErrChanged) && s.swapped(ctx, key, seq, value) {
		// The answer was lost on its way, not the write.
		return nil
	}
	return wrap("storing", key, err)
}

// swapped reports whether the row holds what a write wanted there whose answer
// did not come.
func (s *Storage) swapped(ctx context.Context, key string, seq uint64, value []byte) bool {
	var there bool
	err := s.db.DoFirst(ctx, func(ctx context.Context, q pgdb.Querier) error {
		return q.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+s.storage+" WHERE key = $1 AND seq = $2 AND value = $3)",
			key, int64(seq), value).Scan(&there) //nolint:gosec // counts up from 1
	})
	return err == nil && there
}

// Load implements certmagic.Storage.
func (s *Storage) Load(ctx context.Context, key string) ([]byte, error) {
	key = clean(key)
	var value []byte
	err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		return q.QueryRow(ctx, "SELECT value FROM "+s.storage+" WHERE key = $1", key).Scan(&value)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, notExist("load", key)
	}
	return value, wrap("loading", key, err)
}

// Delete implements certmagic.Storage. What lies below the key is deleted too.
func (s *Storage) Delete(ctx context.Context, key string) error {
	key = clean(key)
	condition, args := below(key, key)
	return wrap("deleting", key, s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "DELETE FROM "+s.storage+" WHERE key = $1::text OR "+condition, args...)
		return err
	}))
}

// Exists implements certmagic.Storage.
func (s *Storage) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// List implements certmagic.Storage. Below a value there is nothing, which is no error.
func (s *Storage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	dir := clean(prefix)
	from := ""
	if dir != "" {
		from = dir + "/"
	}
	var keys []string
	err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		what, given := "key", []any(nil)
		if !recursive {
			what, given = "DISTINCT substr(key, 1, $1::int) || split_part(substr(key, $1::int + 1), '/', 1)", []any{utf8.RuneCountInString(from)}
		}
		condition, args := below(dir, given...)
		rows, err := q.Query(ctx, "SELECT "+what+" FROM "+s.storage+" WHERE "+condition+" ORDER BY 1", args...)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, wrap("listing", dir, err)
	}
	if len(keys) == 0 {
		if info, err := s.Stat(ctx, dir); err == nil && info.IsTerminal {
			return nil, nil
		}
		return nil, notExist("list", dir)
	}
	if recursive {
		keys = withDirectories(keys, from)
	}
	if prefix != dir { // what was asked for stands in front of the keys
		for i, k := range keys {
			keys[i] = path.Join(prefix, strings.TrimPrefix(k, from))
		}
	}
	return keys, nil
}

// withDirectories adds the directories on the way to sorted keys, as a walk
// through files has them.
func withDirectories(keys []string, from string) []string {
	var all []string
	seen := make(map[string]bool)
	add := func(k string) {
		if !seen[k] {
			seen[k] = true
			all = append(all, k)
		}
	}
	for _, k := range keys {
		for i := len(from); i < len(k); i++ {
			if k[i] == '/' {
				add(k[:i])
			}
		}
		add(k)
	}
	return all
}

// Stat implements certmagic.Storage.
func (s *Storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info := certmagic.KeyInfo{Key: key}
	key = clean(key)
	condition, args := below(key, key)
	var (
		modified *time.Time
		size     *int64
		dir      bool
	)
	err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		return q.QueryRow(ctx, `SELECT (SELECT modified FROM `+s.storage+` WHERE key = $1::text), (SELECT length(value)::bigint FROM `+s.storage+` WHERE key = $1::text),
			EXISTS (SELECT 1 FROM `+s.storage+` WHERE `+condition+`)`, args...).Scan(&modified, &size, &dir)
	})
	switch {
	case err != nil:
		return certmagic.KeyInfo{}, wrap("asking for", key, err)
	case modified != nil:
		info.Modified, info.Size, info.IsTerminal = *modified, *size, true
	case !dir:
		return certmagic.KeyInfo{}, notExist("stat", key)
	}
	return info, nil
}

// Interface guards
var (
	_ certmagic.Storage          = (*Storage)(nil)
	_ certmagic.TryLocker        = (*Storage)(nil)
	_ certmagic.LockLeaseRenewer = (*Storage)(nil)
	_ checkup.Examiner           = (*Storage)(nil)
)
