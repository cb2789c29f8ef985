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

// Package mailapi is what the upstreams have in common that post messages to a
// provider's HTTP API: a mailbox's place and counts, one request that is never
// repeated once it may have been carried out, access tokens, and the part of an
// SMTP transaction that such an API has no answer for.
//
// A transport fills in an [Upstream]: where to post, what a message is made of,
// what an answer means. It decides nothing about repeating.
//
// # When a request is repeated
//
// Twice only, each time once: the answer was that the token is refused, and all
// of the body can be given again; or the connection was gone before anything of
// the body was asked for. Whatever else has no clear answer may have been
// carried out, and is not repeated.
//
// # Reading order
//
// upstream.go (what a kind says of itself), transaction.go (the way of one
// message), client.go and body.go (the one request), ledger.go (what a mailbox
// may), learned.go (what answers say of it), verify.go (the same way without a message).
//
// # Locks
//
// Body.mu is held while the client's octets are awaited, so that no reading of
// them outlives Data. The limiter's locks are taken under ledger.mu; it and the
// generations' lock are leaves otherwise. The ledgers outlive a reload; all else
// belongs to one configuration.
package mailapi
