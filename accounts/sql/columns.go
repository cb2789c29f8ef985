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
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/accounts/mapped"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// changedField is the one that is the row's and not the account's.
const changedField = "updated_at"

// reader returns what reads the table. The configuration is complete.
func (s *Source) reader() (*reader, error) {
	columns := maps.Clone(s.Columns)
	if columns == nil {
		columns = make(map[string]string)
	}
	if columns["name"] == "" {
		columns["name"] = "name"
	}
	r := &reader{source: s.Name(), upstream: s.Upstream, columns: columns, lower: s.Lower, from: "query"}
	var object []string
	for _, field := range slices.Sorted(maps.Keys(columns)) {
		column := columns[field]
		known := slices.Sorted(maps.Keys(mapped.Fields))
		if _, ok := mapped.Fields[field]; !ok && field != changedField {
			return nil, fmt.Errorf("field 'columns': no account has a '%s'%s", field, nearest.Hint(field, append(known, changedField)))
		}
		if column == "" || len(column) > 63 || strings.ContainsRune(column, 0) {
			return nil, fmt.Errorf("field 'columns.%s': '%s' is no column's name", field, column)
		}
		if field != changedField {
			object = append(object, "'"+field+"', "+quoted(column))
		}
	}
	if columns["upstream"] == "" && s.Upstream == "" {
		return nil, errors.New("field 'upstream': accounts have none: name one, or a column for it")
	}
	if columns["paused"] != "" && columns["active"] != "" {
		return nil, errors.New("field 'columns.active': there is a column for paused already")
	}

	// The query may end in a comment, which ends with its line.
	from := "(" + strings.TrimRight(strings.TrimSpace(s.Query), ";") + "\n)"
	if s.Table != "" {
		r.from = "table"
		schema, table, ok := strings.Cut(s.Table, ".")
		switch {
		case ok && s.Config.Schema != "":
			return nil, errors.New("field 'table': its schema is in the field schema already")
		case !ok:
			schema, table = s.Config.Schema, s.Table
		}
		if from = (pgx.Identifier{table}).Sanitize(); schema != "" {
			from = pgx.Identifier{schema, table}.Sanitize()
		}
	}
	name := quoted(columns["name"])
	compared := name
	if s.Lower {
		compared = "lower(" + name + ")"
	}
	// Not jsonb: it refuses text that json takes, and makes nothing that is needed here.
	row := "json_build_object(" + strings.Join(object, ", ") + ")::text"
	found := " WHERE " + compared + " = ANY($1)"
	from = " FROM " + from + " AS a"
	r.byName = "SELECT " + row + from + found
	r.bind = "SELECT 1" + from + found + " LIMIT 0"
	r.sample = "SELECT coalesce(" + name + "::text, '')" + from + " LIMIT $1"
	if c := columns[changedField]; c != "" {
		r.changes = changes{quoted(c), name, row, from}
	}
	return r, nil
}

func quoted(column string) string { return "a." + pgx.Identifier{column}.Sanitize() }
