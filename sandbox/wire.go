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

package sandbox

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// input is what the reader reads from. All replies to what has been read leave
// in one write before the next read blocks (RFC 2920 section 3.2).
type input struct{ c *conn }

func (in input) Read(p []byte) (int, error) {
	c := in.c
	if err := c.flush(); err != nil {
		return 0, err
	}
	if d := time.Duration(c.st.app.IdleTimeout); d > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(d))
		if c.farewell.Load() != nil {
			_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		}
	}
	return c.nc.Read(p)
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *conn) reply(lines string) {
	c.out = append(c.out, lines...)
	c.out = append(c.out, '\r', '\n')
}

// readLine reads one line without its CRLF. What it returns is valid until the
// next read.
func (c *conn) readLine() ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		c.long = append(c.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = c.br.ReadSlice('\n')
			if len(c.long) <= maxLine {
				c.long = append(c.long, line...)
			}
		}
		if err == nil && len(c.long) > maxLine {
			return nil, errTooLong
		}
		line = c.long
	}
	if err != nil {
		return nil, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, errNotCRLF
	}
	return line[:len(line)-2], nil
}

// linger ends the connection so that the last reply arrives although input may
// be waiting, which would make TCP reset it.
func (c *conn) linger() {
	_ = c.nc.SetDeadline(time.Now().Add(time.Second))
	if c.flush() != nil {
		return
	}
	if tc, ok := c.nc.(*tls.Conn); ok {
		_ = tc.CloseWrite()
	}
	if tc, ok := c.base.(*net.TCPConn); ok {
		_ = tc.CloseWrite()
		_, _ = io.CopyN(io.Discard, tc, 1<<20)
	}
}
