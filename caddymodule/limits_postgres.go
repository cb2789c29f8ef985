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
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/limits/postgres"
)

func init() {
	caddy.RegisterModule(PostgresLimits{})
}

// PostgresLimits is the module smtp_upstreams.limits.postgres.
type PostgresLimits struct {
	postgres.Module
}

// CaddyModule returns the Caddy module information.
func (PostgresLimits) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams.limits.postgres",
		New: func() caddy.Module { return new(PostgresLimits) },
	}
}

// UnmarshalCaddyfile sets up the module from tokens. Syntax:
//
//	limits postgres [<dsn>] {
//		dsn       <url or words>
//		password  <password>
//		schema    <name>
//		max_conns <number>
//		timeout   <duration>
//		node      <name>
//		lease     <duration>
//		grace     <duration>
//	}
func (p *PostgresLimits) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return postgresBlock(d, "limits", "postgres", &p.Config, options{
		"node":  text(&p.Node),
		"lease": duration(&p.Lease),
		"grace": duration(&p.Grace),
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*PostgresLimits)(nil)
	_ caddy.CleanerUpper    = (*PostgresLimits)(nil)
	_ caddyfile.Unmarshaler = (*PostgresLimits)(nil)
)
