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

// Package gate bounds the token requests of one provider: how many run at a time,
// how many begin in a second, and who goes first. It knows no token.
//
// # Reading order
//
// gate.go is all of it.
//
// # Locks
//
// The gate's mutex is taken last, and held for no wait.
//
// # What outlives a reload
//
// A gate does, with its slots; Configure changes its bounds.
//
// # Imports
//
// Nothing of ours.
package gate
