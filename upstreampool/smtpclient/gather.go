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

import "sync"

const (
	// maxRecord is the most that a TLS record carries (RFC 8446 section 5.1).
	maxRecord = 16 << 10
	// gatherSize is how much leaves in one write.
	gatherSize = 128 << 10
)

var gatherPool = sync.Pool{New: func() any { b := make([]byte, 0, gatherSize+2*maxRecord); return &b }}

// gathered runs write with its records put together. They have been handed to
// the socket when it returns, or there is an error.
func (d *deafConn) gathered(write func() error) error {
	d.gather = gatherPool.Get().(*[]byte)
	err := write()
	if err == nil {
		err = d.leave()
	}
	*d.gather = (*d.gather)[:0]
	gatherPool.Put(d.gather)
	d.gather = nil
	return err
}

// Write implements net.Conn.
func (d *deafConn) Write(b []byte) (int, error) {
	if d.gather == nil {
		return d.Conn.Write(b)
	}
	*d.gather = append(*d.gather, b...)
	if len(*d.gather) >= gatherSize {
		if err := d.leave(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// leave writes what is gathered.
func (d *deafConn) leave() error {
	buf := *d.gather
	*d.gather = buf[:0]
	if len(buf) == 0 {
		return nil
	}
	_, err := d.Conn.Write(buf)
	return err
}
