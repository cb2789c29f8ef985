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

package smtpclient

import (
	"io"
	"sync"
)

const (
	// maxRecord is the most that a TLS record carries (RFC 8446 section 5.1).
	maxRecord = 16 << 10
	// gatherSize is how much leaves in one write.
	gatherSize = 128 << 10
)

var gatherPool = sync.Pool{New: func() any { b := make([]byte, 0, gatherSize+2*maxRecord); return &b }}

// recordRoom is more than two TLS records add to what they carry.
const recordRoom = 256

// gathered writes b with its records put together. They have been handed to
// the socket when it returns, or there is an error, and at least left octets at
// the end of b were not.
func (d *deafConn) gathered(to io.Writer, b []byte) (left int, err error) {
	d.gather = gatherPool.Get().(*[]byte)
	n, err := to.Write(b)
	if left = len(b) - n; err == nil {
		var kept int
		kept, err = d.leave()
		left = max(kept-recordRoom, 0)
	}
	*d.gather = (*d.gather)[:0]
	gatherPool.Put(d.gather)
	d.gather = nil
	return left, err
}

// Write implements net.Conn.
func (d *deafConn) Write(b []byte) (int, error) {
	if d.gather == nil {
		return d.Conn.Write(b)
	}
	*d.gather = append(*d.gather, b...)
	if len(*d.gather) >= gatherSize {
		if _, err := d.leave(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// leave writes what is gathered, and returns how much of it was not written.
func (d *deafConn) leave() (kept int, err error) {
	buf := *d.gather
	*d.gather = buf[:0]
	if len(buf) == 0 {
		return 0, nil
	}
	n, err := d.Conn.Write(buf)
	return len(buf) - n, err
}
