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

// Package choice is the transport `choice`: several upstreams for the same
// mailboxes, of which each message takes the first that can carry it.
//
// What decides is known before anything of a message was sent: what its envelope
// asks for (size, null sender, DSN) and whether a way is closed to its mailbox for
// good, which a refused login has said. A way that is merely down is no reason to
// take another: the client comes again. Once an upstream has answered a recipient,
// it keeps the message, since one that may have left must not leave twice.
//
// Reading order: choice.go is the module and the decision, transaction.go a
// message until its first recipient is answered, facts.go what is known of
// mailboxes, verify.go the test of all ways.
//
// The facts' lock is a leaf. Facts outlive a reload, and no restart: the first
// message after one meets the refusal again.
package choice
