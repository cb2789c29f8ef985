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

// Package front is where clients come in: sockets, the generations of what
// serves them, and who is let in. It knows no protocol. A protocol's app gives
// it a Handler for each server of its configuration; the front hands over the
// connections that it has admitted.
//
// Concepts. A core is one listening socket with its accept loop. It outlives
// configurations, since a plain Caddy listener loses connections at each reload
// on Linux. A Generation is one server of one configuration. A Point is where
// the two meet: each core has one, and each server has one more for connections
// that something else accepts (caddy-l4). The generation attached last is in
// force; when it is detached, because its configuration ended or failed to
// start, the one before it is in force again. A Session is a client that is
// being served. It belongs to its point and to no generation: the handler asks
// Point.Current for what is in force.
//
// Reading order: point.go, attach.go, listener.go, admit.go, counters.go,
// guests.go; guard.go and refusals.go stand alone.
//
// What outlives a reload: cores by address, and by protocol and server name the
// counters and the point for accepted connections. Listener wrappers do not:
// they belong to their configuration, so each generation has a virtual listener
// over every core.
//
// Lock order: Point.mu, counters.mu and guests.mu are leaves, but that
// counters.mu may be held when guests.mu is taken. No lock is held while a
// handler, a session or a socket is called.
package front
