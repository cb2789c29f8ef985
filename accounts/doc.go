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
// was; what a login costs is package password's subject), directory.go and
// index.go (looking one up among millions), source.go with inline.go and file.go
// (where they come from; package dynamic is the source that the admin API
// changes, package sql one that is asked for each name), edit.go (changes), import.go and text.go (what other programs wrote).
//
// # What outlives a reload
//
// The accounts of a file, keyed by its path, and of a storage (package dynamic). A
// configuration that fails leaves them as they were; a file that lost more than
// half of its accounts is held back until that is confirmed.
//
// # Locks
//
// A file's state takes its own mutex and then the index's. A lookup takes none.
//
// # Imports
//
// password and internal/generation, of this module: neither an app nor a
// provider is known here.
package accounts
