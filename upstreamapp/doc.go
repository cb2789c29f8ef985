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

// Package upstreamapp is the Caddy app `smtp_upstreams`: the upstreams of a
// configuration by name, and which of them a message goes through. It carries no
// message itself. Each upstream is a guest module of the namespace
// `smtp_upstreams.transports`, of which upstreampool's `smtp` is the default;
// what the app knows of one are the interfaces of package relay.
//
// # Reading order
//
// app.go (the module, and a message's way to its transport), siblings.go
// (transports that send through others, and the order in which all are attached),
// spooled.go (the spool in front of an account's own upstream), report.go (state,
// verification and examination by name).
//
// # Locks
//
// None: what the app holds is complete before it starts and never changes.
//
// # What outlives a reload
//
// Nothing of the app. Transports keep what is theirs under their own names.
package upstreamapp
