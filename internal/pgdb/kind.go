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
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// Kind is a kind of modules that keep something in a database: those whose
// configurations say the same share a T, which outlives each of them.
type Kind[T caddy.Destructor] struct {
	name, tables, risk string
	migrations         []string
	pool               *caddy.UsagePool
}

// NewKind says what the module is called, which tables it has, and what is at risk
// if the server's certificate is not checked.
func NewKind[T caddy.Destructor](name, tables, risk string, migrations []string) *Kind[T] {
	return &Kind[T]{name, tables, risk, migrations, caddy.NewUsagePool()}
}

// Failed names the module in an error.
func (k *Kind[T]) Failed(err error) error { return fmt.Errorf("%s: %w", k.name, err) }

// Take returns what configurations share that say set and also, and the key that
// gives it back. The database is not asked before what is made of it is used: a
// configuration that is only validated changes nothing.
func (k *Kind[T]) Take(logger *zap.Logger, set Config, also any, made func(db *DB) T) (v T, key string, err error) {
	id, err := json.Marshal([]any{set, also})
	if err != nil {
		return v, "", err
	}
	shared, _, err := k.pool.LoadOrNew(string(id), func() (caddy.Destructor, error) {
		// Not the configuration's context: what is shared may outlive it.
		db, err := set.OpenLater(context.Background(), k.tables, k.migrations)
		if err != nil {
			return nil, err
		}
		db.WarnUnchecked(logger, k.risk)
		return made(db), nil
	})
	if err != nil {
		return v, "", k.Failed(err)
	}
	return shared.(T), string(id), nil
}

// Give gives it back. No key is nothing.
func (k *Kind[T]) Give(key string) error {
	if key == "" {
		return nil
	}
	_, err := k.pool.Delete(key)
	return err
}

// OpenLater opens a database whose tables are brought to this binary's version when it
// is used first.
func (c Config) OpenLater(ctx context.Context, tables string, migrations []string) (*DB, error) {
	db, err := c.Open()
	if err != nil {
		return nil, err
	}
	if err := db.Later(ctx, tables, migrations); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}
