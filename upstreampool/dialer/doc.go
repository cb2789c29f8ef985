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

// Package dialer opens a provider's connections with what that takes besides the
// connection: a token, the breaker that spares everybody the wait for a provider that
// can't be reached, and the place of the mailbox that has to be lent still. It knows
// no pool.
//
// Reading order: dialer.go, credentials.go (who logs in), token.go.
//
// A Dialer is its upstream's and outlives configurations; each of them has its
// Settings. Everything in it may be used by several goroutines.
package dialer
