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

// Package pace is what a mailbox learned from its provider's refusals: how many
// connections it gets, and how long to leave the provider alone after a login
// that was refused. It keeps no lock, reads no clock and does no I/O: the pool
// that owns a Pace calls it under its own lock, with the time.
//
// It imports relay for the replies that it remembers and smtpclient for the
// classes of what failed. What a reload keeps is the pool's business; new
// credentials forget everything (Forgive).
package pace
