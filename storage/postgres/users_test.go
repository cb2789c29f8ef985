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
	"errors"
	"strings"
	"testing"
	"time"

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

// TestApart holds that two storages of one process see no gateway in each other, and each
// sees one in whichever schema of their database, whatever its connections are called.
func TestApart(t *testing.T) {
	server := testpg.Start(t)
	for _, name := range []string{"", "&application_name=mail%20relay", "&application_name=" + strings.Repeat("x", 63)} {
		dsn := server.DSN() + name
		at := func(schema string) *Storage {
			s, err := Open(t.Context(), pgdb.Config{DSN: dsn, Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		users := func(s *Storage) int {
			t.Helper()
			n, err := s.Users(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		from, to := at("one"), at("two")
		if err := errors.Join(from.Apart(t.Context()), to.Apart(t.Context())); err != nil {
			t.Fatal(err)
		}
		if a, b := users(from), users(to); a != 0 || b != 0 {
			t.Errorf("%s: they see %d and %d", name, a, b)
		}
		for _, schema := range []string{"one", "two"} {
			gateway := at(schema)
			if a, b := users(from), users(to); a == 0 || b == 0 {
				t.Errorf("%s: a gateway on %s: they see %d and %d", name, schema, a, b)
			}
			gateway.Close()
			for end := time.Now().Add(time.Minute); users(from)+users(to) > 0; { // the server is slower
				if time.Now().After(end) {
					t.Fatal("they see a gateway that has ended")
				}
			}
		}
		from.Close()
		to.Close()
	}
}
