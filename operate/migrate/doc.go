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

// Package migrate reads other programs' accounts: the Python proxy that came
// before this gateway, its CSV, email-oauth2-proxy, Postfix and PowerMTA. What it makes of a file
// is a Foreign: records that the gateway can import, notes about what has no
// place here, and the providers and upstreams that the records need, as
// Caddyfile text.
//
// Everything in a file is somebody else's: it is bounded, no value of it gets
// into an error, and what becomes Caddyfile text cannot become a placeholder or a
// second line. Read foreign.go first; each format has a file of its own.
package migrate
