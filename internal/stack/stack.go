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

// Package stack makes room on a goroutine's stack before it is needed. The runtime
// grows a stack by a copy of twice the size, and has to look up each frame that is on
// it: where calls are about to go deep, a copy of few frames costs a fifth of one at
// the bottom, or of several on the way. It imports nothing of ours.
package stack

import "runtime"

// Room has a few KiB more: what a message takes on its way from its client to the
// provider.
//
//go:noinline
func Room() {
	var room [3 << 10]byte
	runtime.KeepAlive(&room)
}

// RoomForTLS is Room for a handshake with a post-quantum key exchange.
//
//go:noinline
func RoomForTLS() {
	var room [20 << 10]byte
	runtime.KeepAlive(&room)
}
