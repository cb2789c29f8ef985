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

package rawread

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestRead asks a socket that is silent, one with octets, one that was closed and
// one that was reset.
func TestRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pair := func() (ours, theirs *net.TCPConn) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		o, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Close() })
		return o.(*net.TCPConn), c.(*net.TCPConn)
	}
	// read asks once, or until something is there.
	read := func(c *net.TCPConn, wait bool) (text string, done bool, err error) {
		raw, rawErr := c.SyscallConn()
		if rawErr != nil {
			t.Fatal(rawErr)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		p := make([]byte, 10)
		_ = raw.Read(func(fd uintptr) bool {
			var n int
			n, done, err = Read(fd, c, p)
			text = string(p[:n])
			return done || !wait
		})
		return text, done, err
	}
	ours, theirs := pair()
	if text, done, err := read(ours, false); text != "" || done || err != nil {
		t.Errorf("silent: %q %v %v", text, done, err)
	}
	if _, err := theirs.Write([]byte("QUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	if text, done, err := read(ours, true); text != "QUIT\r\n" || !done || err != nil {
		t.Errorf("octets: %q %v %v", text, done, err)
	}
	theirs.Close()
	if text, done, err := read(ours, true); text != "" || !done || !errors.Is(err, io.EOF) {
		t.Errorf("closed: %q %v %v", text, done, err)
	}
	ours, theirs = pair()
	_ = theirs.SetLinger(0)
	theirs.Close()
	_, done, err := read(ours, true)
	op, ok := errors.AsType[*net.OpError](err)
	if !done || !ok || !errors.Is(err, syscall.ECONNRESET) || op.Addr.String() != ours.RemoteAddr().String() {
		t.Errorf("reset: %v %v", done, err)
	}
}
