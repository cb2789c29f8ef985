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

// Package oauthtoken is the Caddy app `oauth_tokens`: the token manager. What an
// authorization server is asked, and what its answers mean, is package authserver's
// subject, and what is kept of a grant is tokenstore's. None knows of SMTP.
//
// # Concepts
//
// A grant is what an owner has consented to at one provider. It belongs to a
// mailbox: accounts of one mailbox share its one record, its one refresh token and
// its one refresh at a time (entry). Several access tokens come from it, one for each
// set of scopes (scoped). What a record is made of stands in tokenstore; a seed is a
// refresh token that an account's configuration holds, from which a record may descend.
//
// A refresh (refresh.go) is: lock, read again, take over what an earlier
// version kept by account (takeover.go), choose the token, hold room on the
// disk (room.go), ask, write (durably, unless only an access token is new), use. A rotated refresh token is durable before its
// access token goes to any caller.
//
// # What others see of a grant
//
// Status, and StatusOf for one account, say it in two words. State is what the
// manager is doing: ok, idle, refreshing, reauth_required, refused, error.
// Standing is what is known of the grant itself, and what an operator is to be
// shown: active, not_verified, never_consented, refused, client_refused, damaged
// (the constants Standing...). With `refused`, Final says that only a new consent
// helps, and otherwise NextTry is when the server is asked again; LastError has
// cause and remedy. Error.ReauthRequired and Error.Reply say the same to a
// transport. These names are stable.
//
// Retry makes the next Token ask whatever was refused (resume, a token that is set
// again); Fresh asks at once (test, verify); a new configuration asks once.
//
// # Reading order
//
// config.go and served.go (what is configured, and what serves it), manager.go (the
// hit path, which takes no lock, and the miss path), flight.go, refresh.go, post.go
// (one refresh's requests, within rates and breaker), background.go; login.go
// keeps what a login brought, exit.go what is left when the process ends.
//
// # Locks
//
// The store's lock of a record is taken before entry.mu, and a mailbox's record
// before an account's; manager.mu and the schedule's lock are taken within entry.mu.
// None of them is held while a server is asked, but the store's.
//
// # What outlives a reload
//
// The manager of a provider identity (name, kind, endpoints, client, scopes), with its tokens,
// schedule, breaker and flights. Secrets and tunables come from the configuration
// in force.
//
// # Imports
//
// authserver, tokenstore, grant, explain and what is internal; no account, relay or upstream.
package oauthtoken
