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

// Package connect holds the pages of mailbox owners: the HTTP handler
// `smtp_connect`, where an owner who was sent a link consents to the gateway
// sending from the mailbox.
//
// # Concepts
//
// An invitation is a link with 32 random octets, of which the storage has only the
// SHA-256. It is for one account, ends at a time, and is used up by a consent that
// was stored, by nothing else: a wrong account, a closed window or a scanner that
// opens links leave it as it is. The same link serves a new consent.
//
// A flow is the way to the provider and back. It is in no table: all of it lies
// sealed in a cookie of the browser that began it, so that memory is bounded
// whatever the public does, and any node with the same storage finishes it.
//
// An outcome is what a flow ended with. The browser is sent from the provider's
// answer, whose address holds a code, to its invitation's page, which reads the
// outcome from another sealed cookie: going back or loading again repeats nothing.
//
// # Reading order
//
// invitation.go, flow.go, handler.go, outcome.go, bounds.go.
//
// # What outlives a reload
//
// Invitations and the sealing key, which are in Caddy's storage. The bounds on
// requests begin anew.
//
// # Locks
//
// An invitation's lock in the storage is taken before that of a token record.
//
// # Imports
//
// accounts, oauthtoken, operate; neither admin routes nor commands, which import it.
package connect
