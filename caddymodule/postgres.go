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

package caddymodule

import (
	"maps"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/internal/pgdb"
)

// postgresBlock reads `KIND MODULE [<dsn>] { ... }`: where the database is, and a
// module's own options.
func postgresBlock(d *caddyfile.Dispenser, kind, module string, c *pgdb.Config, own options) error {
	d.Next() // consume the module's name
	if args := d.RemainingArgs(); len(args) > 1 {
		return malformed(d, kind, module, unexpectedArg(args[1]))
	} else if len(args) == 1 {
		c.DSN = args[0]
	}
	all := options{
		"dsn":       text(&c.DSN),
		"password":  secret(&c.Password),
		"schema":    text(&c.Schema),
		"max_conns": integer(&c.MaxConns),
		"timeout":   duration(&c.Timeout),
	}
	maps.Copy(all, own)
	return parseBlock(d, kind+" "+module, all)
}
