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

// Live is the set of the connections that have joined it and are open, whoever
// uses them.
type Live struct {
	mu    sync.Mutex
	conns map[*Conn]struct{}
}

// Join puts the connection into a set until it is closed. It is called once, by
// who dialed it.
func (c *Conn) Join(l *Live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = make(map[*Conn]struct{})
	}
	l.conns[c] = struct{}{}
	c.live = l
}

// left takes a connection that is closed out of its set.
func (c *Conn) left() {
	if l := c.live; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	}
}

// Cut closes all sockets, also of connections that carry a message: what is under
// way there ends with an error.
func (l *Live) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.tcp.Close() // not once: Quit may be waiting for an answer
	}
}
