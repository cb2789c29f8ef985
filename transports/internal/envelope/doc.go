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

// Package envelope makes the envelope of a message and the recipients in its
// header the same, for APIs that deliver to whom the header names and to no one
// else.
//
// The parser reads what providers send foreign bytes through, so it is strict:
// where two readers could see different addresses it sees none and the message
// is refused. Everything that RFC 5322 calls obsolete is such a place, but for
// a full stop in a display name.
//
// Reading order: header.go splits a message into fields, addresses.go reads a
// list of addresses, envelope.go compares them with the envelope.
package envelope
