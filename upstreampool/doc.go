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

// Package upstreampool is the transport `smtp` of the app `smtp_upstreams`: pools
// of authenticated connections to a provider's submission service. Package
// smtpclient speaks SMTP on one of them, dialer opens them, preset knows what
// providers publish, pace what their refusals taught.
//
// An upstream is a provider as one configuration names it. Each mailbox has a
// pool in it (pool.go), since providers count mailboxes: accounts that send
// through the same mailbox share its connections, what was learned from its
// refusals, and its limits, which package limits keeps. A message takes its
// slots of the limits first and a connection second.
//
// # Reading order
//
// transport.go (the module), settings.go (one configuration, resolved),
// upstream.go (what outlives it), account.go, pool.go, acquire.go and dispatch.go
// (who gets which connection), conn.go, warm.go (the token before its message),
// transaction.go, body.go and send.go (one message,
// and when it goes out again on another connection) and verify.go.
//
// # Locks
//
// The lock of all upstreams, then that of one upstream's generations, then that
// of a pool. The lock of a shard of pools covers the map alone. None is held
// while something is read or written.
//
// # What outlives a reload
//
// Upstreams, their pools and connections, and their limiters. A configuration
// puts its settings in force over them; each new connection and each message
// takes those that are in force then.
package upstreampool
