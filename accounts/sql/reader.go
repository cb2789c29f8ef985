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
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/ondemand"
	"github.com/caddymail/mailgateway/internal/pgdb"
)

// batch is the number of rows of one statement, and maxChanges that of the
// changed ones; where there are more, all that is held is read again.
const (
	batch      = 500
	maxChanges = 1000
)

// reader reads rows of a table.
type reader struct {
	source   string
	upstream string
	columns  map[string]string // by field
	lower    bool
	byName   string // statement: rows by $1, an array of names
	sample   string // statement: $1 rows
	changes  string // statement: the newest $2 names that changed in $1 seconds; "": none
	db       *pgdb.DB
}

// Read implements ondemand.Reader.
func (r *reader) Read(ctx context.Context, names []string) (map[string]ondemand.Found, error) {
	wanted := make(map[string]bool, len(names))
	asked := make([]string, 0, len(names))
	for _, n := range names {
		wanted[n] = true
		if r.lower {
			n = strings.ToLower(n)
		}
		asked = append(asked, n)
	}
	all, err := r.rows(ctx, r.byName, array(asked))
	for n := range all {
		if !wanted[n] { // lower knows more letters than we do
			delete(all, n)
		}
	}
	return all, err
}

// Sample implements ondemand.Sampler.
func (r *reader) Sample(ctx context.Context, n int) (map[string]ondemand.Found, error) {
	return r.rows(ctx, r.sample, n)
}

func (r *reader) rows(ctx context.Context, statement string, arg any) (map[string]ondemand.Found, error) {
	var all map[string]ondemand.Found
	err := r.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, statement, arg)
		if err != nil {
			return err
		}
		defer rows.Close()
		all = make(map[string]ondemand.Found)
		for rows.Next() {
			var row []byte
			if err := rows.Scan(&row); err != nil {
				return err
			}
			r.add(all, row)
		}
		return rows.Err()
	})
	return all, err
}

// add adds what a row holds.
func (r *reader) add(all map[string]ondemand.Found, row []byte) {
	rec, err := r.record(row)
	var a *accounts.Account
	if err == nil {
		a, err = accounts.Compile(rec, r.source)
	}
	name := accounts.FoldName(rec.Name)
	if accounts.CheckName(name) != nil {
		return // no client can ask for it
	}
	if _, twice := all[name]; twice {
		err = &accounts.FieldError{Account: rec.Name, Field: "name", Err: errors.New("two rows have this name")}
	}
	if err != nil {
		all[name] = ondemand.Found{Problem: r.problem(rec.Name, err)}
		return
	}
	all[name] = ondemand.Found{Account: a}
}

// problem names the column that a field is read from.
func (r *reader) problem(name string, err error) accounts.Problem {
	p := accounts.Problem{Source: r.source, Account: name, Message: err.Error()}
	if fe, ok := errors.AsType[*accounts.FieldError](err); ok {
		p.Field, p.Message = fe.Field, fe.Err.Error()
		field, _, _ := strings.Cut(fe.Field, "[")
		field, _, _ = strings.Cut(field, "/")
		if c := r.columns[strings.TrimPrefix(field, "limits.")]; c != "" {
			p.Message = fmt.Sprintf("column '%s': %s", c, p.Message)
		}
	}
	return p
}

// change is a row that changed, and when.
type change struct{ Name, At string }

// changed returns the rows that changed in so many seconds, the last first.
func (r *reader) changed(ctx context.Context, seconds float64) ([]change, error) {
	var all []change
	err := r.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, r.changes, seconds, maxChanges)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[change])
		return err
	})
	return all, err
}

// array is an array's literal, which the server takes for an array of the
// column's own type: citext finds its index by that.
func array(elements []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		_, _ = escape.WriteString(&b, e)
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// Interface guards
var (
	_ ondemand.Reader  = (*reader)(nil)
	_ ondemand.Sampler = (*reader)(nil)
)
