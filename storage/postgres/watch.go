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
	"strings"

	"github.com/caddymail/mailgateway/internal/pgdb"
)

// channel is where changes are told.
func (s *Storage) channel() string { return strings.ReplaceAll(s.storage, `"`, "") }

// Announce tells the processes that watch that a key has changed. What is lost on
// its way they find when they look by themselves.
func (s *Storage) Announce(ctx context.Context, key string) error {
	key = clean(key)
	return wrap("announcing", key, s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel(), key)
		return err
	}))
}

// Watch calls changed with each key that is announced, also by this process, over
// a connection of its own. It calls began when it hears them, for what came before,
// and returns when it no longer does: the connection is lost, ctx is over, or the
// storage is closed.
func (s *Storage) Watch(ctx context.Context, began func(), changed func(key string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.open, cancel)()
	return s.db.Listen(ctx, s.channel(), began, changed)
}
