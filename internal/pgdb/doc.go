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

// Package pgdb connects the modules that keep something in PostgreSQL: where
// the server is, that TLS is checked, how many connections there may be, and
// which version the tables have.
//
// [Config] is what an operator writes. [Config.Open] makes a [DB] of it and
// changes nothing in the database; [DB.Migrate] brings the tables of one room
// to the version that this binary knows, under an advisory lock, and refuses
// tables that are newer. Each room has its own list of migrations; a migration
// that was released is never changed. [DB.Transact] is a transaction in two round trips,
// [DB.Listen] hears what others tell.
//
// Reading order: config.go, db.go, turns.go (who is next), transact.go, migrate.go, listen.go, kind.go. What configurations
// share by a [Kind] outlives a reload; the rooms that use it say what that is. The package imports nothing
// of ours but internal/checkup and internal/form.
package pgdb
