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
	"net/netip"
	"sync"
)

// Limits bound the connections of a server.
type Limits struct {
	// Conns is the number of connections at a time.
	Conns int
	// ConnsPerIP is the number of connections at a time from one IPv4 address
	// or one IPv6 /64. An IPv6 /48, which one site usually has, may hold
	// siteFactor times as many.
	ConnsPerIP int
	// Guests is the number of connections at a time whose client has not
	// shown yet that it may be there; zero for no limit of their own.
	Guests int
}

// siteFactor is how many times ConnsPerIP an IPv6 /48 may hold.
const siteFactor = 4

// counters are a server's connections. They outlive its generations.
type counters struct {
	mu    sync.Mutex
	total int
	perIP map[netip.Prefix]int

	guests guests
}

// Load is how busy a server is.
type Load struct {
	// Conns is the number of connections at the moment.
	Conns int
	// Clients is the number of addresses and networks that are counted.
	Clients int
	// Guests is the number of connections whose client has not shown yet that
	// it may be there.
	Guests int
}

func (c *counters) load() Load {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Load{Conns: c.total, Clients: len(c.perIP), Guests: c.guests.count()}
}

// take counts a connection, unless it is one too many.
func (c *counters) take(limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= limit {
		return false
	}
	c.total++
	return true
}

func (c *counters) give() {
	c.mu.Lock()
	c.total--
	c.mu.Unlock()
}

// takeIP counts a connection of one client.
func (c *counters) takeIP(a netip.Addr, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := countedAs(a)
	for i, key := range keys {
		if key.IsValid() && c.perIP[key] >= limit*[...]int{1, siteFactor}[i] {
			return false
		}
	}
	if c.perIP == nil {
		c.perIP = make(map[netip.Prefix]int)
	}
	for _, key := range keys {
		if key.IsValid() {
			c.perIP[key]++
		}
	}
	return true
}

func (c *counters) giveIP(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range countedAs(a) {
		if !key.IsValid() {
			continue
		}
		if c.perIP[key]--; c.perIP[key] <= 0 {
			delete(c.perIP, key)
		}
	}
}

// countedAs returns what a client's connections count for: the client, and for
// IPv6 the /48 that it is in. A client without an IP address has neither.
func countedAs(a netip.Addr) (keys [2]netip.Prefix) {
	keys[0] = ClientPrefix(a)
	if a.Is6() {
		keys[1], _ = a.Prefix(48)
	}
	return keys
}

// ClientPrefix is what counts as one client: an IPv4 address or an IPv6 /64.
// It is not valid for addresses that are not IP.
func ClientPrefix(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
