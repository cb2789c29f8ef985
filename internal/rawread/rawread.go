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
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Read reads what is there. done reports whether anything was: octets, the end
// or an error. nc is whose socket it is, for the error; p must not be empty.
func Read(fd uintptr, nc net.Conn, p []byte) (n int, done bool, err error) {
	for {
		n, err := unix.Read(int(fd), p) //nolint:gosec // a file descriptor
		switch {
		case err == unix.EINTR: //nolint:errorlint // an errno as it comes
			continue
		case err == unix.EAGAIN: //nolint:errorlint // as above
			return 0, false, nil
		case err != nil:
			return 0, true, &net.OpError{Op: "read", Net: "tcp", Source: nc.LocalAddr(), Addr: nc.RemoteAddr(), Err: os.NewSyscallError("read", err)}
		case n == 0:
			return 0, true, io.EOF
		}
		return n, true, nil
	}
}
