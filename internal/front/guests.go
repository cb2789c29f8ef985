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

package front

import (
	"container/list"
	"sync"
)

// Guest is a client that has not shown yet that it may be there.
type Guest interface {
	// CrowdOut ends the session, since the guests have become too many. It is
	// called without a lock, at most once for each AddGuest, and does not wait.
	CrowdOut()
}

// guests are those of a server, the oldest first. They outlive its generations.
type guests struct {
	mu    sync.Mutex
	order list.List // of Guest
}

// AddGuest takes one of the places that the server has for guests. If all are
// taken, the oldest guest has to leave: a client takes moments to log in,
// whatever holds connections open takes its time. To refuse the newest would
// shut out the clients.
func (c *Conn) AddGuest(s Guest) {
	if c.maxGuests <= 0 {
		return
	}
	var crowded []Guest
	g := c.guests
	g.mu.Lock()
	for g.order.Len() >= c.maxGuests {
		oldest, _ := g.order.Remove(g.order.Front()).(Guest)
		crowded = append(crowded, oldest)
	}
	c.place = g.order.PushBack(s)
	g.mu.Unlock()
	for _, s := range crowded {
		s.CrowdOut()
	}
}

// RemoveGuest gives the place back, if there is one still.
func (c *Conn) RemoveGuest() {
	if c.place == nil {
		return
	}
	c.guests.mu.Lock()
	// Does nothing for a guest that was crowded out.
	c.guests.order.Remove(c.place)
	c.guests.mu.Unlock()
	c.place = nil
}

func (g *guests) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.order.Len()
}
