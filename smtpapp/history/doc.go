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

// Package history counts what became of messages, by the hour, for the last week:
// enough for a picture, and nothing of whose they were.
//
// # On disk
//
// One small value in Caddy's storage, Key, whatever the traffic. Processes that share
// a storage share it: each adds what it has counted, once a minute and at its end, under
// the storage's lock. What a killed process had not written yet is lost: up to a
// minute of a picture.
//
// # Reading order
//
// ring.go (the hours), history.go (counting, writing, reading).
//
// # Locks and reloads
//
// History.mu is held for some instructions, never over the storage. A History is its
// process's and outlives configurations; each runs Keep with its own storage.
package history
