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

// Package smtpapp is the Caddy app `smtp`: listeners, sessions, client
// authentication and the way of one message.
//
// Package internal/front accepts the connections and decides who is let in;
// package smtpapp/smtpserver speaks the protocol. What is here stands between
// the two and the rest: whose session it is, which account may send what, and
// which upstream takes it.
//
// # Reading order
//
// config.go and provision.go (the options, resolved), app.go and attach.go
// (start and end), generation.go (one server of one configuration), conn.go and
// session.go (a client), policy.go and identity.go (what it may), refusals.go and
// bans.go (what it hears, and who is told), log.go, messages.go, metrics.go and the tracing
// files.
//
// # What outlives a reload
//
// Sessions. Each takes the generation in force at its next MAIL, and ends with
// 421 when what let it in has changed: the server is gone, the password is
// another, the account is paused or somebody else's.
package smtpapp
