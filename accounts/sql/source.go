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
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/ondemand"
	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/printable"
)

// The defaults of Source.
const (
	defaultCacheSize = 50_000
	defaultFresh     = time.Minute
	defaultStale     = time.Hour
	defaultNegative  = 10 * time.Second
	defaultPoll      = 2 * time.Second
)

// Source reads accounts from a table of PostgreSQL, a row when its name is asked
// for. It is registered where the Caddyfile is known, in caddymodule.
type Source struct {
	// Config is where the database is. The schema is the table's. Default: what
	// the user's search_path says.
	pgdb.Config

	// Table is the table or view with a row for each account.
	Table string `json:"table,omitempty"`

	// Query is a SELECT in place of a table, for what a view would be made for.
	Query string `json:"query,omitempty"`

	// Columns are the columns by the field of the account that they hold: `name`,
	// `upstream`, `mailbox`, `password_hashes`, `refresh_token`, `secret`,
	// `senders`, `max_conns`, `rate`, `messages`, `recipients`, `source_ip`,
	// `spool`, `reports`, `paused`, `active` (the contrary), `labels`, and
	// `updated_at`, the time of the row's last change. A field without a column
	// is not read. Default: `name` is in the column of that name.
	Columns map[string]string `json:"columns,omitempty"`

	// Upstream is that of accounts whose row has none.
	Upstream string `json:"upstream,omitempty"`

	// Lower compares names with lower(COLUMN), for tables that do not have them
	// in lower case. That expression needs an index.
	Lower bool `json:"lower,omitempty"`

	// Notify is the channel on which a trigger sends the name of each account
	// that changes. Default: none.
	Notify string `json:"notify,omitempty"`

	// Poll is how often the column of `updated_at` is looked at, if there is one.
	// Default: 2s.
	Poll caddy.Duration `json:"poll,omitempty"`

	// CacheSize is the number of accounts that are held in memory. Default: 50000.
	CacheSize int `json:"cache_size,omitempty"`

	// Fresh is how long an account is held before its row is read again: how
	// long a row that was deleted may be used, where no notification says so.
	// Default: 1m.
	Fresh caddy.Duration `json:"fresh,omitempty"`

	// Stale is how long an account is held while the database does not answer.
	// Default: 1h.
	Stale caddy.Duration `json:"stale,omitempty"`

	// Negative is how long a name is remembered that no row has. Default: 10s.
	Negative caddy.Duration `json:"negative,omitempty"`

	key   string // in the pool
	state *state
}

// state is one database with what is held of it, shared by all configurations
// that say the same of it.
type state struct {
	db    *pgdb.DB
	cache *ondemand.Cache
	follow

	users  generation.Stack[*Source]
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

var states = caddy.NewUsagePool()

// Destruct implements caddy.Destructor.
func (s *state) Destruct() error {
	s.db.Close()
	return nil
}

// Provision checks the configuration. The database is not asked: accounts that
// cannot be read yet are a problem, and hold up nothing else.
func (s *Source) Provision(ctx caddy.Context) error {
	if err := s.provision(printable.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("accounts sql: %w", err)
	}
	return nil
}

func (s *Source) provision(logger *zap.Logger) error {
	own := *s
	schema := s.Config.Schema
	var err error
	if own.Config, err = s.Config.Resolve(); err != nil {
		return err
	}
	if schema == "" {
		own.Config.Schema = ""
	}
	if err := own.complete(); err != nil {
		return err
	}
	read, err := own.reader()
	if err != nil {
		return err
	}
	id, err := json.Marshal(&own)
	if err != nil {
		return err
	}
	v, _, err := states.LoadOrNew(string(id), func() (caddy.Destructor, error) {
		st := &state{}
		if st.db, err = own.Config.Open(); err != nil {
			return nil, err
		}
		st.db.WarnUnchecked(logger, "read and change accounts")
		read.db = st.db
		// It outlives the configuration, and so does its logger.
		lasting := printable.Logger(caddy.Log()).Named("smtp.accounts.sql")
		st.cache = ondemand.New(s.Name(), read, ondemand.Options{
			Size: own.CacheSize, Fresh: time.Duration(own.Fresh), Stale: time.Duration(own.Stale), Negative: time.Duration(own.Negative),
			Batch: batch, Readers: own.MaxConns,
		}, lasting)
		st.follow = follow{read: read, cache: st.cache, channel: own.Notify, poll: time.Duration(own.Poll), logger: lasting}
		return st, nil
	})
	if err != nil {
		return err
	}
	s.key, s.state = string(id), v.(*state) //nolint:forcetypeassert // the pool holds nothing else
	return nil
}

// complete checks what pgdb knows nothing of, and fills in the defaults.
func (s *Source) complete() error {
	switch {
	case s.Table == "" && s.Query == "":
		return errors.New("field 'table': must not be empty")
	case s.Table != "" && s.Query != "":
		return errors.New("field 'query': there is a table already")
	case s.Query != "" && s.Config.Schema != "":
		return errors.New("field 'schema': it is a table's, a query names its own")
	case s.CacheSize < 0:
		return errors.New("field 'cache_size': must not be negative")
	}
	if s.CacheSize == 0 {
		s.CacheSize = defaultCacheSize
	}
	for _, f := range []struct {
		name  string
		value *caddy.Duration
		def   time.Duration
	}{
		{"poll", &s.Poll, defaultPoll},
		{"fresh", &s.Fresh, defaultFresh},
		{"stale", &s.Stale, defaultStale},
		{"negative", &s.Negative, defaultNegative},
	} {
		switch {
		case *f.value < 0:
			return fmt.Errorf("field '%s': must not be negative", f.name)
		case *f.value == 0:
			*f.value = caddy.Duration(f.def)
		}
	}
	if s.Stale < s.Fresh {
		return fmt.Errorf("field 'stale': %s is shorter than fresh, %s", time.Duration(s.Stale), time.Duration(s.Fresh))
	}
	return nil
}

// Cleanup gives the state back.
func (s *Source) Cleanup() error {
	if s.state == nil {
		return nil
	}
	_, err := states.Delete(s.key)
	return err
}

// Name implements accounts.Source.
func (s *Source) Name() string {
	if s.Table == "" {
		return "sql"
	}
	return "sql " + s.Table
}

// Index implements accounts.Source: the accounts that are held.
func (s *Source) Index() *accounts.Index { return s.state.cache.Index() }

// Start begins to follow changes.
func (s *Source) Start() error {
	st := s.state
	st.users.Attach(s, func(first bool) {
		if !first {
			return
		}
		var ctx context.Context
		ctx, st.cancel = context.WithCancel(context.Background())
		st.loops.Go(func() { st.cache.Run(ctx) })
		st.follow.start(ctx, &st.loops)
	})
	return nil
}

// Stop ends it when nobody else needs it.
func (s *Source) Stop() {
	st := s.state
	st.users.Detach(s, func(_ *Source, last bool) {
		if last {
			st.cancel()
			st.loops.Wait()
		}
	})
}

// Problems implements accounts.Source.
func (s *Source) Problems() []accounts.Problem { return s.state.cache.Problems() }

// Load implements accounts.Loader.
func (s *Source) Load(ctx context.Context, name string) (*accounts.Account, error) {
	return s.state.cache.Load(ctx, name)
}

// Missed implements accounts.Loader: the cache knows already.
func (*Source) Missed(string) {}

// Reload implements accounts.Reloader.
func (s *Source) Reload(context.Context) error {
	s.state.cache.ChangedAll()
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ caddy.Destructor   = (*state)(nil)
	_ accounts.Source    = (*Source)(nil)
	_ accounts.Loader    = (*Source)(nil)
	_ accounts.Reloader  = (*Source)(nil)
)
