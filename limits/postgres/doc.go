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

// Package postgres counts the limits of mailboxes for many nodes that share a
// PostgreSQL database. It is a guest behind [limits.Lender]: the nodes' memory
// and the order of messages are package limits'.
//
// # Concepts
//
// A node is one life of one process. One lease, which one heartbeat renews, is
// its right to send; it is counted from before the request, on this machine's
// monotonic clock, and asked for by an atomic load right before MAIL leaves. A
// lease that ended never comes back: the process begins a new life, in which it
// holds nothing.
//
// A part is what a node may use of one limit of one mailbox: connections, or
// slots of a window. Who comes first gets everything, and asks the database no
// more. Who comes later writes what it wants; the holder is told, lowers its
// part by at most what is free of it, and the other takes that. The parts, and
// what was sent by nodes that have given back theirs, are never more than the
// limit together. For a day's quota a node writes what it sent, and at most a
// hundredth ahead (package limits says how much); of a short window its whole
// part counts as sent when it dies.
//
// A node that is gone is marked as ended by whoever sees that its lease is over,
// in a way that a renewal cannot cross. What it held is free when it cannot be
// in use any more: after the lease, the grace and the window's period. A node that
// lives and is cut off sees to it: connections that carry a message longer than
// that are closed, unless a later life has written them as its own.
//
// # Reading order
//
// document.go (what is stored, and who gets what: pure), engine.go (what the
// protocol needs of a database), clock.go (its clock), life.go (the lease), agenda.go and node.go (the worker),
// guest.go (what it does for one upstream), drain.go (a node out of service),
// pg.go (the database), module.go. The simulation in sim_test.go runs all of it
// but pg.go.
//
// # Locks
//
// node.life is a place that transactions and a new life take in turn, during
// I/O; then a mailbox's lock, in package limits; then node.mu, a leaf.
//
// # What outlives a reload
//
// The node and its parts, by a caddy.UsagePool: configurations that say the same
// share it.
package postgres
