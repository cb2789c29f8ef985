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

// Package console holds the operator's pages: the HTTP handler `smtp_console`.
//
// # Concepts
//
// A page is HTML made on the server; htmx, which is embedded, only replaces the part
// of a page that changes while it is looked at. Everything works without scripts.
// What a page shows or does comes from package operate and the apps: the console
// has no state of its own but trials (test mails under way, bounded), batches (invitations of many, bounded: room batch) and used form
// numbers (so that a double click does a thing once, and gets the answer: once.go). Words for values are in the room words.
//
// A user comes from Caddy (basic_auth, forward_auth), from a login at an OpenID Connect
// provider (login.go: the session is a sealed cookie, known by every node), or sits at the
// machine itself; the role, viewer or operator, comes from the handler's lists. Each change
// is written to the log under the name `audit`, with who.
//
// # Reading order
//
// handler.go, user.go, login.go, page.go, form.go; then overview.go (and the room picture), accounts.go, account.go, change.go,
// devices.go, card.go, trial.go (and the room trial), clients.go, messages.go, spool.go, health.go, changes.go (and the room audit).
//
// # What outlives a reload
//
// Trials, whose end an open page waits for; the cookies' key, in the storage.
//
// # Locks
//
// None of its own: the rooms trial and batch have one each, over their map.
//
// # Imports
//
// operate and what it is about; no admin route, no command, no Caddyfile.
package console
