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

package connect

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// An office of ten thousand may have one address. A consent is four requests, and
	// most owners come soon after the mail.
	clientRate, clientBurst = 50, 400 // a second, and at once
	allRate, allBurst       = 200, 1000
	// maxClients bounds the addresses remembered; beyond it only the rate of all holds.
	maxClients = 20_000
	// maxExchanges are the codes that are exchanged at a time.
	maxExchanges = 64
)

// bounds are those on requests from the public.
type bounds struct {
	mu      sync.Mutex
	all     *rate.Limiter
	clients map[netip.Prefix]*rate.Limiter
	swept   time.Time
}

func newBounds(now time.Time) *bounds {
	return &bounds{all: rate.NewLimiter(allRate, allBurst), clients: make(map[netip.Prefix]*rate.Limiter), swept: now}
}

// take reports whether a client may make a request now.
func (b *bounds) take(client string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if addr, err := netip.ParseAddr(client); err == nil {
		addr = addr.Unmap().WithZone("")
		bits := 32
		if addr.Is6() {
			bits = 64 // what one subscriber has
		}
		network, _ := addr.Prefix(bits)
		c := b.clients[network]
		if c == nil {
			b.sweep(now)
			c = rate.NewLimiter(clientRate, clientBurst)
			if len(b.clients) < maxClients {
				b.clients[network] = c
			}
		}
		if !c.AllowN(now, 1) {
			return false
		}
	}
	return b.all.AllowN(now, 1)
}

// sweep forgets clients whose bucket is full again, once in a while.
func (b *bounds) sweep(now time.Time) {
	const full = clientBurst * time.Second / clientRate
	if now.Sub(b.swept) < full {
		return
	}
	b.swept = now
	for network, c := range b.clients {
		if c.TokensAt(now) >= clientBurst {
			delete(b.clients, network)
		}
	}
}
