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

// Package transfer copies one of Caddy's storages into another: files into a
// database, and back.
//
// # Concepts
//
// A value is copied byte for byte, so that a token keeps its number and its
// seal. It is read back and compared. What the other storage has newer is left
// as it is, and said. Nothing is deleted on either side, so that a copy that
// was cut short is simply begun again: what is there already is only compared.
//
// No gateway may run on either storage meanwhile: [Ready] looks for one, and a value
// that changes under the copy is an error. What processes hold while they live, locks
// and their kin, is no value. What cannot be copied is an error too, never left unsaid.
//
// # Imports
//
// internal/presence.
package transfer
