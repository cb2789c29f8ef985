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
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/testpg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is a server with an operator's table.
type database struct {
	*testpg.Server
	tb testing.TB
}

func newDatabase(tb testing.TB, statements ...string) *database {
	tb.Helper()
	db := &database{testpg.Start(tb), tb}
	db.exec(statements...)
	return db
}

func (d *database) exec(statements ...string) {
	d.tb.Helper()
	d.execIn("postgres", statements...)
}

// dsn is where another database of the server is.
func (d *database) dsn(name string) string {
	return strings.Replace(d.DSN(), "/postgres?", "/"+name+"?", 1)
}

// execIn is exec in another database of the server.
func (d *database) execIn(name string, statements ...string) {
	d.tb.Helper()
	conn, err := pgx.Connect(context.Background(), d.dsn(name)+"&client_encoding=UTF8")
	if err != nil {
		d.tb.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // a test's
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s); err != nil {
			d.tb.Fatalf("%s: %v", s, err)
		}
	}
}

// start provisions and starts a source of the database.
func (d *database) start(s *Source) *Source {
	d.tb.Helper()
	return d.startDSN(d.DSN(), s)
}

func (d *database) startDSN(dsn string, s *Source) *Source {
	d.tb.Helper()
	s.Config.DSN = dsn
	if err := s.provision(zap.NewNop()); err != nil {
		d.tb.Fatal(err)
	}
	if err := s.Start(); err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() {
		s.Stop()
		if err := s.Cleanup(); err != nil {
			d.tb.Error(err)
		}
	})
	return s
}

// until waits for what an event brings about.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("not seen: " + what)
		}
	}
}

func directory(s *Source) *accounts.Directory {
	return accounts.NewDirectory([]accounts.Source{s}, zap.NewNop())
}

// login is what a login ends in.
func login(tb testing.TB, d *accounts.Directory, name, password string) error {
	tb.Helper()
	_, err := d.Authenticate(context.Background(), name, password)
	return err
}

func wantLogin(tb testing.TB, d *accounts.Directory, name, password string, want error) {
	tb.Helper()
	if err := login(tb, d, name, password); !errors.Is(err, want) {
		tb.Errorf("login of %s: %v, want %v", name, err, want)
	}
}
