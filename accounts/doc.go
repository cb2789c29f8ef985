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

// Package accounts says who may send, as whom, and through what: the account
// record, the directory, and the sources that fill it.
//
// # Reading order
//
// account.go (the record), credential.go and authenticate.go (which password it
// was), hash.go and cache.go (what a login costs), directory.go and index.go
// (looking one up among millions), source.go with inline.go, file.go and
// dynamic.go (where they come from), edit.go and dynedit.go (changes), import.go
// and text.go (what other programs wrote).
//
// # What outlives a reload
//
// The accounts of a file and of a storage, keyed by path and by storage. A
// configuration that fails leaves them as they were; a file that lost more than
// half of its accounts is held back until that is confirmed.
//
// # Locks
//
// An edit takes the state's writer, then the storage's lock, then the stripe of
// a record, then the state's mutex and the index. Nothing asks for them in
// another order.
package accounts
