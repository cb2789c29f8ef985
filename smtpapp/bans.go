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

package smtpapp

import (
	"net/netip"

	"github.com/caddymail/mailgateway/internal/front"
)

// processGuard outlives configurations: a reload forgives no client.
var processGuard = front.NewGuard()

// LoginGuard remembers logins of all kinds in this process: what Bans lists and LiftBans
// lifts.
func LoginGuard() *front.Guard { return processGuard }

// Ban is what a server refuses because passwords were guessed.
type Ban = front.Ban

// Bans returns the bans in force, by server and network.
func Bans() []Ban { return processGuard.Bans() }

// LiftBans ends the bans of a server, or of all servers for "", that refuse any
// address of a network, forgets what led to them, and returns how many there
// were.
func LiftBans(server string, network netip.Prefix) int { return processGuard.Lift(server, network) }
