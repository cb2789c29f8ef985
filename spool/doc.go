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

// Package spool keeps mail for clients that cannot try again: printers, scanners,
// scripts. It is an upstream (`transport spool`) in front of another.
//
// A message is first sent as ever, and when the provider answers, the client
// hears the provider's own word. What meets a temporary refusal, no connection,
// no quota or no token is written to disk, and the client hears 250 only when it
// is durable; the spool then sends it by itself, and says so if it cannot.
//
// There are two kinds: one in front of a named upstream, and one of the process
// in front of each account's own, for servers and accounts that say `spool`.
//
// Reading order:
//
//   - transport.go: the module, and what of it is the upstream's behind it
//   - transaction.go: the way of a fresh message, first synchronous, then kept
//   - internal/store: the directory of the messages' files, and the copy of a body
//     while nothing says yet whether it is needed; internal/record is how a message
//     and its history lie in one file, internal/disk the seam beneath
//   - engine.go: what outlives a configuration: the directory, its loop, its bounds
//   - queue.go: the messages in their order, and as they are listed and counted
//   - lane.go: whose turn it is; internal/order is the heap that both use
//   - attempt.go: what an attempt is followed by; internal/delivery makes it
//   - owner.go: whose a message is, when accounts change
//   - age.go: how long a message waits, and whose clock says so
//   - report.go: what is said of a message that was given up; package dsn writes it
//   - steer.go, drain.go: what operators see and do; facts.go is what may be wrong, which
//     package illness says in words, and what internal/gauges counts
//
// Lock order: Transport.mu, enginesMu, engine.looking, engine.steering, engine.mu, the store's. The last two are
// never held while the disk is asked, but for the share that is free.
//
// Engines outlive configurations: a reload hands the directory, the queue and the
// counts on. Nothing is imported but accounts, relay and internal packages.
//
// What is promised: after 250 a message is not lost, whatever dies. It is
// delivered at least once: a second time only if the process died between the
// provider's 250 and the line that notes it in the message's file, or if the
// connection was lost after the end of data, when nobody knows.
package spool
