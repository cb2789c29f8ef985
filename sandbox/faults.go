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

package sandbox

import "github.com/caddymail/mailgateway/sandbox/fault"

// Fault is something that goes wrong on purpose.
type Fault = fault.Fault

// FaultStatus is a fault with its number and how often it has happened.
type FaultStatus = fault.Status

// AddFault makes something go wrong from now on and returns its number.
func (s *Sandbox) AddFault(f Fault) (uint64, error) { return s.faults.Add(f, false) }

// ClearFaults ends all faults.
func (s *Sandbox) ClearFaults() { s.faults.Clear() }

// RemoveFault ends one fault.
func (s *Sandbox) RemoveFault(id uint64) { s.faults.Remove(id) }

// Faults lists the faults and how often each has happened.
func (s *Sandbox) Faults() []FaultStatus { return s.faults.List() }
