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

package smtpserver

import "sync"

var (
	bigPool  = sync.Pool{New: func() any { b := make([]byte, bigBuffer); return &b }}
	hugePool = sync.Pool{New: func() any { b := make([]byte, hugeBuffer); return &b }}
	outPool  = sync.Pool{New: func() any { b := make([]byte, 0, outBuffer); return &b }}
)

// release gives the pooled buffers back. The wire is unusable afterwards.
func (c *wire) release() {
	c.putBig()
	if c.out != nil {
		*c.out = (*c.out)[:0]
		outPool.Put(c.out)
		c.out = nil
	}
	c.rbuf, c.r, c.w = nil, 0, 0
}

// unread puts octets that were read past the buffer into it, which is empty.
func (c *wire) unread(p []byte) {
	c.discardInput()
	switch {
	case len(p) <= len(c.rbuf):
	case len(p) <= bigBuffer:
		c.grow()
	default:
		c.putBig()
		c.big = hugePool.Get().(*[]byte)
		c.rbuf = *c.big
	}
	c.w = copy(c.rbuf, p)
}

func (c *wire) grow() {
	if c.big != nil {
		return
	}
	c.big = bigPool.Get().(*[]byte)
	n := copy(*c.big, c.rbuf[c.r:c.w])
	c.rbuf, c.r, c.w = *c.big, 0, n
}

func (c *wire) shrink() {
	if c.big == nil || c.r != c.w {
		return
	}
	c.putBig()
	c.rbuf, c.r, c.w = c.small[:], 0, 0
}

func (c *wire) putBig() {
	switch {
	case c.big == nil:
	case len(*c.big) == bigBuffer:
		bigPool.Put(c.big)
	default:
		hugePool.Put(c.big)
	}
	c.big = nil
}
