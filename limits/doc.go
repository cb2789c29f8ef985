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

// Package limits counts what is sent, so that a provider never sees more than
// it allows.
//
// Providers count mailboxes. So does a [Limiter]: there is one for each
// upstream, and in it each mailbox has the upstream's limits, for all accounts
// that send through it together. What an account has of its own applies on top,
// to that account alone. A message takes a slot of every limit before MAIL
// leaves (Reserve), and occupies it for one period from its answer (Commit),
// unless MAIL never left (Cancel).
//
// # Never beyond what is stored ahead
//
// [Local] lends slots of a mailbox only out of a reservation that is stored: the
// record says how many messages may have been sent since it was written. What a
// killed process leaves therefore counts at least what it sent; its reservation
// counts as sent at the moment it is read. When the reservation is used up the
// next message waits for the next write, and if that fails nothing is lent.
//
// Each process has a lane of its own (package lane), and in it a file for each shard
// of the mailboxes. A reservation is taken under the shard's lock, after
// the files of the other lanes have been read: their stamps and reservations
// count against the same limits. What a lane left whose process is gone is
// merged into that of the one who notices.
//
// In a storage of files a reservation is a line of the lane's journal (package
// journal), which all shards share with one fsync; the files are written when it has
// grown, and at the end. Processes of versions that know no journals may share the
// storage: while one lives, the files are written each time.
//
// # Connections
//
// A mailbox's connections are shared by its holders (holder.go): the pool of SMTP,
// and the requests of an API that counts with it. Where storages are files, they are
// places that the processes on one storage share (places.go, package place): each is
// a byte of a file, locked by the process that has the connection, and free when the
// process has ended. Other storages have no such lock; there each process has its
// own.
//
// # Reading order
//
// package window (the invariant), layer.go, mailbox.go and slot.go (memory, the way
// of a message), reserve.go (how much to store ahead), record.go, shard.go, files.go
// and the packages record, journal and lane (the disk), holder.go and places.go
// (connections).
//
// # Locks
//
// shard.mu (the map of mailboxes), then mailbox.mu, then sharing.openMu;
// sharing.mu and shard.kickMu are leaves. No lock is held during I/O but
// shard.writing, which makes writers of a shard take turns; the lock of a byte is
// a call into the system's memory, and the one file of them is opened before a
// mailbox is locked, unless that failed the first time. Everything here outlives a reload: it belongs to the upstream.
package limits
