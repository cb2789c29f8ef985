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

package smtpclient

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
	fds    [1]unix.PollFd
	silent bool
}

func (r *readiness) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		r.raw, r.ask = raw, r.poll
	}
}

func (r *readiness) poll(fd uintptr) {
	r.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // a file descriptor
	n, err := unix.Poll(r.fds[:], 0)
	r.silent = err == nil && n == 0 || err == unix.EINTR //nolint:errorlint // an errno as it comes
}

// known reports whether the socket can be asked at all.
func (r *readiness) known() bool { return r.raw != nil }

// quiet reports whether the socket is open and has nothing to read, the end of
// the stream included.
func (r *readiness) quiet() bool {
	if r.raw == nil {
		return true // nothing to ask: a dead connection shows on the first flight
	}
	r.silent = false
	return r.raw.Control(r.ask) == nil && r.silent
}
