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

	"github.com/caddymail/mailgateway/internal/rawread"
)

// readiness asks a socket whether it is open and silent, without reading and
// without a round trip; and it can ask with the write of a flight and the wait for
// the reply in one (speak).
type readiness struct {
	c      *Conn
	raw    syscall.RawConn
	ask    func(fd uintptr) // bound once: asking allocates nothing
	fds    [1]unix.PollFd
	silent bool

	step func(fd uintptr) bool // bound once
	sent bool
	out  []byte // the flight
	left int    // how much of it did not leave
	err  error  // why
}

func (r *readiness) init(c *Conn) {
	sc, ok := c.tcp.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		r.c, r.raw, r.ask, r.step = c, raw, r.poll, r.speaking
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

// speak sends a flight if the socket is silent, and waits for the beginning of the
// reply, which it keeps for the next read. A read finds out whether anything has
// come, the flight leaves, and only then the connection waits: by themselves the
// three would be a question to the socket and a read in vain more. silent is false
// if the flight did not leave because something had come, the end of the stream
// or an error included.
func (r *readiness) speak(b []byte) (silent bool, left int, err error) {
	r.out, r.sent, r.left, r.err = b, false, 0, nil
	// What it returns is a deadline, maybe an early one, or that the connection
	// was closed: the next read says so again.
	_ = r.raw.Read(r.step)
	r.out = nil
	r.c.early.tidy()
	return r.sent, r.left, r.err
}

// speaking is told whenever the socket may have something to read.
func (r *readiness) speaking(fd uintptr) (done bool) {
	if r.c.early.read(fd, r.c.tcp) {
		return true
	}
	if r.sent {
		return false
	}
	r.left, r.err = r.c.send(r.out)
	r.sent = true
	return r.err != nil
}

// read reads what is there, and reports whether anything was: octets, the end or
// an error.
func (h *heardAhead) read(fd uintptr, nc net.Conn) bool {
	if h.room == nil {
		h.room = heardPool.Get().(*[heardSize]byte)
	}
	n, done, err := rawread.Read(fd, nc, h.room[:])
	h.b, h.err = h.room[:n], err
	return done
}
