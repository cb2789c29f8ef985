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

package smtpserver

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// readable reports whether a socket has something to read, the end of the
// stream included, without reading it. A listener wrapper such as the PROXY
// protocol's may have read something ahead; what comes after that is seen.
func readable(nc net.Conn) bool {
	for {
		wrapped, ok := nc.(interface{ Raw() net.Conn })
		if !ok {
			break
		}
		nc = wrapped.Raw()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	err = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor
		n, err := unix.Poll(fds[:], 0)
		ready = err == nil && n > 0
	})
	return err == nil && ready
}

// waitable returns what awaitReadable needs; nil for a connection that is no
// socket or may have read something ahead.
func waitable(nc net.Conn) syscall.RawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// awaitReadable waits until a socket has something to read, within its deadline.
func awaitReadable(raw syscall.RawConn) error {
	looked := false
	return raw.Read(func(fd uintptr) bool {
		if looked {
			return true
		}
		// What came before the runtime began to watch is told by nothing else.
		looked = true
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor
		n, err := unix.Poll(fds[:], 0)
		return err != nil || n > 0
	})
}

// isReset reports whether the other side has closed a socket that was still in
// use.
func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}
