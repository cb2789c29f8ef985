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

package pgdb

import (
	"context"
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/internal/testpki"
)

// TestTLS reaches a server whose certificate is to be checked: one that is as it
// should be, and what can be wrong with one, each told with the field that mends it.
func TestTLS(t *testing.T) {
	ca := testpki.NewAuthority("database")
	file := func(a *testpki.Authority) string {
		t.Helper()
		name, err := a.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	trusted, stranger := file(ca), file(testpki.NewAuthority("stranger"))
	start := func(c tls.Certificate) *testpg.Server {
		chain, key := testpki.PEM(c)
		return testpg.StartTLS(t, chain, key)
	}
	good := start(ca.Issue(testpki.Leaf{Names: []string{"127.0.0.1"}}))
	named := start(ca.Issue(testpki.Leaf{Names: []string{"db.example.com"}}))
	plain := testpg.Start(t)
	const secret = "made-up-secret"
	for _, tt := range []struct {
		name    string
		server  *testpg.Server
		options string
		wants   []string // of the error; none: it works
	}{
		{"checked", good, "sslmode=verify-full&sslrootcert=" + trusted, nil},
		{"name not checked", named, "sslmode=verify-ca&sslrootcert=" + trusted, nil},
		{"other authority", good, "sslmode=verify-full&sslrootcert=" + stranger, []string{"certificate signed by unknown authority", "sslrootcert in the field dsn"}},
		{"authority of the system", good, "sslmode=verify-full", []string{"sslrootcert in the field dsn"}},
		{"other name", named, "sslmode=verify-full&sslrootcert=" + trusted, []string{"127.0.0.1", "the host in the field dsn"}},
		{"no TLS there", plain, "sslmode=verify-full&sslrootcert=" + trusted, []string{"the server has no TLS", "field dsn"}},
		{"no TLS here", good, "sslmode=disable", []string{"the server wants TLS", "field dsn"}},
		{"no file", good, "sslmode=verify-full&sslrootcert=/nowhere/ca.pem", []string{"dsn: ", "/nowhere/ca.pem"}},
		{"no such mode", good, "sslmode=perhaps", []string{"dsn: ", "sslmode"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{DSN: "postgres://gateway:" + secret + "@" + tt.server.Addr() + "/postgres?" + tt.options, Timeout: caddy.Duration(time.Minute)}
			encrypted, err := asksTLS(t, c)
			if tt.wants == nil {
				if err != nil || !encrypted {
					t.Errorf("encrypted: %v, %v", encrypted, err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is believed")
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in the error: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

// asksTLS reports whether the server says that the connection is encrypted, over the
// pool and over a connection that listens.
func asksTLS(t *testing.T, c Config) (encrypted bool, err error) {
	t.Helper()
	db, err := c.Open()
	if err != nil {
		return false, err
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listened := false
	if err := db.Listen(ctx, "channel", func() { listened = true; cancel() }, func(string) {}); !listened {
		return false, db.explain(err)
	}
	err = db.Do(t.Context(), func(ctx context.Context, q Querier) error {
		return q.QueryRow(ctx, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted)
	})
	return encrypted, err
}

// TestFilesAreRenewed has the file of the authority change, and go away for a while, under
// a database that is open: each new connection takes what is there.
func TestFilesAreRenewed(t *testing.T) {
	ca := testpki.NewAuthority("database")
	chain, key := testpki.PEM(ca.Issue(testpki.Leaf{Names: []string{"127.0.0.1"}}))
	server := testpg.StartTLS(t, chain, key)
	trusted, err := testpki.NewAuthority("the one before").Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db, err := Config{DSN: "postgres://gateway@" + server.Addr() + "/postgres?sslmode=verify-full&sslrootcert=" + trusted, Timeout: caddy.Duration(time.Minute)}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// Over the pool, and over a connection beside it.
	ask := func() error {
		conn, err := db.connect(t.Context())
		if err != nil {
			return err
		}
		defer conn.Close(t.Context()) //nolint:errcheck // nothing depends on it
		return db.Do(t.Context(), func(ctx context.Context, q Querier) error {
			_, err := q.Exec(ctx, "SELECT 1")
			return err
		})
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Fatalf("another authority: %v", err)
	}
	now, err := ca.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(now, trusted); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Errorf("its own authority: %v", err)
	}
	// What was read at the start counts while there is nothing: here the wrong one.
	if err := os.Remove(trusted); err != nil {
		t.Fatal(err)
	}
	if _, err := db.connect(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("no file: %v", err)
	}
}

// TestRemoteIsChecked holds that a server on another machine is asked for a checked
// certificate unless the DSN says otherwise.
func TestRemoteIsChecked(t *testing.T) {
	for dsn, checked := range map[string]bool{
		"postgres://gateway@db.example.com/mail":                 true,
		"postgres://gateway@localhost,db.example.com/mail":       true,
		"host=db.example.com user=gateway dbname=mail":           true,
		"postgres://gateway@db.example.com/mail?sslmode=require": false,
		"postgres://gateway@127.0.0.1/mail":                      false,
	} {
		db, err := Config{DSN: dsn}.Open()
		if err != nil {
			t.Fatal(err)
		}
		set := db.set.ConnConfig.TLSConfig
		if got := set != nil && !set.InsecureSkipVerify && set.ServerName != ""; got != checked {
			t.Errorf("%s: checked %v", dsn, got)
		}
	}
}
