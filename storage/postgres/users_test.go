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
	"testing"

	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestUsers holds that a copy sees the gateways that have the database open, and not
// itself.
func TestUsers(t *testing.T) {
	dsn := testpg.Start(t).DSN()
	alone := open(t, dsn)
	if n, err := alone.Users(t.Context()); n != 0 || err != nil {
		t.Errorf("alone: %d, %v", n, err)
	}
	gateway, err := Open(context.Background(), pgdb.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := alone.Users(t.Context()); n == 0 || err != nil {
		t.Errorf("with a gateway: %d, %v", n, err)
	}
	gateway.Close()
}
