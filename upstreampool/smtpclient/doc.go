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

// Package smtpclient speaks SMTP to one provider over one connection: it dials,
// encrypts, introduces itself, logs in and carries messages, one after the
// other. It knows no pool, no limit, no account and no token source: what it
// needs of them it is given as plain values.
//
// # Concepts
//
// A Config says how connections are opened and used; many connections share
// one. A Login is what one connection logs in with. A Conn is a connection; it
// is used by one goroutine at a time. An Envelope is the sender's half of one
// message and what became of it. A Flight is a write of several commands and
// the replies to them; a Body is what of a message has been read from the
// client; an Outcome is what became of it, in the provider's words and with
// what is certain of the rest: whether the provider can have accepted
// anything, and whether the connection can carry another message.
//
// The caller decides what follows from an Outcome or a FlightError. Replaceable
// and Confused tell it whether the same flight may go out again on another
// connection, because nothing was committed on this one.
//
// # Reading order
//
// config.go, dial.go, ehlo.go and auth.go (how a connection is made),
// conn.go, live.go and deadline.go (what it is), flight.go (MAIL and RCPT),
// body.go, bdat.go and data.go (the message), single.go (all of it in one
// flight), settle.go, unasked.go and forgotten.go (what can be wrong with a
// session or a provider), secrets.go (what must not get out of a reply).
//
// # Locks
//
// None but that of Live, a set of connections, which is a leaf. Learned is atomic,
// since the connections of an upstream share it.
//
// # What outlives a reload
//
// Nothing by itself: a Conn lives as long as its owner keeps it, and takes the
// Config of the message that it carries (Use).
//
// # Imports
//
// Of ours relay, for replies, extensions (what was announced, and what follows from
// it) and dots (a message as DATA has it), and of internal: exhausted, outproxy, rawread, redact, stack.
package smtpclient
