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

// Package tokenstore is what is kept of a grant, and where: the record of a
// mailbox's consent, how it is sealed, and the stores that hold it.
//
// # Reading order
//
// record.go (the record, and what a configured seed is to it), merge.go (two records of
// one mailbox), store.go (the Store
// that guest modules in oauth_tokens.stores implement, the store on Caddy's storage,
// and Records, which reads and writes through one), seal.go (AES-256-GCM, bound to
// the place: one account's record does not open in another's), held.go (whether a lock
// is held still, for who sends a refresh token); then what makes it
// quick: locks.go (bytes of one file, locked through the system), recent.go (what needs
// not be durable at once lies beside the record), rooms.go (disk that is held for
// records to come).
//
// # Locks
//
// A store's lock of a record is its caller's to take; nothing here takes one. The
// mutexes of byteLocks and Rooms are held for no call of a store. A store that is a Swapper fences writes by number as well, for a lock can be lost.
//
// # What outlives a reload
//
// The records, which outlive the process: a rotated refresh token is durable when
// Swap or Settle returns. Their format is read by all versions (recordVersion).
//
// # Imports
//
// authserver, for who consented and why a grant failed, and internal/seal.
package tokenstore
