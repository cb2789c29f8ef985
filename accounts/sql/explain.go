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

	"github.com/jackc/pgx/v5/pgconn"
)

// explain adds the option that a statement of the server's refusal is made of.
func (r *reader) explain(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if spoiled(err) {
		// It quotes the value, which may be a secret.
		what, _, _ := strings.Cut(pg.Message, `"`)
		return fmt.Errorf("%s (SQLSTATE %s)", strings.TrimRight(what, ": "), pg.Code)
	}
	if !ok || !strings.HasPrefix(pg.Code, "42") || pg.Code == "42501" {
		return err
	}
	option := r.from
	switch pg.Code {
	case "42703", "42702": // no such column, or several
		for _, field := range slices.Sorted(maps.Keys(r.columns)) {
			for _, name := range []string{"a." + r.columns[field] + " ", `"` + r.columns[field] + `"`} {
				if strings.Contains(pg.Message, name) {
					option = "columns." + field
				}
			}
		}
	case "42883": // no such operator or function
		option = "columns.name"
		if strings.Contains(pg.Message, "lower(") {
			option = "lower"
		}
	}
	if option == "query" {
		return fmt.Errorf("%w; look at the field 'query': it is one SELECT of all accounts, without a parameter for the name", err)
	}
	return fmt.Errorf("%w; look at the field '%s'", err, option)
}
