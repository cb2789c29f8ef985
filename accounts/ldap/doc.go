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

// Package ldap has the accounts of an operator's own directory.
//
// # Concepts
//
// A [Source] looks an entry up when its name is asked for, with a user of its own,
// and maps attributes to the fields of accounts.Record. A password is right if the
// directory lets the entry bind with it; what was right is remembered for a short
// time, as a keyed digest (package password), for as long as the entry does not
// say that its password is another one. What was asked for is held by an
// ondemand.Cache and read again every minute: an entry that is gone, that the
// filter no longer takes, that left the group or whose password changed ends the
// sessions of its account then.
//
// A directory that is away is never a wrong password: nothing is known of it.
//
// # Reading order
//
// source.go (the module), settings.go (what is checked of it), query.go (a name
// becomes a filter or a DN), entry.go (an entry becomes an account), names.go (other
// names of attributes), check.go (passwords), refusal.go (what a refusal says),
// limit.go (how many are tried), pool.go, login.go and server.go (connections).
//
// # What outlives a reload
//
// The state of a source whose configuration and trust pool stay the same: its
// connections and its cache.
//
// # Locks
//
// A pool's, for its idle connections; see ondemand for the rest.
//
// # Imports
//
// accounts, accounts/mapped, accounts/ondemand, accounts/password and
// internal/{breaker,nearest,printable}, of this module.
package ldap
