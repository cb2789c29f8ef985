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
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddymail/mailgateway/internal/rawread"
)

// readable reports whether a socket has something to read, the end of the
// stream included, without reading it. A listener wrapper such as the PROXY
// protocol's may have read something ahead; what comes after that is seen.
func readable(nc net.Conn) bool {
	raw := waitable(rawread.Beneath(nc))
	if raw == nil {
		return false
	}
	ready := false
	err := raw.Control(func(fd uintptr) {
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

// eyes look at a client's socket, say the final word and wait for what follows it,
// all in one read.
type eyes struct {
	raw  syscall.RawConn
	step func(fd uintptr) bool // bound once

	w             *wire
	interruptible bool
	p             []byte
	n             int
	err           error
	said          bool
}

// canLook reports whether the final word waits for a look that is to be had with the
// next read: on a socket as it is, with no TLS and no wrapper that read ahead.
func (c *wire) canLook() bool {
	if !c.look || c.nc != c.base {
		return false
	}
	if c.eyes == nil {
		raw := waitable(c.base)
		if raw == nil {
			return false
		}
		c.eyes = &eyes{raw: raw, w: c}
		c.eyes.step = c.eyes.read
	}
	return true
}

// lookAndRead finds out whether anything can be read, flushes the replies and reads.
// It is a system call less than to ask the socket, and nothing comes in between.
func (c *wire) lookAndRead(p []byte, interruptible bool) (int, error) {
	e := c.eyes
	e.p, e.n, e.err, e.said, e.interruptible = p, 0, nil, false, interruptible
	err := e.raw.Read(e.step)
	e.p = nil
	if !e.said { // the read was over before it began: the client hears its word nevertheless
		c.look = false
		if err := c.give(time.Now(), interruptible); err != nil {
			return 0, err
		}
	}
	if e.err != nil {
		err = e.err
	}
	return e.n, err
}

// read is told that there may be something to read. Before the final word is said it
// is asked whether there is.
func (e *eyes) read(fd uintptr) (done bool) {
	e.n, done, e.err = rawread.Read(fd, e.w.base, e.p)
	if e.said {
		return done
	}
	e.said = true
	e.w.look, e.w.ahead = false, done
	if err := e.w.give(time.Now(), e.interruptible); err != nil && e.n == 0 && e.err == nil {
		done, e.err = true, err
	}
	return done
}

// isReset reports whether the other side has closed a socket that was still in
// use.
func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}
