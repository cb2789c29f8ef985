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

// Package rawread reaches the socket beneath a connection: Beneath (beneath.go) takes
// wrappers off, and Read (rawread.go) reads from what a syscall.RawConn has given, as
// a net.Conn reads, with its errors, but without waiting. It imports none of ours.
package rawread

import "net"

// Beneath is the connection that listener wrappers have wrapped.
func Beneath(nc net.Conn) net.Conn {
	for {
		wrapped, ok := nc.(interface{ Raw() net.Conn })
		if !ok {
			return nc
		}
		nc = wrapped.Raw()
	}
}
