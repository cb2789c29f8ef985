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
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/form"
)

// Defaults of Config.
const (
	defaultSchema   = "mailgateway"
	defaultMaxConns = 8
	defaultTimeout  = 10 * time.Second
)

// Config says how to reach a database. Its texts may hold placeholders, such as
// {env.DSN} or {file./run/secrets/password}.
type Config struct {
	// DSN is a URL, postgres://user@host1,host2/database, or words as libpq
	// takes them, host=/run/postgresql dbname=mail. Of several hosts the first
	// that answers is used; target_session_attrs=read-write finds the primary.
	// A server that is not on this machine is reached by TLS with sslmode
	// verify-full unless the DSN says otherwise. Default: what PGHOST, PGUSER
	// and the other variables of libpq say.
	DSN string `json:"dsn,omitempty"`

	// Password is the user's password, so that it need not stand in the DSN.
	// Default: the DSN's, or that of libpq's password file.
	Password string `json:"password,omitempty"`

	// Schema holds the tables. It is made if it does not exist. Default:
	// `mailgateway`.
	Schema string `json:"schema,omitempty"`

	// MaxConns is the number of connections that one process may have.
	// Default: 8.
	MaxConns int `json:"max_conns,omitempty"`

	// Timeout bounds one call to the server, with the connection it may need.
	// Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	resolved bool
	given    *Config // with its placeholders
}

// Resolve returns the configuration with its placeholders replaced and its
// defaults filled in.
func (c Config) Resolve() (Config, error) {
	err := c.resolve()
	return c, err
}

func (c *Config) resolve() error {
	if c.resolved {
		return nil
	}
	given := *c
	c.resolved, c.given = true, &given
	repl := caddy.NewReplacer()
	for _, f := range []struct {
		name string
		text *string
	}{{"dsn", &c.DSN}, {"password", &c.Password}, {"schema", &c.Schema}} {
		text, err := repl.ReplaceOrErr(*f.text, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, form.Unresolved(err))
		}
		*f.text = text
	}
	c.Password = strings.TrimRight(c.Password, "\r\n")
	if c.Schema == "" {
		c.Schema = defaultSchema
	}
	if c.MaxConns == 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.Timeout == 0 {
		c.Timeout = caddy.Duration(defaultTimeout)
	}
	switch {
	case strings.ContainsRune(c.Schema, 0) || len(c.Schema) > 63:
		return fmt.Errorf("schema: '%s' is no name", c.Schema)
	case c.MaxConns < 2:
		// One may wait for a lock that another one's owner gives back.
		return fmt.Errorf("max_conns: %d are too few, 2 are the least", c.MaxConns)
	case c.Timeout < 0:
		return errors.New("timeout: it is negative")
	}
	return nil
}

// pool returns the configuration of a pool. Messages of the parser don't name
// what may be a password.
func (c *Config) pool() (*pgxpool.Config, error) {
	p, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("dsn: %s", reason(err))
	}
	if remote(p) && !saysTLS(c.DSN) {
		if p, err = pgxpool.ParseConfig(withVerify(c.DSN)); err != nil {
			return nil, fmt.Errorf("dsn: %s", reason(err))
		}
	}
	if c.Password != "" {
		p.ConnConfig.Password = c.Password
	}
	if p.ConnConfig.Database == "" {
		return nil, errors.New("dsn: it names no database")
	}
	if p.ConnConfig.ConnectTimeout == 0 {
		p.ConnConfig.ConnectTimeout = time.Duration(c.Timeout)
	}
	if p.ConnConfig.RuntimeParams["application_name"] == "" {
		p.ConnConfig.RuntimeParams["application_name"] = "mailgateway"
	}
	// Text is UTF-8 here, whatever the database's own is.
	p.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	again := *c
	p.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		again.renew(conn)
		return nil
	}
	p.MaxConns = int32(min(c.MaxConns, 1<<20)) //nolint:gosec // bounded
	p.MinConns = 0
	p.MaxConnIdleTime = 5 * time.Minute
	return p, nil
}

// reason drops the part of a parser's message that repeats the DSN.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+3:]
	}
	return text
}

var (
	tlsParameter = regexp.MustCompile(`[?&]sslmode=`)
	tlsWord      = regexp.MustCompile(`(^|\s)sslmode\s*=`)
	quotedWord   = regexp.MustCompile(`'(\\.|[^'\\])*'`)
)

// saysTLS reports whether a DSN sets sslmode: a password or the name of a database
// may hold the word too.
func saysTLS(dsn string) bool {
	if isURL(dsn) {
		return tlsParameter.MatchString(dsn)
	}
	return tlsWord.MatchString(quotedWord.ReplaceAllString(dsn, "''"))
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// withVerify asks for a checked certificate.
func withVerify(dsn string) string {
	switch {
	case !isURL(dsn):
		return dsn + " sslmode=verify-full"
	case strings.Contains(dsn, "?"):
		return dsn + "&sslmode=verify-full"
	default:
		return dsn + "?sslmode=verify-full"
	}
}

// remote reports whether one of the hosts is on another machine.
func remote(p *pgxpool.Config) bool {
	hosts := []string{p.ConnConfig.Host}
	for _, f := range p.ConnConfig.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h); !strings.HasPrefix(h, "/") && h != "localhost" && (err != nil || !a.IsLoopback()) {
			return true
		}
	}
	return false
}

// WarnUnchecked says what a server on another machine risks that is reached without
// TLS, or without a look at its certificate: what is between can do that.
func (d *DB) WarnUnchecked(logger *zap.Logger, risk string) {
	if d.unchecked() {
		logger.Warn("the database's certificate is not checked: what is between can " + risk + "; use sslmode=verify-full in the field dsn")
	}
}

func (d *DB) unchecked() bool {
	p := d.set
	if !remote(p) {
		return false
	}
	unchecked := p.ConnConfig.TLSConfig == nil ||
		p.ConnConfig.TLSConfig.InsecureSkipVerify && p.ConnConfig.TLSConfig.VerifyPeerCertificate == nil
	for _, f := range p.ConnConfig.Fallbacks {
		unchecked = unchecked || f.TLSConfig == nil
	}
	return unchecked
}

// renew has a new connection use the files as they are now that the DSN, its placeholders
// or libpq's variables name: certificates are renewed, and passwords changed, without the
// configuration. If they cannot be read, what was read before stays; another server
// takes a reload.
func (c *Config) renew(conn *pgx.ConnConfig) {
	now, err := c.again()
	if err != nil || now.ConnConfig.Host != conn.Host || now.ConnConfig.Port != conn.Port {
		if now, err = c.pool(); err != nil {
			return
		}
	}
	conn.TLSConfig, conn.Fallbacks, conn.Password = now.ConnConfig.TLSConfig, now.ConnConfig.Fallbacks, now.ConnConfig.Password
}

// again is pool with the placeholders as they are now.
func (c *Config) again() (*pgxpool.Config, error) {
	given := *c.given
	if err := given.resolve(); err != nil {
		return nil, err
	}
	return given.pool()
}
