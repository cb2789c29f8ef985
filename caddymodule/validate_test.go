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

package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestValidateChangesNoDatabase holds that a configuration that is only looked at
// makes no table and is no node; that tables of a newer binary and a database
// that does not answer are said all the same.
func TestValidateChangesNoDatabase(t *testing.T) {
	db := testpg.Start(t)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	validate := func(file string) error {
		t.Helper()
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(file), nil)
		if err != nil {
			t.Fatal(err)
		}
		var cfg *caddy.Config
		if err := json.Unmarshal(adapted, &cfg); err != nil {
			t.Fatal(err)
		}
		return caddy.Validate(cfg)
	}
	storage := fmt.Sprintf(`{
	admin off
	persist_config off
	storage postgres %s
	oauth_tokens {
		provider acme generic {
			token_url https://id.example/token
			client_id gateway
		}
	}
	smtp_upstreams {
		upstream acme {
			dial mail.example:587
			auth xoauth2 acme
		}
	}
	smtp {
		hostname mail.example.com
		messages
		accounts {
			dynamic
		}
		server a 127.0.0.1:0 {
			spool
			tls starttls {
				legacy
			}
		}
	}
}
`, db.DSN())
	limits := fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %q
	smtp_upstreams {
		limits postgres %s
		upstream zoho
	}
}
`, t.TempDir(), db.DSN())
	for name, file := range map[string]string{"storage": storage, "limits": limits} {
		if err := validate(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var tables int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'mailgateway'").Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables (%v)", tables, err)
	}
	if _, err := conn.Exec(ctx, `CREATE SCHEMA mailgateway; CREATE TABLE mailgateway.schema_versions (room text PRIMARY KEY, version int NOT NULL);
		INSERT INTO mailgateway.schema_versions VALUES ('storage', 99), ('limits', 99)`); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"storage": storage, "limits": limits} {
		if err := validate(file); err == nil || !strings.Contains(err.Error(), "have version 99") {
			t.Errorf("%s, tables of a newer binary: %v", name, err)
		}
	}
	db.Kill()
	for name, file := range map[string]string{"storage": storage, "limits": limits} {
		if err := validate(file); err == nil {
			t.Errorf("%s: a database that is away is not said", name)
		}
	}
}
