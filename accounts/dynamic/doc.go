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

// Package dynamic is the account source smtp.accounts.dynamic: accounts in
// Caddy's storage, one record each, which the admin API adds, changes and
// removes without a reload.
//
// # Reading order
//
// dynamic.go (the module), state.go (what is known of the records), loop.go
// and watch.go (following the changes of other processes), edit.go (changes),
// seal.go (a record as it lies in the storage).
//
// # What outlives a reload
//
// The state, in a pool by storage and keys: a reload does not read ten thousand
// records again.
//
// # Locks
//
// An edit takes the state's writer, then the storage's lock, then the stripe of
// a record, then the state's mutex and the index. Nothing asks for them in
// another order.
//
// # Imports
//
// accounts, internal/generation and internal/seal: a guest of accounts, which
// does not know it.
package dynamic
