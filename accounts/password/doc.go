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

// Package password says what a password is worth: the hashes that are read, how
// much work one check may be, and how much of it at a time.
//
// # Reading order
//
// hash.go (argon2id, bcrypt and SHA-256 of generated passwords), profile.go (what
// a failed login costs, and fakes of that cost for names without a password),
// verify.go (the checks: one flight for identical ones, shares for accounts and
// clients), cache.go (past successes, by a keyed digest), generate.go.
//
// # What outlives a reload
//
// Process, the one verifier of the process: its bounds and its cache.
//
// # Locks
//
// The verifier's mutex, over maps only; a shard of the cache has its own. Neither
// is held while a hash is computed.
//
// # Imports
//
// None of this module: names are strings here, and accounts are not known.
package password
