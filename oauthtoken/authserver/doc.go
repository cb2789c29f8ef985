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

// Package authserver is an OAuth 2.0 authorization server as its client sees it:
// what is configured of one, the requests it is sent, what its answers mean, and
// the consents of owners. It keeps no token.
//
// # Concepts
//
// A Provider is one server with one client registration. A kind (kinds.go) is what
// is published of a sort of servers; there is no code per kind. An Error is why
// there is no token: its Class says what it means for the next steps, its standing
// what an operator is shown, its Reply what a client of ours may hear.
//
// # Reading order
//
// config.go and provider.go, kinds.go, discovery.go (endpoints), request.go and
// wire.go (what is sent; files.go, serviceaccount.go and external.go for
// credentials, which package assertion signs), response.go, errors.go and reasons.go (what an answer means),
// consent.go, device.go and idtoken.go (logins), clock.go.
//
// # Locks
//
// The discovery's alone, which is held while the document is fetched. No other
// lock is taken, and no caller's is known here.
//
// # What outlives a reload
//
// Nothing of its own. The clock of the server is its user's (Use), so that it does.
//
// # Imports
//
// explain, assertion and what is internal. Errors hold no token: what a server says is redacted
// before it is kept (RFC 6749, 7521, 7523, 7636, 8252, 8414, 8628, 9207).
package authserver
