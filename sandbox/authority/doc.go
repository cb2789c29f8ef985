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

// Package authority is the sandbox's authorization server: the token endpoint with
// its grants, consents by code and device, introspection and ID tokens, and the
// failures of them that a test asks for. It knows no SMTP; what it needs of the
// sandbox is a Host.
//
// # Reading order
//
// host.go (what it is told), state.go (tokens and their families), token.go (RFC
// 6749, 7523, 8628), pages.go (the other endpoints), consent.go (what people
// answer), idtoken.go.
//
// # Locks
//
// Server.mu is a leaf.
package authority
