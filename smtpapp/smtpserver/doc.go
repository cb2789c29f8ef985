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

// Package smtpserver speaks SMTP with clients: submission (RFC 6409) with
// PIPELINING (RFC 2920), CHUNKING (RFC 3030), SIZE (RFC 1870), 8BITMIME (RFC
// 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), STARTTLS (RFC 3207) and AUTH (RFC
// 4954). It knows no account, no upstream and nothing of Caddy.
//
// Concepts. A Conn is one client's connection and its command loop: it keeps the
// sequence of commands (RFC 5321 section 4.1.4), so that nothing else need. A
// Session stands behind it and says who may send and what becomes of a message.
// A Config is what a Conn is told; the Session says which one is in force. A
// transaction, begun by MAIL, ends in exactly one Result, which the Conn makes
// and the Session is told. What the Conn refuses by itself is a Refusal.
//
// One goroutine runs all of it: Serve calls the Session, and what the Session
// reads of a message comes from the connection while it reads. Only Drain,
// Drained and Kill are for others; the one lock, in wire, is held for moments
// and never while anything else is called but the socket's deadline.
//
// Reading order: session.go (what is asked and told), conn.go (the life of a
// connection), command.go, envelope.go, data.go, auth.go (the commands), body.go
// (where a message ends; package content: what none may hold), package grammar,
// wire.go (deadlines; package pace: who gets on while others wait) and room.go (buffers).
//
// Nothing here outlives its connection but three pools of buffers.
package smtpserver
