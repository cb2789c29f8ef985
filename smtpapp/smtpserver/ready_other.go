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

//go:build !unix

package smtpserver

import (
	"errors"
	"net"
	"syscall"
)

// readable can't ask here.
func readable(net.Conn) bool { return false }

// waitable has nothing here that could be waited for.
func waitable(net.Conn) syscall.RawConn { return nil }

func awaitReadable(syscall.RawConn) error { return nil }

// isReset reports whether the other side has closed a socket that was still in
// use.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// eyes are of no use where a socket can't be looked at.
type eyes struct{}

func (*wire) canLook() bool { return false }

func (c *wire) lookAndRead(p []byte, _ bool) (int, error) { return c.nc.Read(p) }
