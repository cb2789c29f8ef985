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
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/sql"
)

func init() {
	caddy.RegisterModule(SQLAccounts{})
}

// SQLAccounts reads accounts from an operator's table in PostgreSQL.
type SQLAccounts struct {
	sql.Source
}

// CaddyModule returns the Caddy module information.
func (SQLAccounts) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp.accounts.sql",
		New: func() caddy.Module { return new(SQLAccounts) },
	}
}

// UnmarshalCaddyfile reads the source. Syntax:
//
//	sql [<dsn>] {
//		dsn        <dsn>
//		password   <password>
//		schema     <name>
//		max_conns  <n>
//		timeout    <duration>
//		table      <name>
//		query      <select>
//		column     <field> <column>
//		upstream   <name>
//		lower
//		notify     <channel>
//		poll       <duration>
//		cache_size <n>
//		fresh      <duration>
//		stale      <duration>
//		negative   <duration>
//	}
func (s *SQLAccounts) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return postgresBlock(d, "accounts", "sql", &s.Config, options{
		"table":      text(&s.Table),
		"query":      text(&s.Query),
		"column":     pairs(&s.Columns),
		"upstream":   text(&s.Upstream),
		"lower":      boolean(&s.Lower),
		"notify":     text(&s.Notify),
		"poll":       duration(&s.Poll),
		"cache_size": integer(&s.CacheSize),
		"fresh":      duration(&s.Fresh),
		"stale":      duration(&s.Stale),
		"negative":   duration(&s.Negative),
	})
}

// pairs are two words, of which the first may come once.
func pairs(p *map[string]string) option {
	return option{many: true, args: func(args []string) error {
		switch {
		case len(args) < 2:
			return fmt.Errorf("want two words, not %d", len(args))
		case len(args) > 2:
			return unexpectedArg(args[2])
		case (*p)[args[0]] != "":
			return fmt.Errorf("'%s' is there already", args[0])
		}
		if *p == nil {
			*p = make(map[string]string)
		}
		(*p)[args[0]] = args[1]
		return nil
	}}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SQLAccounts)(nil)
	_ caddy.CleanerUpper    = (*SQLAccounts)(nil)
	_ caddyfile.Unmarshaler = (*SQLAccounts)(nil)
	_ accounts.Source       = (*SQLAccounts)(nil)
	_ accounts.Loader       = (*SQLAccounts)(nil)
	_ accounts.Reloader     = (*SQLAccounts)(nil)
)
