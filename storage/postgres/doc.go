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

// Package postgres is Caddy's storage in a PostgreSQL database: certificates,
// tokens, dynamic accounts and counts of limits, for one node or many.
//
// # Concepts
//
// A key is a row of the table storage. Rows are written in one statement, so
// that a reader sees the old or the new value; what a call returned for is as
// durable as a commit is on that server (docs/operations.md says what that
// takes).
//
// A lock is a row of the table locks: who holds it, until when by the server's
// clock, and a number from a sequence, the fence. A process that has locks
// renews all of them in one statement (lock.go). What a process that ended or
// sleeps has held is free at the lease's end. A sleeper therefore may believe
// that it holds a lock when it no longer does: [Storage.Swap] is for writers to
// whom that matters. It compares the number under which the row was written.
// [Storage.HoldsLock] is for who does what cannot be compared with anything: it asks
// the server.
//
// # Reading order
//
// module.go, storage.go, lock.go, watch.go (a change is told).
//
// # Locks
//
// Storage.mu is a leaf. No lock is held while the server is asked.
//
// # What outlives a reload
//
// The connections, by a caddy.UsagePool: configurations that say the same share
// them. Apps that write after their configuration's end still can.
package postgres
