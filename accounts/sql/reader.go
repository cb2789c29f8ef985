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
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	from     string            // the option that says what is read
	lower    bool
	byName   string // statement: rows by $1, an array of names
	bind     string // statement: the same without any row
	sample   string // statement: the names of $1 rows
	changes  changes
	db       *pgdb.DB
	note     func(subject string, p *accounts.Problem)
}

// Read implements ondemand.Reader.
func (r *reader) Read(ctx context.Context, names []string) (map[string]ondemand.Found, error) {
	all := make(map[string]ondemand.Found)
	err := r.read(ctx, all, names)
	if err != nil {
		return nil, r.explain(err)
	}
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	for n := range all {
		if !wanted[n] { // lower knows more letters than we do
			delete(all, n)
		}
	}
	return all, nil
}

// read adds what the rows of names hold. A name that the column's type has no value
// for, and a row that the server cannot make text of, fail their statement: that fails
// nobody else.
func (r *reader) read(ctx context.Context, all map[string]ondemand.Found, names []string) error {
	err := r.rows(ctx, r.byName, r.asked(names), func(row string) { r.add(all, []byte(row)) })
	if err == nil || !spoiled(err) {
		return err
	}
	if len(names) > 1 {
		half, before := len(names)/2, len(all)
		if err := r.read(ctx, all, names[:half]); err != nil {
			return err
		}
		if err := r.read(ctx, all, names[half:]); err != nil {
			return err
		}
		// Where no row can be read it is not the rows that are wrong.
		if bad := unreadable(all, names); len(all) > before && bad == len(names) {
			return err
		}
		return nil
	}
	none := func(string) {}
	if r.rows(ctx, r.bind, r.asked(names), none) == nil {
		if len(names) == 1 {
			all[names[0]] = ondemand.Found{Problem: accounts.Problem{Source: r.source, Account: names[0], Message: rowUnread + r.explain(err).Error()}}
			return nil
		}
		return err
	}
	if r.rows(ctx, r.bind, "{}", none) == nil {
		return nil // no row can have that name
	}
	return err
}

// rowUnread begins the problem of a row that the server cannot make text of.
const rowUnread = "the row cannot be read: "

// unreadable returns how many of names have a row that cannot be read.
func unreadable(all map[string]ondemand.Found, names []string) (n int) {
	for _, name := range names {
		if strings.HasPrefix(all[name].Problem.Message, rowUnread) {
			n++
		}
	}
	return n
}

// spoiled reports whether it is a value that the server failed at.
func spoiled(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "22") || pg.Code == "23514") // data exceptions, and a domain's check
}

// asked is the array of names that a statement wants.
func (r *reader) asked(names []string) string {
	asked := make([]string, 0, len(names))
	for _, n := range names {
		if r.lower {
			n = strings.ToLower(n)
		}
		asked = append(asked, n)
	}
	return array(asked)
}

// Sample implements ondemand.Sampler: it shows what the names of some rows find.
func (r *reader) Sample(ctx context.Context, n int) (map[string]ondemand.Found, error) {
	var names, capitals []string
	err := r.rows(ctx, r.sample, n, func(name string) {
		folded := accounts.FoldName(name)
		if folded != name {
			capitals = append(capitals, folded)
		}
		if accounts.CheckName(folded) == nil && !slices.Contains(names, folded) {
			names = append(names, folded)
		}
	})
	if err != nil && !spoiled(err) {
		return nil, r.explain(err)
	}
	found, err := r.Read(ctx, names)
	if err != nil {
		return nil, err
	}
	// Of a column without regard to case they are found.
	if lost := func(name string) bool { _, ok := found[name]; return !ok }; slices.ContainsFunc(capitals, lost) && !r.lower {
		r.note("names", &accounts.Problem{
			Source: r.source, Field: "columns.name",
			Message: fmt.Sprintf("column '%s': there are names with capital letters, which no login finds: set the option lower, or keep them in lower case", r.columns["name"]),
		})
	}
	return found, nil
}

// rows calls each with the text of each row.
func (r *reader) rows(ctx context.Context, statement string, arg any, each func(row string)) error {
	var all []string
	var err error
	// A server that was restarted leaves a pool full of connections that it has cut.
	for range r.db.MaxConns() + 1 {
		err = r.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
			rows, err := q.Query(ctx, statement, arg)
			if err != nil {
				return err
			}
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if !readAgain(err) || ctx.Err() != nil {
			break
		}
	}
	for _, row := range all {
		each(row)
	}
	return err
}

// readAgain reports whether the server would have answered but for the connection, or
// for what others did at that time. Nothing is changed by a statement that only reads.
func readAgain(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "57P01" || pg.Code == "57P02" || strings.HasPrefix(pg.Code, "40")
	}
	_, dialing := errors.AsType[*pgconn.ConnectError](err)
	return err != nil && !dialing && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
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
