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
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/ondemand"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/loggers"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/printable"
)

// The defaults of Source.
const (
	defaultCacheSize = 50_000
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

	// Negative is how long a name is not looked for again after a login that was
	// refused: because no row has it, or because of the password. Default: 10s.
	Negative caddy.Duration `json:"negative,omitempty"`

	ondemand.Member
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Source) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, s) }

// bounds are what the configuration says of what is held.
func (s *Source) bounds() ondemand.Bounds {
	return ondemand.Bounds{
		CacheSize: &s.CacheSize, Fresh: &s.Fresh, Stale: &s.Stale, Negative: &s.Negative,
		More: []ondemand.Setting{{Name: "poll", Value: &s.Poll, Default: defaultPoll}},
	}
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
	return s.Share("sql", &own, nil, func() (ondemand.Shared, error) {
		db, err := own.Config.Open()
		if err != nil {
			return ondemand.Shared{}, err
		}
		db.WarnUnchecked(logger, "read and change accounts")
		read.db = db
		// It outlives the configuration, and so does its logger.
		lasting := loggers.Process("smtp.accounts.sql")
		db.WarnUnheard(lasting, "changed accounts are found by the column of updated_at if there is one, and else when they are read again")
		cache := ondemand.New(s.Name(), read, own.bounds().Options(batch, own.MaxConns), lasting)
		read.note = cache.Note
		follow := follow{read: read, cache: cache, channel: own.Notify, poll: time.Duration(own.Poll)}
		return ondemand.Shared{Cache: cache, Follow: follow.start, Close: db.Close}, nil
	})
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
	}
	for _, f := range []struct{ name, text string }{{"table", s.Table}, {"upstream", s.Upstream}, {"notify", s.Notify}} {
		if err := form.Text.Check(f.text); err != nil {
			return fmt.Errorf("field '%s': %w", f.name, err)
		}
	}
	return s.bounds().Complete(defaultCacheSize)
}

// Name implements accounts.Source.
func (s *Source) Name() string {
	if s.Table == "" {
		return "sql"
	}
	return "sql " + s.Table
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ accounts.Source    = (*Source)(nil)
	_ accounts.Loader    = (*Source)(nil)
	_ accounts.Reloader  = (*Source)(nil)
)
