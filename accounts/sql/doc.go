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

// Package sql has the accounts of an operator's own table in PostgreSQL.
//
// # Concepts
//
// A [Source] maps the columns of a table, a view or a query to the fields of
// accounts.Record, and asks for rows by name: nothing reads the whole table.
// What was asked for is held by an ondemand.Cache. Three things say that a row has
// changed: each account that is held is read again every minute, a column with
// the time of the last change is looked at every two seconds where there is one,
// and so are notifications, which a trigger sends.
//
// The database is only read, and by the rights of SELECT alone. A row arrives as
// JSON that the server makes of it, so that text, arrays, numbers and
// domains of them are read in one way.
//
// # Reading order
//
// source.go (the module), columns.go (what is read of a row), row.go (a row becomes
// a record), reader.go (the statements), changes.go and follow.go (changes), explain.go
// (what the server refuses, with the option).
//
// # What outlives a reload
//
// The state of a source whose configuration stays the same: its connections and
// its cache.
//
// # Locks
//
// None of its own; see ondemand.
//
// # Imports
//
// accounts, accounts/ondemand, internal/pgdb and smaller ones, of this module.
package sql
