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

// Package relay is the contract between the front of the gateway, which talks
// to clients, and the transports, which talk to providers: what a transaction
// is, what a reply is, and the one table of the gateway's own replies.
//
// It is a leaf: front and transports import it, and nothing imports both. See
// relay.go (a transaction), transport.go (what a transport may implement beside
// it), reply.go and table.go (every reply of our own, with its code).
package relay
