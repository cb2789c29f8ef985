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
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestAccountsInATable goes the whole way: a row logs in and sends, and the
// clients hear nothing final while the database is away.
func TestAccountsInATable(t *testing.T) {
	db := testpg.Start(t)
	plain, hash := password.Generate()
	conn, err := pgx.Connect(context.Background(), db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), `CREATE TABLE boxes (email text PRIMARY KEY, pw text, secret text);
		INSERT INTO boxes SELECT 'scanner' || i || '@example.com', '`+hash+`', 'upstream-password' FROM generate_series(1, 1000) i`)
	if err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.New(t, fmt.Sprintf(`smtp {
		accounts {
			sql %s {
				table boxes
				column name email
				column password_hashes pw
				column secret secret
				upstream sandbox
				notify boxes
				fresh 1h
				stale 1h
			}
		}
	}`, db.DSN()))
	send := func(name, password string) error {
		c := gatewaytest.Session(t, gatewaytest.Dial(t, g.SMTP))
		if err := c.Auth(smtp.PlainAuth("", name, password, "localhost")); err != nil {
			return err
		}
		if err := c.Mail(name); err != nil {
			return err
		}
		if err := c.Rcpt("a@example.org"); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte("Subject: a row\r\n\r\nsent\r\n")); err != nil {
			return err
		}
		return w.Close()
	}
	wants := func(name, password, code string) {
		t.Helper()
		err := send(name, password)
		if code == "" && err != nil || code != "" && (err == nil || !strings.HasPrefix(err.Error(), code)) {
			t.Errorf("%s: %v, want %q", name, err, code)
		}
	}
	wants("Scanner900@example.com", plain, "")
	wants("scanner901@example.com", "wrong", "535")
	wants("nobody@example.com", plain, "535")
	g.Do(t, "PATCH", "/smtp/accounts/scanner902@example.com", `{"paused": true}`).Want(409)

	// A row that is deleted leaves nothing behind: the connection to the provider goes at once.
	if n := idle(t, g); n != 1 {
		t.Errorf("%d idle connections", n)
	}
	if _, err := conn.Exec(context.Background(), `DELETE FROM boxes WHERE email = 'scanner900@example.com'; NOTIFY boxes, 'scanner900@example.com'`); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); idle(t, g) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection of an account that is deleted stays open")
		}
	}
	wants("scanner900@example.com", plain, "535")
	wants("scanner904@example.com", plain, "")

	db.Kill()
	wants("scanner904@example.com", plain, "")
	wants("scanner903@example.com", plain, "454")
	wants("nobody2@example.com", plain, "454")
	if said := fmt.Sprint(g.Do(t, "GET", "/smtp/problems", "").Want(200)); !strings.Contains(said, "sql boxes") || !strings.Contains(said, "cannot be read") {
		t.Errorf("problems: %s", said)
	}
}

// idle is the number of connections to the sandbox that wait for a message.
func idle(t *testing.T, g *gatewaytest.Gateway) int {
	t.Helper()
	var list struct {
		Upstreams []struct {
			Connections struct {
				Idle int `json:"idle"`
			} `json:"connections"`
		} `json:"upstreams"`
	}
	a := g.Do(t, "GET", "/smtp/upstreams", "")
	if err := json.Unmarshal(a.Body, &list); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	n := 0
	for _, u := range list.Upstreams {
		n += u.Connections.Idle
	}
	return n
}
