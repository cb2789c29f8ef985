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

// Package ondemand keeps the accounts in memory that are asked for, of a source
// that has too many of them, or has them elsewhere: a table, a directory.
//
// # Concepts
//
// A [Cache] fills an accounts.Index, which lookups ask without a lock, and is
// asked itself for names that are not there (accounts.Loader). What it holds is
// read again in batches: all of it every Fresh, and what a source says has
// changed at once. So a lookup of an account that is held waits for nothing, and
// goes on while the source does not answer, for as long as Stale. A record
// that cannot be used takes its account out of the index: unlike a file, which
// may be half written, a row is what its writer committed.
//
// Each name that a login is refused for costs a read, every Negative at most, together
// with those that are asked for meanwhile: one that nobody has when it is looked for,
// one of an account that is held behind the password (accounts.Confirmer). So neither the
// time nor a failure tells one from the other, and a password that was changed is known at
// once. What a source tells of changes without end is gathered: a batch of names every
// 25 ms, or as soon as it is full, and all that is held in a tenth of the time.
// When the source does not answer, names are not looked for again until a
// pause has passed: a hundred devices that log in do not wait for as many
// timeouts.
//
// # Reading order
//
// cache.go (what is held), load.go (names that are missing), refresh.go (what is
// held is read again), member.go (what sources have in common).
//
// # Locks
//
// The cache's mutex, then the index's. It is not held while a source is read.
//
// # What outlives a reload
//
// What is shared by the members of one configuration's text: cache, connections, loops.
//
// # Imports
//
// accounts and internal/generation, of this module.
package ondemand
