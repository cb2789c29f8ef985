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

//go:build unix

package upstreampool

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// readiness asks a socket whether it is open and silent, without reading and
// without a round trip.
type readiness struct {
	raw    syscall.RawConn
	ask    func(fd uintptr) // bound once: asking allocates nothing
	b      [1]byte
	silent bool
}

func (r *readiness) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		r.raw, r.ask = raw, r.peek
	}
}

func (r *readiness) peek(fd uintptr) {
	_, _, err := unix.Recvfrom(int(fd), r.b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	r.silent = err == unix.EAGAIN || err == unix.EINTR //nolint:errorlint // an errno as it comes
}

// quiet tells whether the socket is open and has nothing to read.
func (r *readiness) quiet() bool {
	if r.raw == nil {
		return true // nothing to ask: a dead connection shows on the first flight
	}
	r.silent = false
	return r.raw.Control(r.ask) == nil && r.silent
}
