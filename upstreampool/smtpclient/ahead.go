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

// heardSize is how much speak reads before it is asked for. TLS takes that much at
// once, so that nothing is left of it behind a reply.
const heardSize = 512

var heardPool = sync.Pool{New: func() any { return new([heardSize]byte) }}

// heardAhead is what was read from the socket and not yet given to who reads. It
// holds memory only as long as it holds anything.
type heardAhead struct {
	room *[heardSize]byte
	b    []byte // the rest of it
	err  error  // what the read came to if not to octets
}

// holds reports whether there is anything to take.
func (h *heardAhead) holds() bool { return len(h.b) > 0 || h.err != nil }

// take gives what there is, as a read would.
func (h *heardAhead) take(b []byte) (int, error) {
	n := copy(b, h.b)
	h.b = h.b[n:]
	err := h.err
	h.err = nil
	h.tidy()
	return n, err
}

// tidy lets go of the memory once all has been taken.
func (h *heardAhead) tidy() {
	if h.room != nil && len(h.b) == 0 {
		heardPool.Put(h.room)
		h.room, h.b = nil, nil
	}
}

// say sends a flight whose first reply is listened to next, unless something has
// come that was not asked for: silent is false then, and nothing has left.
func (c *Conn) say(b []byte) (silent bool, left int, err error) {
	if !c.ready.known() || c.early.holds() || c.Leftover() || c.held() || c.amid() {
		return c.sayIfSilent(b)
	}
	if silent, left, err = c.ready.speak(b); !silent {
		// What has come may be TLS's own.
		return c.sayIfSilent(b)
	}
	c.under = true
	return true, left, err
}

func (c *Conn) sayIfSilent(b []byte) (silent bool, left int, err error) {
	if !c.Silent() {
		return false, 0, nil
	}
	left, err = c.send(b)
	return true, left, err
}
