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
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/loggers"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/printable"
)

// Module is Caddy's storage caddy.storage.postgres. It is registered where the
// Caddyfile is known, in caddymodule.
type Module struct {
	pgdb.Config

	storage *Storage
	key     string
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Module) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, m) }

// kind has the storages of all configurations that are in force.
var kind = pgdb.NewKind[*Storage]("storage postgres", "storage", "read and change tokens", migrations)

// Destruct implements caddy.Destructor.
func (s *Storage) Destruct() error {
	s.Close()
	return nil
}

// Provision connects. The tables are brought to this binary's version when the
// storage is used first: a configuration that is only validated changes nothing.
func (m *Module) Provision(ctx caddy.Context) error {
	// Placeholders first: a password that was changed in its file makes
	// another pool.
	set, err := m.Config.Resolve()
	if err != nil {
		return kind.Failed(err)
	}
	m.storage, m.key, err = kind.Take(printable.Logger(ctx.Logger()), set, nil, func(db *pgdb.DB) *Storage {
		db.WarnUnheard(loggers.Process("caddy.storage.postgres"), "accounts that other nodes change are looked for twice a second")
		return newStorage(db)
	})
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (m *Module) Cleanup() error { return kind.Give(m.key) }

// CertMagicStorage implements caddy.StorageConverter.
func (m *Module) CertMagicStorage() (certmagic.Storage, error) { return m.storage, nil }

// Interface guards
var (
	_ caddy.Provisioner      = (*Module)(nil)
	_ caddy.CleanerUpper     = (*Module)(nil)
	_ caddy.StorageConverter = (*Module)(nil)
)
